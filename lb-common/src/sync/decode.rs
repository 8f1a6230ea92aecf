// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Messages of version 1, and the choice of the version. What the kernel accepts is accepted, and what it refuses is
//! refused to the same extent (`ip_vs_process_message` and `ip_vs_proc_sync_conn`).

use core::net::{IpAddr, SocketAddr};

use super::{
    Connection, EntryError, FIXED, Flags, HEADER, MessageError, Parameter, Parameters, Refused, V4_ENTRY,
    V6_ENTRY, state, version0,
};

/// A message whose header is valid.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    version: u8,
}

/// A valid entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The connection. Its flags are those that a receiver accepts.
    pub connection: Connection,
    /// The parameters.
    pub parameters: Parameters<'a>,
}

impl Entry<'_> {
    /// Returns whether an application helper of IPVS changes the sequence numbers of the connection.
    #[must_use]
    pub fn has_sequence_data(&self) -> bool {
        self.connection.flags.has(Flags::SEQUENCE) || self.parameters.has(Parameter::SEQUENCE)
    }

    /// Returns whether a persistence engine of IPVS made the connection or the template.
    #[must_use]
    pub fn has_engine(&self) -> bool {
        self.parameters.has(Parameter::ENGINE_NAME)
    }
}

impl<'a> Message<'a> {
    /// Reads the header of a datagram.
    ///
    /// # Errors
    /// If the kernel drops the datagram.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let [_, _, high, low, ..] = bytes else { return Err(MessageError::Short) };
        let given = u16::from_be_bytes([*high, *low]);
        if usize::from(given) != bytes.len() {
            return Err(MessageError::Length { given, actual: bytes.len() });
        }
        let version = u8::from(matches!(bytes, [0, _, _, _, _, 1, 0, 0, ..]));
        Ok(Self { bytes, version })
    }

    /// Returns the version: 0 or 1.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// Returns the sync ID of the sender. A receiver with sync ID 0 accepts all.
    #[must_use]
    pub const fn sync_id(&self) -> u8 {
        self.bytes[1]
    }

    /// Returns the number of entries that the header gives.
    #[must_use]
    pub const fn count(&self) -> u8 {
        if self.version == 1 { self.bytes[4] } else { self.bytes[0] }
    }

    /// Returns the entries.
    #[must_use]
    pub fn entries(&self) -> Entries<'a> {
        let header = if self.version == 1 { HEADER } else { version0::HEADER };
        let rest = self.bytes.get(header..).unwrap_or_default();
        Entries { rest: Some(rest), left: self.count(), version: self.version }
    }

    /// Returns the bytes that the signature covers, and the signature: the data of [`Parameter::SIGNATURE`] that ends the
    /// last entry, and the message. Returns nothing if the message has none.
    #[must_use]
    pub fn signature(&self) -> Option<(&'a [u8], &'a [u8; Parameter::SIGNATURE_LENGTH])> {
        let last = self.entries().last()?.ok()?;
        let (signed, signature) = self.bytes.split_last_chunk()?;
        let parameter = last.parameters.iter().last().filter(|last| last.kind == Parameter::SIGNATURE)?;
        // The parameter is the end of the datagram, and not of an entry in front of bytes that it does not cover.
        core::ptr::eq(parameter.data, signature.as_slice()).then_some((signed, signature))
    }
}

/// The entries of a message. After a reason to refuse the rest, there is no further entry.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: Option<&'a [u8]>,
    left: u8,
    version: u8,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Refused>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        self.left = self.left.checked_sub(1)?;
        let split = if self.version == 1 { split } else { version0::split };
        let entry = split(rest).map_err(Refused::from).and_then(|(bytes, rest)| {
            self.rest = Some(rest);
            if self.version == 1 { entry(bytes) } else { version0::entry(bytes) }
        });
        if matches!(entry, Err(Refused::Rest(_))) {
            self.rest = None;
        }
        Some(entry)
    }
}

/// Returns the bytes of the first entry without padding, and those behind its padding.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), MessageError> {
    let length = match bytes.get(2..4) {
        Some(length) if bytes.len() >= V4_ENTRY => u16::from_be_bytes([length[0], length[1]]),
        _ => return Err(MessageError::Truncated),
    };
    let (version, length) = ((length >> 12) as u8, usize::from(length & 0xfff));
    let entry = bytes.get(..length).ok_or(MessageError::Truncated)?;
    if version != 0 {
        return Err(MessageError::EntryVersion(version));
    }
    Ok((entry, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Reads an entry, whose bytes are as many as its length.
fn entry(bytes: &[u8]) -> Result<Entry<'_>, Refused> {
    let kind = bytes.first().copied().unwrap_or_default();
    let length = match kind {
        // The kernel tests this bit alone.
        _ if kind & 1 != 0 => V6_ENTRY,
        0 => V4_ENTRY,
        _ => return Err(MessageError::EntryType(kind).into()),
    };
    let Some((fixed, parameters)) = bytes.split_at_checked(length) else {
        return Err(MessageError::EntryLength(bytes.len() as u16).into());
    };
    let parameters = Parameters::parse(parameters)?;
    let connection = Connection {
        protocol: fixed[1],
        client: socket(fixed, 0),
        vip: socket(fixed, 1),
        real: socket(fixed, 2),
        flags: Flags(be32(fixed, 4)).accepted(),
        state: be16(fixed, 8),
        mark: be32(fixed, 16),
        timeout: be32(fixed, 20),
    };
    check_state(&connection)?;
    if parameters.has(Parameter::ENGINE_DATA) && !parameters.has(Parameter::ENGINE_NAME) {
        return Err(EntryError::PersistenceEngine.into());
    }
    Ok(Entry { connection, parameters })
}

/// # Errors
/// If the protocol of a connection is unknown, or has no such state. The kernel ignores both of a template.
pub(super) fn check_state(connection: &Connection) -> Result<(), EntryError> {
    if connection.is_template() {
        return Ok(());
    }
    let states = state::count(connection.protocol).ok_or(EntryError::Protocol(connection.protocol))?;
    if connection.state >= states { Err(EntryError::State(connection.state)) } else { Ok(()) }
}

/// Returns one of the three addresses of an entry, with its port.
fn socket(fixed: &[u8], number: usize) -> SocketAddr {
    let port = be16(fixed, 10 + 2 * number);
    let addresses = &fixed[FIXED..];
    let length = addresses.len() / 3;
    let address = &addresses[length * number..][..length];
    let address: IpAddr = match <[u8; 16]>::try_from(address) {
        Ok(v6) => v6.into(),
        Err(_) => [address[0], address[1], address[2], address[3]].into(),
    };
    SocketAddr::new(address, port)
}

/// Returns the number of two bytes at an offset, which the caller knows to be there.
pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Returns the number of four bytes at an offset, which the caller knows to be there.
pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
