// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Headers: where their fields lie, and how new ones are written.
//!
//! The layouts are those of `network-types`, except TCP's: there the flags are bit fields, here they are one
//! byte.

use network_types::{eth::EthHdr, icmp::Icmpv4Hdr, ip::Ipv4Hdr, tcp::TcpHdr};

use super::access::{Packet, Word as _, load, pointer_to_words};
use crate::{
    checksum::Sum,
    protocol,
    reason::Reason,
    wire::{Be16, Be32, MacPair},
};

/// Bytes of an Ethernet header without tags.
pub const ETHERNET_LEN: usize = size_of::<EthHdr>();
/// Bytes of an IPv4 header without options.
pub const IPV4_LEN: usize = size_of::<Ipv4Hdr>();
/// Bytes of an ICMP header.
pub const ICMP_LEN: usize = size_of::<Icmpv4Hdr>();
/// Bytes of a TCP header without options.
pub const TCP_LEN: usize = size_of::<TcpHdr>();

/// A TCP header without its options (RFC 9293, section 3.1). All numbers are in network byte order.
#[repr(C)]
pub struct TcpHeader {
    /// The sender's port.
    pub source_port: [u8; 2],
    /// The receiver's port.
    pub destination_port: [u8; 2],
    /// Sequence number.
    pub sequence: [u8; 4],
    /// Acknowledgement number.
    pub acknowledgement: [u8; 4],
    /// The header's length in words, in the high four bits.
    pub data_offset: u8,
    /// See [`crate::track::flags`].
    pub flags: u8,
    /// Window.
    pub window: [u8; 2],
    /// Checksum.
    pub check: [u8; 2],
    /// Urgent pointer.
    pub urgent: [u8; 2],
}

/// Offset of the checksum within a header of TCP or UDP.
#[inline(always)]
#[must_use]
pub const fn offset_of_checksum(protocol: u8) -> usize {
    if protocol == protocol::TCP {
        core::mem::offset_of!(TcpHeader, check)
    } else {
        core::mem::offset_of!(network_types::udp::UdpHdr, check)
    }
}

/// Destination and source of the frame.
///
/// # Errors
/// [`Reason::Truncated`] if the frame is shorter.
#[inline(always)]
pub fn frame_macs(packet: &impl Packet) -> Result<MacPair, Reason> {
    Ok(MacPair(load_words::<12, 3>(packet, 0)?))
}

/// Whether the frame is for a group of stations: a broadcast or multicast.
///
/// # Errors
/// [`Reason::NotOurs`] if it is no frame at all.
#[inline(always)]
pub fn is_group_frame(packet: &impl Packet) -> Result<bool, Reason> {
    let first: u8 = load(packet, 0).map_err(|_| Reason::NotOurs)?;
    Ok(first & 1 != 0)
}

/// Writes the frame's destination and source.
///
/// # Errors
/// [`Reason::Truncated`] if the frame is shorter.
#[inline(always)]
pub fn address_frame(packet: &impl Packet, macs: MacPair) -> Result<(), Reason> {
    store_words::<12, 3>(packet, 0, macs.0)
}

/// Writes `WORDS` words in a row, `BYTES` bytes, with one check of the bounds.
///
/// # Errors
/// [`Reason::Truncated`] if the frame is shorter; then nothing is written.
#[inline(always)]
pub fn store_words<const BYTES: usize, const WORDS: usize>(
    packet: &impl Packet,
    offset: usize,
    words: [u32; WORDS],
) -> Result<(), Reason> {
    const { assert!(BYTES == 4 * WORDS) };
    let pointer = pointer_to_words::<BYTES>(packet, offset)?;
    let mut i = 0;
    while i < WORDS {
        // SAFETY: within the BYTES bytes whose bounds were checked.
        unsafe { words[i].write(pointer.add(4 * i)) };
        i += 1;
    }
    Ok(())
}

/// Reads `WORDS` words in a row, `BYTES` bytes, with one check of the bounds.
///
/// # Errors
/// [`Reason::Truncated`] if the frame is shorter.
#[inline(always)]
fn load_words<const BYTES: usize, const WORDS: usize>(
    packet: &impl Packet,
    offset: usize,
) -> Result<[u32; WORDS], Reason> {
    const { assert!(BYTES == 4 * WORDS) };
    let pointer = pointer_to_words::<BYTES>(packet, offset)?;
    let mut words = [0; WORDS];
    let mut i = 0;
    while i < WORDS {
        // SAFETY: within the BYTES bytes whose bounds were checked.
        words[i] = unsafe { u32::read(pointer.add(4 * i)) };
        i += 1;
    }
    Ok(words)
}

/// The outer header of a tunnelled packet (RFC 2003): `length` bytes in all, not to be fragmented, so that the
/// tunnel's MTU is known to its users, with the inner packet's type of service.
#[inline(always)]
#[must_use]
pub const fn tunnel_header(length: u16, tos: u8, source: Be32, destination: Be32) -> [u32; 5] {
    ipv4_header(length, tos, protocol::IPIP, source, destination)
}

/// The header of an ICMP error of `length` bytes in all, with the precedence of internetwork control
/// (RFC 1812, section 4.3.2.5).
#[inline(always)]
#[must_use]
pub const fn error_header(length: u16, source: Be32, destination: Be32) -> [u32; 5] {
    ipv4_header(length, 0xc0, protocol::ICMP, source, destination)
}

/// The header of a TCP packet of `length` bytes in all.
#[inline(always)]
#[must_use]
pub const fn tcp_header(length: u16, source: Be32, destination: Be32) -> [u32; 5] {
    ipv4_header(length, 0, protocol::TCP, source, destination)
}

/// An IPv4 header in memory order: no options, "don't fragment", identification 0 (RFC 6864), TTL 64.
#[inline(always)]
const fn ipv4_header(length: u16, tos: u8, protocol: u8, source: Be32, destination: Be32) -> [u32; 5] {
    let [l0, l1] = Be16::new(length).0.to_ne_bytes();
    let first = u32::from_ne_bytes([0x45, tos, l0, l1]);
    let second = u32::from_ne_bytes([0, 0, 0x40, 0]);
    let third = u32::from_ne_bytes([64, protocol, 0, 0]);
    let sum = Sum::new().word(first).word(second).word(third).word(source.0).word(destination.0);
    let [c0, c1] = sum.checksum().to_ne_bytes();
    [first, second, u32::from_ne_bytes([64, protocol, c0, c1]), source.0, destination.0]
}
