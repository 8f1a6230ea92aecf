// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Writing of messages of version 1.

use core::net::{IpAddr, SocketAddr};

use super::{Connection, FIXED, HEADER, Parameter, V4_ENTRY, V6_ENTRY};

/// Length of the parameter of a signature in bytes.
const SIGNATURE: usize = Parameter::HEADER + Parameter::SIGNATURE_LENGTH;

/// Writes entries into a message.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    /// Length of the message so far, without padding behind its last entry.
    length: usize,
    /// Offset of the last entry.
    last: usize,
    count: u8,
    is_signed: bool,
}

impl<'a> Writer<'a> {
    /// Begins a message in a buffer, which bounds its length in bytes. `is_signed` is whether [`Self::sign`] will end the
    /// message. Returns nothing if the buffer has no room for a header.
    #[must_use]
    pub fn new(buffer: &'a mut [u8], sync_id: u8, is_signed: bool) -> Option<Self> {
        let buffer =
            if buffer.len() > usize::from(u16::MAX) { &mut buffer[..usize::from(u16::MAX)] } else { buffer };
        buffer.get_mut(..HEADER)?.copy_from_slice(&[0, sync_id, 0, 0, 0, 1, 0, 0]);
        Some(Self { buffer, length: HEADER, last: 0, count: 0, is_signed })
    }

    /// Returns the number of entries.
    #[must_use]
    pub const fn count(&self) -> u8 {
        self.count
    }

    /// Adds an entry. Returns whether the message had room for it, and the entry can be written: its addresses are of one
    /// IP version, and its parameters have 1 to 255 bytes.
    #[must_use = "an entry without room belongs into the next message"]
    pub fn push(&mut self, connection: &Connection, parameters: &[Parameter<'_>]) -> bool {
        let Connection { client, vip, real, .. } = connection;
        let is_v6 = client.is_ipv6();
        if is_v6 != vip.is_ipv6() || is_v6 != real.is_ipv6() {
            return false;
        }
        let fixed = if is_v6 { V6_ENTRY } else { V4_ENTRY };
        let sizes = parameters.iter().map(|parameter| Parameter::HEADER + parameter.data.len());
        let length = fixed + sizes.sum::<usize>();
        let has_valid = parameters.iter().all(|p| (1..=255).contains(&p.data.len()));
        let signature = if self.is_signed { SIGNATURE } else { 0 };
        let at = self.length.next_multiple_of(4);
        if !has_valid || self.count == u8::MAX || length + signature > 0xfff {
            return false;
        }
        let end = at + length;
        if end + signature > self.buffer.len() {
            return false;
        }
        self.buffer[self.length..at].fill(0);
        write(&mut self.buffer[at..end], connection, fixed, parameters);
        (self.last, self.length) = (at, end);
        self.count += 1;
        true
    }

    /// Ends the message, and returns it; nothing if it has no entries.
    #[must_use]
    pub fn finish(self) -> Option<&'a [u8]> {
        self.end().map(|message| &*message)
    }

    /// Ends the message with a signature, which `sign` makes of all bytes before it. Returns nothing if the message has no
    /// entries, or [`Self::new`] did not reserve the room.
    #[must_use]
    pub fn sign(mut self, sign: impl FnOnce(&[u8]) -> [u8; Parameter::SIGNATURE_LENGTH]) -> Option<&'a [u8]> {
        if !self.is_signed || self.count == 0 {
            return None;
        }
        self.buffer[self.length] = Parameter::SIGNATURE;
        self.buffer[self.length + 1] = Parameter::SIGNATURE_LENGTH as u8;
        self.length += SIGNATURE;
        let entry = &mut self.buffer[self.last..self.length];
        put16(entry, 2, entry.len() as u16);
        let message = self.end()?;
        let (signed, signature) = message.split_last_chunk_mut()?;
        *signature = sign(signed);
        Some(message)
    }

    fn end(self) -> Option<&'a mut [u8]> {
        if self.count == 0 {
            return None;
        }
        let message = self.buffer.get_mut(..self.length)?;
        put16(message, 2, self.length as u16);
        message[4] = self.count;
        Some(message)
    }
}

/// Writes an entry whose length is that of `bytes`.
fn write(bytes: &mut [u8], connection: &Connection, fixed: usize, parameters: &[Parameter<'_>]) {
    let &Connection { protocol, client, vip, real, flags, state, mark, timeout } = connection;
    bytes[0] = u8::from(client.is_ipv6());
    bytes[1] = protocol;
    put16(bytes, 2, bytes.len() as u16);
    put32(bytes, 4, flags.0);
    put16(bytes, 8, state);
    put32(bytes, 16, mark);
    put32(bytes, 20, timeout);
    let length = (fixed - FIXED) / 3;
    for (number, socket) in [client, vip, real].into_iter().enumerate() {
        put16(bytes, 10 + 2 * number, socket.port());
        put_address(&mut bytes[FIXED + length * number..][..length], socket);
    }
    let mut at = fixed;
    for parameter in parameters {
        bytes[at] = parameter.kind;
        bytes[at + 1] = parameter.data.len() as u8;
        at += Parameter::HEADER;
        bytes[at..at + parameter.data.len()].copy_from_slice(parameter.data);
        at += parameter.data.len();
    }
}

fn put_address(bytes: &mut [u8], socket: SocketAddr) {
    match socket.ip() {
        IpAddr::V4(v4) => bytes.copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => bytes.copy_from_slice(&v6.octets()),
    }
}

fn put16(bytes: &mut [u8], at: usize, number: u16) {
    bytes[at..at + 2].copy_from_slice(&number.to_be_bytes());
}

fn put32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
}
