// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes within a packet: the time to live, the addresses and ports, and the checksums over them.

use std::net::SocketAddr;

use super::{
    Version,
    bytes::{octets, put, u16_at},
    checksum::{updated, updated_udp},
    parse::{
        Packet, Part, Quote,
        number::{TCP, UDP},
    },
};

/// One end of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

impl End {
    /// Returns the offset of the end's address in an IP header.
    const fn address(self, version: Version) -> usize {
        match (self, version) {
            (Self::Source, Version::V4) => 12,
            (Self::Destination, Version::V4) => 16,
            (Self::Source, Version::V6) => 8,
            (Self::Destination, Version::V6) => 24,
        }
    }

    /// Returns the offset of the end's port in a transport header.
    const fn port(self) -> usize {
        match self {
            Self::Source => 0,
            Self::Destination => 2,
        }
    }
}

/// Offset of the checksum in an IPv4 header.
const HEADER_CHECKSUM: usize = 10;

/// Returns the offset of a protocol's checksum, if the checksum covers addresses.
fn checksum_of(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(16),
        UDP => Some(6),
        _ => None,
    }
}

/// Overwrites bytes. Returns the old and the new bytes, for checksums.
fn replace(bytes: &mut [u8], at: usize, new: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let old = bytes[at..at + new.len()].to_vec();
    put(bytes, at, new);
    (old, new.to_vec())
}

/// Applies a change to the checksum at `at`. `udp`: 0 is none. Returns what that changed.
fn apply(bytes: &mut [u8], at: usize, (old, new): &(Vec<u8>, Vec<u8>), udp: bool) -> (Vec<u8>, Vec<u8>) {
    let before = u16_at(bytes, at).expect("the checksum is there");
    let after = if udp { updated_udp(before, old, new) } else { updated(before, old, new) };
    replace(bytes, at, &after.to_be_bytes())
}

/// Decrements the time to live.
pub fn hop(bytes: &mut [u8], version: Version) {
    let at = version.hops();
    // Checksums are of words: that of the time to live has the protocol in it.
    let word = [bytes[at] - 1, bytes[at + 1]];
    match version {
        Version::V4 => {
            let change = replace(bytes, at, &word);
            apply(bytes, HEADER_CHECKSUM, &change, false);
        }
        Version::V6 => bytes[at] = word[0],
    }
}

/// Gives one end of a packet another address and, unless it is 0, another port.
pub fn replace_end(bytes: &mut [u8], packet: &Packet, end: End, new: SocketAddr) {
    let header = &packet.header;
    let addresses = replace(bytes, end.address(header.version), &octets(new.ip()));
    if header.version == Version::V4 {
        apply(bytes, HEADER_CHECKSUM, &addresses, false);
    }
    if header.part == Part::Later {
        return;
    }
    let transport = header.transport;
    if header.protocol == header.version.icmp() {
        if header.version == Version::V6 {
            apply(bytes, transport + 2, &addresses, false);
        }
        return;
    }
    if let Some(checksum) = checksum_of(header.protocol) {
        let udp = header.protocol == UDP;
        apply(bytes, transport + checksum, &addresses, udp);
        if new.port() != 0 {
            let ports = replace(bytes, transport + end.port(), &new.port().to_be_bytes());
            apply(bytes, transport + checksum, &ports, udp);
        }
    }
}

/// Replaces an end of the packet that an ICMP error quotes. The error's own checksum covers the whole quote.
pub fn replace_quoted_end(bytes: &mut [u8], error: &Packet, quote: &Quote, end: End, new: SocketAddr) {
    let (version, protocol) = (error.header.version, quote.tuple.protocol);
    let addresses = replace(bytes, quote.header + end.address(version), &octets(new.ip()));
    let mut changes = vec![addresses.clone()];
    if version == Version::V4 {
        changes.push(apply(bytes, quote.header + HEADER_CHECKSUM, &addresses, false));
    }
    let mut covered = vec![addresses];
    if new.port() != 0 {
        let ports = replace(bytes, quote.transport + end.port(), &new.port().to_be_bytes());
        changes.push(ports.clone());
        covered.push(ports);
    }
    if let Some(at) = checksum_of(protocol).map(|at| quote.transport + at)
        // An error may end before it.
        && at + 2 <= error.header.length
    {
        let was = bytes[at..at + 2].to_vec();
        for change in &covered {
            apply(bytes, at, change, protocol == UDP);
        }
        changes.push((was, bytes[at..at + 2].to_vec()));
    }
    for change in &changes {
        apply(bytes, error.header.transport + 2, change, false);
    }
}
