// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Headers: the offsets of their fields, and writers of new headers.
//!
//! The layouts are those of `network-types`, except that of TCP: its flags are bit fields there, and one byte
//! here.
#![expect(unsafe_code, reason = "reads and writes words of the packet")]

use network_types::{
    eth::EthHdr,
    icmp::Icmpv4Hdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
};

use super::access::{Packet, Word, load, pointer_to_words, read_at, write_at};
use crate::{
    protocol,
    reason::Reason,
    wire::{Be16, MacPair},
};

/// Length of an Ethernet header without tags, in bytes.
pub const ETHERNET_LEN: usize = size_of::<EthHdr>();
/// Length of an IPv4 header without options, in bytes.
pub const IPV4_LEN: usize = size_of::<Ipv4Hdr>();
/// Length of an IPv6 header without extensions, in bytes.
pub const IPV6_LEN: usize = size_of::<Ipv6Hdr>();
/// Length of an ICMP header, in bytes.
pub const ICMP_LEN: usize = size_of::<Icmpv4Hdr>();
/// Length of a TCP header without options, in bytes.
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
    /// Length of the header in words of 4 bytes, in the high four bits.
    pub data_offset: u8,
    /// See [`crate::packet::tcp_flags`].
    pub flags: u8,
    /// Window.
    pub window: [u8; 2],
    /// Checksum.
    pub check: [u8; 2],
    /// Urgent pointer.
    pub urgent: [u8; 2],
}

/// Returns the offset of the checksum within a TCP or UDP header.
#[inline(always)]
#[must_use]
pub const fn offset_of_checksum(protocol: u8) -> usize {
    if protocol == protocol::TCP {
        core::mem::offset_of!(TcpHeader, check)
    } else {
        core::mem::offset_of!(network_types::udp::UdpHdr, check)
    }
}

/// Returns the destination and source MAC address of the frame.
///
/// # Errors
/// [`Reason::Truncated`] if the frame is shorter.
#[inline(always)]
pub fn frame_macs(packet: &impl Packet) -> Result<MacPair, Reason> {
    Ok(MacPair(load_words::<u32, 12, 3>(packet, 0)?))
}

/// Returns whether the frame is for a group of stations: a broadcast or multicast.
///
/// # Errors
/// [`Reason::NotOurs`] if the frame has no Ethernet header.
#[inline(always)]
pub fn is_group_frame(packet: &impl Packet) -> Result<bool, Reason> {
    // The whole header, whose bounds [`ether_type`] has checked before.
    let start = packet.at::<ETHERNET_LEN>(0).map_err(|_| Reason::NotOurs)?;
    // SAFETY: within the bytes whose bounds were checked.
    let first = unsafe { u8::read::<0>(start.cast()) };
    Ok(first & 1 != 0)
}

/// Returns the `EtherType` of the frame; 0 if the frame is too short.
#[inline(always)]
#[must_use]
pub fn ether_type(packet: &impl Packet) -> Be16 {
    Be16(load(packet, core::mem::offset_of!(EthHdr, ether_type)).unwrap_or(0))
}

/// Writes the destination and source MAC address of the frame.
///
/// # Errors
/// [`Reason::Truncated`] if the frame is shorter.
#[inline(always)]
pub fn address_frame(packet: &impl Packet, macs: MacPair) -> Result<(), Reason> {
    store_words::<u32, 12, 3>(packet, 0, macs.0)
}

/// Writes `WORDS` consecutive words, `BYTES` bytes, with one check of the bounds.
///
/// # Errors
/// [`Reason::Truncated`] if the frame is shorter; then nothing is written.
#[inline(always)]
pub fn store_words<T: Word, const BYTES: usize, const WORDS: usize>(
    packet: &impl Packet,
    offset: usize,
    words: [T; WORDS],
) -> Result<(), Reason> {
    const { assert!(BYTES == size_of::<T>() * WORDS) };
    let pointer = pointer_to_words::<BYTES>(packet, offset)?;
    let mut i = 0;
    while i < WORDS {
        // SAFETY: within the BYTES bytes whose bounds were checked.
        unsafe { write_at(pointer, i * size_of::<T>(), words[i]) };
        i += 1;
    }
    Ok(())
}

/// Reads `WORDS` consecutive words, `BYTES` bytes, with one check of the bounds.
///
/// # Errors
/// [`Reason::Truncated`] if the frame is shorter.
#[inline(always)]
pub(super) fn load_words<T: Word, const BYTES: usize, const WORDS: usize>(
    packet: &impl Packet,
    offset: usize,
) -> Result<[T; WORDS], Reason> {
    const { assert!(BYTES == size_of::<T>() * WORDS) };
    let pointer = pointer_to_words::<BYTES>(packet, offset)?;
    let mut words = [T::default(); WORDS];
    let mut i = 0;
    while i < WORDS {
        // SAFETY: within the BYTES bytes whose bounds were checked.
        words[i] = unsafe { read_at(pointer, i * size_of::<T>()) };
        i += 1;
    }
    Ok(words)
}
