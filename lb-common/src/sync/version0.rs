// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Messages of version 0, which kernels before Linux 2.6.39 send, and later ones with `sync_version=0`: IPv4 only,
//! without marks and timeouts.
//!
//! | offset | field of an entry |
//! |---:|---|
//! | 0 | `u8`, reserved |
//! | 1 | `u8`, protocol |
//! | 2 | `u16`, ports of the client, of the VIP, and of the real |
//! | 8 | addresses of the client, the VIP, and the real |
//! | 20 | `u16`, flags; `u16`, state |
//! | 24 | changes of sequence numbers, 24 bytes, if a flag announces them |

use core::net::SocketAddr;

use super::{
    Connection, Entry, Flags, MessageError, Parameters, Refused,
    decode::{be16, check_state},
};

/// Length of the header of a message in bytes.
pub(super) const HEADER: usize = 4;
/// Length of an entry in bytes.
const ENTRY: usize = 24;
/// Length of changes of sequence numbers in bytes.
const SEQUENCE: usize = 24;

/// Returns the bytes of the first entry, and those behind it.
pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), MessageError> {
    if bytes.len() < ENTRY {
        return Err(MessageError::Truncated);
    }
    let length = if flags(bytes).has(Flags::SEQUENCE) { ENTRY + SEQUENCE } else { ENTRY };
    bytes.split_at_checked(length).ok_or(MessageError::Truncated)
}

/// Reads an entry.
pub(super) fn entry(bytes: &[u8]) -> Result<Entry<'_>, Refused> {
    let socket = |number: usize| {
        let at = 8 + 4 * number;
        let address = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        SocketAddr::new(address.into(), be16(bytes, 2 + 2 * number))
    };
    let connection = Connection {
        protocol: bytes[1],
        client: socket(0),
        vip: socket(1),
        real: socket(2),
        flags: flags(bytes).accepted(),
        state: be16(bytes, 22),
        mark: 0,
        timeout: 0,
    };
    check_state(&connection)?;
    Ok(Entry { connection, parameters: Parameters::none() })
}

fn flags(bytes: &[u8]) -> Flags {
    Flags(be16(bytes, 20).into())
}
