// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Ordinary packets, as most are: whole, of TCP or UDP, without options or extension headers. One check of the bounds
//! covers all that is read or written of such a packet, and its offsets are constants. Other packets take the general
//! way, with the same results.
#![expect(unsafe_code, reason = "reads and writes words of the packet")]

use core::mem::{MaybeUninit, offset_of};

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use super::{
    ETHERNET_LEN, IPV4_LEN, IPV6_LEN, Ip, Packet, Parsed, Part, TCP_LEN, TcpHeader,
    access::{Word, read_at},
};
use crate::{
    flow_key::FlowKey,
    protocol,
    wire::{Be16, Be32, Be128, MacPair},
};

/// Length of the headers of an IPv4 packet of TCP, in bytes.
const LEN4: usize = ETHERNET_LEN + IPV4_LEN + TCP_LEN;
/// Length of the headers of an IPv6 packet of TCP, in bytes.
const LEN6: usize = ETHERNET_LEN + IPV6_LEN + TCP_LEN;

/// Returns the frame's packet if it is an ordinary one.
#[inline(always)]
pub(super) fn parse<A: Ip>(packet: &impl Packet) -> Option<Parsed<A>> {
    let mut parsed = MaybeUninit::uninit();
    // SAFETY: the function has written it if it returns true.
    A::ordinary(packet, &mut parsed).then(|| unsafe { parsed.assume_init() })
}

/// Reads a word of the frame's IPv4 header, `AT` bytes behind its start.
macro_rules! word {
    ($type:ty, $start:ident + $at:expr) => {
        // SAFETY: within the bytes whose bounds were checked.
        unsafe { <$type as Word>::read::<{ $at }>($start) }
    };
}

/// Parses an ordinary IPv4 packet. Returns whether it is one, and its frame has room for a TCP header.
#[inline(always)]
pub(super) fn ipv4(packet: &impl Packet, into: &mut MaybeUninit<Parsed<Be32>>) -> bool {
    /// Version 4 and five words.
    const FIRST: u32 = u32::from_ne_bytes([0x45, 0, 0, 0]);
    const FIRST_MASK: u32 = u32::from_ne_bytes([0xff, 0, 0, 0]);
    /// "More fragments" and the fragment offset.
    const FRAGMENT: u32 = u32::from_ne_bytes([0, 0, 0x3f, 0xff]);
    let Ok(start) = packet.at::<LEN4>(0) else { return false };
    let start: *const u8 = start.cast();
    let first = word!(u32, start + ETHERNET_LEN);
    let second = word!(u32, start + ETHERNET_LEN + 4);
    let protocol = word!(u8, start + ETHERNET_LEN + offset_of!(Ipv4Hdr, proto));
    if first & FIRST_MASK != FIRST || second & FRAGMENT != 0 {
        return false;
    }
    let length = length(first);
    let behind = ETHERNET_LEN + IPV4_LEN;
    let Some(tcp_flags) = flags(packet, protocol, behind + length as usize - IPV4_LEN, behind, || {
        word!(u8, start + ETHERNET_LEN + IPV4_LEN + offset_of!(TcpHeader, flags))
    }) else {
        return false;
    };
    let [i0, i1, ..] = second.to_ne_bytes();
    into.write(Parsed {
        flow: flow(
            Be32(word!(u32, start + ETHERNET_LEN + offset_of!(Ipv4Hdr, src_addr))),
            Be32(word!(u32, start + ETHERNET_LEN + offset_of!(Ipv4Hdr, dst_addr))),
            word!(u32, start + ETHERNET_LEN + IPV4_LEN),
            protocol,
        ),
        l4: behind as u16,
        length,
        id: u16::from_ne_bytes([i0, i1]).into(),
        part: Part::Whole,
        tcp_flags,
    });
    true
}

/// Parses an ordinary IPv6 packet, as [`ipv4`].
#[inline(always)]
pub(super) fn ipv6(packet: &impl Packet, into: &mut MaybeUninit<Parsed<Be128>>) -> bool {
    let Ok(start) = packet.at::<LEN6>(0) else { return false };
    let start: *const u8 = start.cast();
    let version = word!(u8, start + ETHERNET_LEN);
    let second = word!(u32, start + ETHERNET_LEN + 4);
    if version >> 4 != 6 {
        return false;
    }
    let [l0, l1, protocol, _] = second.to_ne_bytes();
    let length = u32::from(u16::from_be_bytes([l0, l1])) + IPV6_LEN as u32;
    let behind = ETHERNET_LEN + IPV6_LEN;
    let Some(tcp_flags) = flags(packet, protocol, ETHERNET_LEN + length as usize, behind, || {
        word!(u8, start + ETHERNET_LEN + IPV6_LEN + offset_of!(TcpHeader, flags))
    }) else {
        return false;
    };
    // SAFETY: within the bytes whose bounds were checked.
    let address = |at| unsafe { Be128([read_at(start, at), read_at(start, at + 8)]) };
    into.write(Parsed {
        flow: flow(
            address(ETHERNET_LEN + offset_of!(Ipv6Hdr, src_addr)),
            address(ETHERNET_LEN + offset_of!(Ipv6Hdr, dst_addr)),
            word!(u32, start + ETHERNET_LEN + IPV6_LEN),
            protocol,
        ),
        l4: behind as u16,
        length,
        id: 0,
        part: Part::Whole,
        tcp_flags,
    });
    true
}

/// Returns the total length in the first word of an IPv4 header.
#[inline(always)]
const fn length(first: u32) -> u32 {
    let [_, _, l0, l1] = first.to_ne_bytes();
    u16::from_be_bytes([l0, l1]) as u32
}

/// Returns the TCP flags of a packet that ends at the offset `end` of its frame and whose transport header begins at
/// `behind`; 0 for UDP. Returns nothing for another protocol, for a packet without room for the transport header, and for
/// one that is longer than the frame.
#[inline(always)]
fn flags(
    packet: &impl Packet,
    protocol: u8,
    end: usize,
    behind: usize,
    flags: impl FnOnce() -> u8,
) -> Option<u8> {
    if packet.len() < end {
        return None;
    }
    match protocol {
        protocol::TCP if end >= behind + TCP_LEN => Some(flags()),
        protocol::UDP if end >= behind + size_of::<UdpHdr>() => Some(0),
        _ => None,
    }
}

#[inline(always)]
const fn flow<A: Copy>(source: A, destination: A, ports: u32, protocol: u8) -> FlowKey<A> {
    let [s0, s1, d0, d1] = ports.to_ne_bytes();
    let (from, to) = (Be16(u16::from_ne_bytes([s0, s1])), Be16(u16::from_ne_bytes([d0, d1])));
    FlowKey::new(source, destination, from, to, protocol)
}

/// Forwards an IPv4 packet by a hop: writes the MAC addresses, the TTL and the checksum of the header. Returns whether it
/// did; else the TTL has expired or the frame is too short, and is unmodified.
#[inline(always)]
pub(super) fn hop4(packet: &impl Packet, macs: MacPair) -> bool {
    const AT: usize = ETHERNET_LEN + offset_of!(Ipv4Hdr, ttl);
    /// One in the upper half of a word.
    const ONE: u64 = 1 << 16;
    let Ok(start) = packet.at::<{ ETHERNET_LEN + IPV4_LEN }>(0) else { return false };
    let start: *mut u8 = start.cast();
    let word = word!(u32, start + AT);
    if word.to_ne_bytes()[0] <= 1 {
        return false;
    }
    // The words of the frame as on the wire, upside down: the checksum is the upper half, and the TTL the lowest byte.
    let old = u64::from(word.to_le());
    // The TTL is one less, so the checksum is one more (RFC 1141), modulo 0xffff: the result of `Delta`, which is never
    // 0xffff. (The upper half is in the other byte order, which does not matter to a one's complement sum.)
    let new = old - 1 + ONE;
    let new = new + ((new + ONE) >> 32 << 16);
    let word = u32::from_le(new as u32);
    // SAFETY: within the bytes whose bounds were checked.
    unsafe { word.write::<AT>(start) };
    write_macs(start, macs);
    true
}

/// Forwards an IPv6 packet by a hop, as [`hop4`].
#[inline(always)]
pub(super) fn hop6(packet: &impl Packet, macs: MacPair) -> bool {
    const AT: usize = ETHERNET_LEN + offset_of!(Ipv6Hdr, hop_limit);
    let Ok(start) = packet.at::<{ ETHERNET_LEN + IPV6_LEN }>(0) else { return false };
    let start: *mut u8 = start.cast();
    let limit = word!(u8, start + AT);
    if limit <= 1 {
        return false;
    }
    // SAFETY: within the bytes whose bounds were checked.
    unsafe { (limit - 1).write::<AT>(start) };
    write_macs(start, macs);
    true
}

/// Writes the MAC addresses of a frame that has been checked to have them.
#[inline(always)]
fn write_macs(start: *mut u8, macs: MacPair) {
    let [a, b, c] = macs.0;
    // SAFETY: the callers have checked the bounds.
    unsafe {
        a.write::<0>(start);
        b.write::<4>(start);
        c.write::<8>(start);
    }
}
