// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of generic netlink whose attributes are not parsed yet.

use netlink_packet_core::{DecodeError, Emitable, ParseableParametrized};
use netlink_packet_generic::{GenlFamily, GenlHeader};

/// Payload of a message: a command, and attributes as bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Payload {
    pub(super) command: u8,
    pub(super) version: u8,
    pub(super) attributes: Vec<u8>,
}

impl GenlFamily for Payload {
    fn family_name() -> &'static str {
        "IPVS"
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        self.version
    }
}

impl Emitable for Payload {
    fn buffer_len(&self) -> usize {
        self.attributes.len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer[..self.attributes.len()].copy_from_slice(&self.attributes);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Payload {
    fn parse_with_param(bytes: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        Ok(Self { command: header.cmd, version: header.version, attributes: bytes.to_vec() })
    }
}
