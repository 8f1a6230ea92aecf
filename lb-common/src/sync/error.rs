// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The reasons for which messages and entries are refused, as by the kernel.

use core::{error::Error, fmt};

/// A reason for which a message, or the rest of it, is refused. Entries before the malformed one are valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageError {
    /// The datagram has less than four bytes.
    Short,
    /// The message gives another length than that of the datagram.
    Length {
        /// The length in the message in bytes.
        given: u16,
        /// The length of the datagram in bytes.
        actual: usize,
    },
    /// The message ends before the end of an entry.
    Truncated,
    /// An entry has an unknown version.
    EntryVersion(u8),
    /// An entry has an unknown type.
    EntryType(u8),
    /// The length of an entry is less than that of its addresses.
    EntryLength(u16),
    /// A parameter has length 0, or exceeds its entry.
    ParameterLength,
    /// A known parameter has an impossible length, or occurs twice.
    Parameter(u8),
}

impl MessageError {
    /// Returns the name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Length { .. } => "length",
            Self::Truncated => "truncated",
            Self::EntryVersion(_) => "entry_version",
            Self::EntryType(_) => "entry_type",
            Self::EntryLength(_) => "entry_length",
            Self::ParameterLength | Self::Parameter(_) => "parameter",
        }
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "the datagram is shorter than the header of a message, 4 bytes"),
            Self::Length { given, actual } => {
                write!(f, "the message gives a length of {given} bytes, and the datagram has {actual}")
            }
            Self::Truncated => write!(f, "the message ends before the end of an entry"),
            Self::EntryVersion(version) => write!(f, "an entry has version {version}, not 0"),
            Self::EntryType(number) => write!(f, "an entry has type {number}, not 0 (IPv4) or 1 (IPv6)"),
            Self::EntryLength(length) => {
                write!(f, "an entry has {length} bytes, less than those of its addresses")
            }
            Self::ParameterLength => write!(f, "a parameter has length 0, or exceeds its entry"),
            Self::Parameter(kind) => {
                write!(f, "parameter {kind} of an entry has an impossible length, or occurs twice")
            }
        }
    }
}

impl Error for MessageError {}

/// A reason for which one entry is refused. The rest of the message is valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EntryError {
    /// The entry has a parameter that is unknown, and not optional.
    UnknownParameter(u8),
    /// The protocol is none of TCP, UDP and SCTP.
    Protocol(u8),
    /// The protocol has no such state.
    State(u16),
    /// The entry has data of a persistence engine, and not its name.
    PersistenceEngine,
}

impl EntryError {
    /// Returns the name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownParameter(_) => "unknown_parameter",
            Self::Protocol(_) => "protocol",
            Self::State(_) => "state",
            Self::PersistenceEngine => "persistence_engine",
        }
    }
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownParameter(kind) => write!(f, "the mandatory parameter {kind} is unknown"),
            Self::Protocol(number) => write!(f, "protocol {number} is not supported"),
            Self::State(number) => write!(f, "the protocol has no state {number}"),
            Self::PersistenceEngine => {
                write!(f, "data of a persistence engine without its name")
            }
        }
    }
}

impl Error for EntryError {}

/// The part of a message that is refused, and the reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// This entry alone.
    Entry(EntryError),
    /// This entry, and the rest of the message.
    Rest(MessageError),
}

impl From<EntryError> for Refused {
    fn from(error: EntryError) -> Self {
        Self::Entry(error)
    }
}

impl From<MessageError> for Refused {
    fn from(error: MessageError) -> Self {
        Self::Rest(error)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(error) => error.fmt(f),
            Self::Rest(error) => error.fmt(f),
        }
    }
}
