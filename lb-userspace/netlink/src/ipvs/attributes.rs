// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attributes of generic netlink messages: reading with checked lengths, and writing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{DefaultNla, Emitable as _, NLA_F_NESTED, NlasIterator};
use nix::libc;

/// Length of an address in attributes, in bytes (`union nf_inet_addr`).
const ADDRESS_LEN: usize = 16;

/// Reason why a message of the kernel is malformed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// The attributes do not fit the message.
    #[error("the attributes of {0} do not fit the message")]
    Framing(&'static str),
    /// An attribute is missing, or has another length than its type has.
    #[error("attribute {number} of {of} is missing or has a wrong length")]
    Attribute {
        /// Structure that the attribute belongs to.
        of: &'static str,
        /// Number of the attribute in `linux/ip_vs.h`.
        number: u16,
    },
    /// An attribute has an impossible value.
    #[error("attribute {number} of {of} has the impossible value {value}")]
    Value {
        /// Structure that the attribute belongs to.
        of: &'static str,
        /// Number of the attribute in `linux/ip_vs.h`.
        number: u16,
        /// Value.
        value: u64,
    },
}

/// The attributes of one message, or of one attribute that has others.
pub(super) struct Attributes<'a> {
    of: &'static str,
    values: Vec<(u16, &'a [u8])>,
}

impl<'a> Attributes<'a> {
    /// Reads the attributes in `bytes`, which belong to a structure called `of`.
    pub(super) fn read(of: &'static str, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let values = NlasIterator::new(bytes).map(|attribute| {
            let attribute = attribute.map_err(|_| Malformed::Framing(of))?;
            let length = usize::from(attribute.length());
            let value = attribute.into_inner().get(4..length).ok_or(Malformed::Framing(of))?;
            Ok((attribute.kind(), value))
        });
        Ok(Self { of, values: values.collect::<Result<_, _>>()? })
    }

    /// Returns the attributes in an attribute, if there is one with that number.
    pub(super) fn nested(&self, number: u16, of: &'static str) -> Result<Option<Self>, Malformed> {
        self.find(number).map(|value| Self::read(of, value)).transpose()
    }

    fn find(&self, number: u16) -> Option<&'a [u8]> {
        self.values.iter().find(|(kind, _)| *kind == number).map(|(_, value)| *value)
    }

    /// Returns whether there is an attribute with that number.
    pub(super) fn has(&self, number: u16) -> bool {
        self.find(number).is_some()
    }

    fn array<const N: usize>(&self, number: u16) -> Result<[u8; N], Malformed> {
        let value = self.find(number).and_then(|value| value.try_into().ok());
        value.ok_or(Malformed::Attribute { of: self.of, number })
    }

    /// Returns a byte.
    pub(super) fn byte(&self, number: u16) -> Result<u8, Malformed> {
        self.array(number).map(u8::from_ne_bytes)
    }

    /// Returns a 16-bit number in the machine's byte order.
    pub(super) fn short(&self, number: u16) -> Result<u16, Malformed> {
        self.array(number).map(u16::from_ne_bytes)
    }

    /// Returns a port, which is in network byte order in the message.
    pub(super) fn port(&self, number: u16) -> Result<u16, Malformed> {
        self.array(number).map(u16::from_be_bytes)
    }

    /// Returns a 32-bit number in the machine's byte order.
    pub(super) fn word(&self, number: u16) -> Result<u32, Malformed> {
        self.array(number).map(u32::from_ne_bytes)
    }

    /// Returns the first of the two words of a `struct ip_vs_flags`: the second one is a mask for changes.
    pub(super) fn flags(&self, number: u16) -> Result<u32, Malformed> {
        let [a, b, c, d, ..] = self.array::<8>(number)?;
        Ok(u32::from_ne_bytes([a, b, c, d]))
    }

    /// Returns a text without the zero byte at its end.
    pub(super) fn text(&self, number: u16) -> Result<String, Malformed> {
        let wrong = Malformed::Attribute { of: self.of, number };
        let value = self.find(number).ok_or_else(|| wrong.clone())?;
        let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8(text.to_vec()).map_err(|_| wrong)
    }

    /// Returns an address of that family (`AF_INET` or `AF_INET6`).
    pub(super) fn address(&self, number: u16, family: u16) -> Result<IpAddr, Malformed> {
        let bytes = self.array::<ADDRESS_LEN>(number)?;
        let [a, b, c, d, ..] = bytes;
        match i32::from(family) {
            libc::AF_INET => Ok(Ipv4Addr::new(a, b, c, d).into()),
            libc::AF_INET6 => Ok(Ipv6Addr::from(bytes).into()),
            _ => Err(Malformed::Value { of: self.of, number, value: family.into() }),
        }
    }

    /// Returns the error of an impossible value.
    pub(super) fn impossible(&self, number: u16, value: impl Into<u64>) -> Malformed {
        Malformed::Value { of: self.of, number, value: value.into() }
    }
}

/// Creates an attribute.
pub(super) fn attribute(number: u16, value: &[u8]) -> DefaultNla {
    DefaultNla::new(number, value.to_vec())
}

/// Creates an attribute with a text, which ends with a zero byte.
pub(super) fn text(number: u16, value: &str) -> DefaultNla {
    let mut bytes = value.as_bytes().to_vec();
    bytes.push(0);
    DefaultNla::new(number, bytes)
}

/// Creates an attribute with others in it.
pub(super) fn nested(number: u16, attributes: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(number | NLA_F_NESTED, bytes(attributes))
}

/// Returns the bytes of attributes in a message.
pub(super) fn bytes(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}

/// Returns an address as in an attribute.
pub(super) fn address(ip: IpAddr) -> [u8; ADDRESS_LEN] {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}
