// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Optional parts of entries.

use core::net::{IpAddr, SocketAddr};

use super::{EntryError, MessageError, Refused};

/// A parameter of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Parameter<'a> {
    /// The type. A receiver that does not know a type with [`Self::OPTIONAL`] skips the parameter, and refuses an entry
    /// with any other unknown one.
    pub kind: u8,
    /// The data, of 1 to 255 bytes.
    pub data: &'a [u8],
}

impl Parameter<'_> {
    /// The bit of types that receivers may skip.
    pub const OPTIONAL: u8 = 0x40;
    /// Changes of TCP sequence numbers, 24 bytes.
    pub const SEQUENCE: u8 = 1;
    /// Data of a persistence engine.
    pub const ENGINE_DATA: u8 = 2;
    /// Name of a persistence engine.
    pub const ENGINE_NAME: u8 = 3;
    /// The SNAT address of a `fnat` flow and its port, in network byte order: 6 or 18 bytes. Only xvs has it.
    pub const SNAT: u8 = 0x44;
    /// The [signature](super::Message::signature) of the message, in its last entry. Only xvs has it.
    pub const SIGNATURE: u8 = 0x47;
    /// Length of a signature in bytes.
    pub const SIGNATURE_LENGTH: usize = 16;

    /// The bytes before the data: type and length.
    pub(super) const HEADER: usize = 2;
    const SEQUENCE_LENGTH: usize = 24;
    const ENGINE_NAME_LENGTH: usize = 16;

    /// Returns the SNAT address and port, if this is [`Self::SNAT`].
    #[must_use]
    pub fn snat(&self) -> Option<SocketAddr> {
        let (address, port) = self.data.split_last_chunk::<2>()?;
        let address: IpAddr = match (self.kind, address.len()) {
            (Self::SNAT, 4) => <[u8; 4]>::try_from(address).ok()?.into(),
            (Self::SNAT, 16) => <[u8; 16]>::try_from(address).ok()?.into(),
            _ => return None,
        };
        Some(SocketAddr::new(address, u16::from_be_bytes(*port)))
    }

    /// Writes the data of [`Self::SNAT`] into `data`, and returns them.
    #[must_use]
    pub fn of_snat(address: SocketAddr, data: &mut [u8; 18]) -> Parameter<'_> {
        let length = match address.ip() {
            IpAddr::V4(v4) => {
                data[..4].copy_from_slice(&v4.octets());
                4
            }
            IpAddr::V6(v6) => {
                data[..16].copy_from_slice(&v6.octets());
                16
            }
        };
        data[length..length + 2].copy_from_slice(&address.port().to_be_bytes());
        Parameter { kind: Self::SNAT, data: &data[..length + 2] }
    }
}

/// The parameters of an entry, in their order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parameters<'a>(&'a [u8]);

impl<'a> Parameters<'a> {
    /// Returns the parameters in the bytes behind the addresses of an entry.
    ///
    /// # Errors
    /// Those of the kernel: it drops the message for a malformed parameter, and the entry for an unknown mandatory one.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Refused> {
        let (mut known, mut rest) = (0_u8, bytes);
        while !rest.is_empty() {
            let (parameter, after) = split(rest).ok_or(MessageError::ParameterLength)?;
            rest = after;
            let kind = parameter.kind & !Parameter::OPTIONAL;
            let length = parameter.data.len();
            let fits = match kind {
                Parameter::SEQUENCE => length == Parameter::SEQUENCE_LENGTH,
                Parameter::ENGINE_DATA => true,
                Parameter::ENGINE_NAME => length <= Parameter::ENGINE_NAME_LENGTH,
                _ if parameter.kind & Parameter::OPTIONAL != 0 => continue,
                _ => return Err(EntryError::UnknownParameter(kind).into()),
            };
            if !fits || known & 1 << kind != 0 {
                return Err(MessageError::Parameter(parameter.kind).into());
            }
            known |= 1 << kind;
        }
        Ok(Self(bytes))
    }

    /// Returns the parameters of a message of version 0, of which only changes of sequence numbers are possible.
    pub(super) const fn none() -> Self {
        Self(&[])
    }

    /// Returns whether a parameter of a known type is there, with [`Parameter::OPTIONAL`] or without.
    #[must_use]
    pub fn has(self, kind: u8) -> bool {
        self.iter().any(|parameter| parameter.kind & !Parameter::OPTIONAL == kind)
    }

    /// Returns the SNAT address and port of a `fnat` flow.
    #[must_use]
    pub fn snat(self) -> Option<SocketAddr> {
        self.iter().find_map(|parameter| parameter.snat())
    }

    /// Returns the parameters in their order.
    pub fn iter(self) -> impl Iterator<Item = Parameter<'a>> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (parameter, after) = split(rest)?;
            rest = after;
            Some(parameter)
        })
    }
}

/// Returns the first parameter and the bytes behind it, unless it has no data or exceeds the bytes.
fn split(bytes: &[u8]) -> Option<(Parameter<'_>, &[u8])> {
    let [kind, length, rest @ ..] = bytes else { return None };
    let (data, rest) = rest.split_at_checked((*length).into())?;
    if data.is_empty() {
        return None;
    }
    Some((Parameter { kind: *kind, data }, rest))
}
