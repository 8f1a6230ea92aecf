// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! IPv6 (RFC 8200), its extension headers, and `ICMPv6` (RFC 4443).

use core::mem::{MaybeUninit, offset_of};

use network_types::ip::Ipv6Hdr;

use super::{
    ETHERNET_LEN, IPV6_LEN, Packet, Parsed, Part,
    access::{load, store},
    header::{load_words, store_words},
    ip::{Error, Header, Icmp, Ip, Start},
    ordinary,
};
use crate::{
    checksum::{Delta, Sum},
    mix, protocol,
    reason::Reason,
    wire::{Be16, Be128, MacPair},
};

/// Numbers of extension headers (RFC 8200, section 4).
mod extension {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const DESTINATION: u8 = 60;
    /// Authentication, mobility, host identity, shim6 and two for experiments. They are in the registry of
    /// extension headers, and the parser does not know where they end.
    pub const UNKNOWN: [u8; 6] = [51, 135, 139, 140, 253, 254];
}

/// Maximum number of consecutive extension headers that are parsed.
pub const MOST_EXTENSIONS: u32 = 6;
/// Maximum length of the extension headers that are parsed, in bytes, and a mask of that length.
const LONGEST_CHAIN: u64 = 0x3ff;
/// Maximum length of a quote in an error, in bytes. By RFC 4443 an error fills the minimum MTU.
const QUOTED: usize = 256;

impl Ip for Be128 {
    type Padding = [u32; 1];

    const ETHER_TYPE: Be16 = Be16::new(0x86dd);
    const HEADER_LEN: usize = IPV6_LEN;
    const SOURCE: usize = offset_of!(Ipv6Hdr, src_addr);
    const DESTINATION: usize = offset_of!(Ipv6Hdr, dst_addr);
    const TTL: usize = offset_of!(Ipv6Hdr, hop_limit);
    const ICMP: u8 = protocol::ICMPV6;
    const ICMP_COVERS_ADDRESSES: bool = true;
    const TUNNELLED: u8 = protocol::IPV6;

    #[inline(always)]
    fn is_host(self) -> bool {
        let [high, low] = self.0;
        let [first, second, ..] = high.to_ne_bytes();
        // Neither multicast, nor link-local, nor `::` or `::1`, nor an IPv4 address (Linux drops those since
        // 5.5, `ip6_rcv_core`).
        let special = high == 0 && (self.as_v4().is_some() || u64::from_be(low) <= 1);
        let link_local = first == 0xfe && second & 0xc0 == 0x80;
        first != 0xff && !link_local && !special
    }

    #[inline(always)]
    fn wide(self) -> Self {
        self
    }

    #[inline(always)]
    fn narrow(address: Self) -> Self {
        address
    }

    #[inline(always)]
    fn load(packet: &impl Packet, offset: usize) -> Result<Self, Reason> {
        Ok(Self(load_words::<u64, 16, 2>(packet, offset)?))
    }

    #[inline(always)]
    fn store(self, packet: &impl Packet, offset: usize) -> Result<(), Reason> {
        store_words::<u64, 16, 2>(packet, offset, self.0)
    }

    #[inline(always)]
    fn replace(change: Delta, old: Self, new: Self) -> Delta {
        change.replace64(old.0[0], new.0[0]).replace64(old.0[1], new.0[1])
    }

    #[inline(always)]
    fn add_to(self, sum: Sum) -> Sum {
        let [high, low] = self.0;
        sum.word(high as u32).word((high >> 32) as u32).word(low as u32).word((low >> 32) as u32)
    }

    #[inline(always)]
    fn mix(source: Self, destination: Self, seed: u64) -> u64 {
        let mixed = mix::address(seed, source.0, mix::SOURCE).rotate_left(16);
        mixed ^ mix::address(seed, destination.0, mix::DESTINATION)
    }

    #[inline(always)]
    fn network(self) -> Self {
        Self([self.0[0], 0])
    }

    /// Returns the hash of both halves, each multiplied by a constant of its own.
    #[inline(always)]
    fn mark(self) -> u32 {
        let [high, low] = self.0;
        let mixed =
            high.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ u64::from_be(low).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32
    }

    /// Returns the values for `CachedPath`. The hash is multiplicative, as in IPv4: consecutive addresses,
    /// and consecutive networks, do not collide. The name is 32 bits of a hash that is secret by its seed.
    /// (Two clients with the same name and place that are active at the same time get each other's router.)
    #[inline(always)]
    fn near(self, seed: u64) -> (u32, u32, u32) {
        let [high, low] = self.0.map(u64::from_be);
        let place =
            high.wrapping_mul(mix::DESTINATION[0]).wrapping_add((low >> 3).wrapping_mul(mix::SOURCE[0]));
        let name = mix::address(seed, self.0, mix::SOURCE);
        ((place >> 32) as u32, low as u32 & 7, (name ^ name >> 32) as u32)
    }

    #[inline(always)]
    fn fold(self) -> u32 {
        let both = self.0[0] ^ self.0[1];
        u32::from_be(both as u32 ^ (both >> 32) as u32)
    }

    #[inline(always)]
    fn start(packet: &impl Packet, l3: usize) -> Result<Start<Self>, Reason> {
        let [start, s0, s1, d0, d1] = load_words::<u64, IPV6_LEN, 5>(packet, l3)?;
        let [version, _, _, _, l0, l1, next, _] = start.to_ne_bytes();
        if version >> 4 != 6 {
            return Err(Reason::NotOurs);
        }
        let first = l3 + IPV6_LEN;
        let chain = match next {
            protocol::TCP | protocol::UDP | protocol::ICMPV6 | protocol::SCTP => Chain::none(next),
            _ => packet.extensions(next, first),
        };
        Ok(Start {
            source: Self([s0, s1]),
            destination: Self([d0, d1]),
            protocol: chain.protocol(),
            l4: first + chain.length(),
            length: u32::from(u16::from_be_bytes([l0, l1])) + IPV6_LEN as u32,
            id: chain.id(),
            part: chain.part(),
        })
    }

    /// Returns the offset from the fragment header, which is the last header before the fragment (RFC 8200,
    /// section 4.5).
    #[inline(always)]
    fn fragment_offset(packet: &impl Packet, l4: usize) -> Result<u16, Reason> {
        // The mask tells the verifier that the offset is not negative.
        let field: u16 = load(packet, l4.wrapping_sub(6) & super::FARTHEST as usize)?;
        Ok(Be16(field).get() >> 3)
    }

    #[inline(always)]
    fn ordinary(packet: &impl Packet, into: &mut MaybeUninit<Parsed<Self>>) -> bool {
        ordinary::ipv6(packet, into)
    }

    #[inline(always)]
    fn hop(packet: &impl Packet, macs: MacPair) -> bool {
        ordinary::hop6(packet, macs)
    }

    #[inline(always)]
    fn traffic_class(packet: &impl Packet) -> Result<u8, Reason> {
        let start: u16 = load(packet, ETHERNET_LEN)?;
        Ok((Be16(start).get() >> 4) as u8)
    }

    #[inline(always)]
    fn decrement_ttl(packet: &impl Packet, _change: Delta) -> Result<(), Reason> {
        const AT: usize = ETHERNET_LEN + Be128::TTL;
        let limit: u8 = load(packet, AT)?;
        store(packet, AT, limit.wrapping_sub(1))
    }

    #[inline(always)]
    fn apply(_packet: &impl Packet, _change: Delta) -> Result<(), Reason> {
        Ok(())
    }

    /// Writes a header without extensions, with flow label 0.
    #[inline(always)]
    fn write(packet: &impl Packet, header: &Header<Self>) -> Result<(), Reason> {
        let first = (0x6000_0000 | u32::from(header.traffic_class) << 20).to_be();
        let [l0, l1] = Be16::new(header.length.wrapping_sub(IPV6_LEN) as u16).0.to_ne_bytes();
        let second = u32::from_ne_bytes([l0, l1, header.protocol, 64]);
        store_words::<u32, 8, 2>(packet, ETHERNET_LEN, [first, second])?;
        header.source.store(packet, ETHERNET_LEN + Self::SOURCE)?;
        header.destination.store(packet, ETHERNET_LEN + Self::DESTINATION)
    }

    /// Returns the kind of the message. Errors have numbers below 128. Router and neighbour discovery,
    /// redirects (RFC 4861) and multicast listeners (RFC 2710, RFC 3810) concern the link.
    #[inline(always)]
    fn icmp(icmp_type: u8) -> Icmp {
        match icmp_type {
            0..=127 => Icmp::Error,
            128 => Icmp::Echo,
            130..=137 | 143 => Icmp::Link,
            _ => Icmp::Other,
        }
    }

    #[inline(always)]
    fn is_unreachable(icmp_type: u8, _code: u8) -> bool {
        icmp_type == 1
    }

    #[inline(always)]
    fn error(error: Error) -> (u8, u8, u32) {
        match error {
            Error::PortUnreachable => (1, 4, 0),
            Error::TimeExceeded => (3, 0, 0),
            Error::TooBig(mtu) => (2, 0, u32::from(mtu).to_be()),
        }
    }

    #[inline(always)]
    fn quote(length: usize, _behind: usize) -> usize {
        (if length > QUOTED { QUOTED } else { length }) & !3
    }
}

/// The result of a walk over a chain of extension headers, in one number, since the programs walk it in a
/// global function:
///
/// | bits   | meaning                                                      |
/// |-------:|--------------------------------------------------------------|
/// | 0–9    | length of the chain in bytes                                 |
/// | 16–23  | protocol behind the chain                                    |
/// | 24–26  | the part of its datagram that the packet is, by [`Part`]'s order |
/// | 32–63  | identification of the datagram, network byte order           |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chain(pub u64);

impl Chain {
    /// Returns the result for a packet without extension headers.
    #[inline(always)]
    const fn none(protocol: u8) -> Self {
        Self((protocol as u64) << 16)
    }

    #[inline(always)]
    const fn new(length: u64, protocol: u8, part: Part, id: u32) -> Self {
        let part = match part {
            Part::Whole => 0,
            Part::First => 1,
            Part::Later => 2,
            Part::Truncated => 3,
            Part::Hidden | Part::Tiny => 4,
        };
        Self(length | (protocol as u64) << 16 | part << 24 | (id as u64) << 32)
    }

    #[inline(always)]
    const fn length(self) -> usize {
        (self.0 & LONGEST_CHAIN) as usize
    }

    #[inline(always)]
    const fn protocol(self) -> u8 {
        (self.0 >> 16) as u8
    }

    #[inline(always)]
    const fn part(self) -> Part {
        match self.0 >> 24 & 7 {
            0 => Part::Whole,
            1 => Part::First,
            2 => Part::Later,
            3 => Part::Truncated,
            _ => Part::Hidden,
        }
    }

    #[inline(always)]
    const fn id(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Walks over the extension headers, the first of which has the number `first` and is at `offset`.
    #[inline(always)]
    pub fn walk(packet: &impl Packet, first: u8, offset: usize) -> Self {
        let mut walk = Walk::new(first, offset);
        let mut looked_at = 0;
        while looked_at < MOST_EXTENSIONS {
            if let Some(chain) = walk.step(packet) {
                return chain;
            }
            looked_at += 1;
        }
        walk.end()
    }
}

/// A walk over extension headers.
pub struct Walk {
    /// Number of the next header.
    next: u8,
    /// Offset of the first header in the frame.
    offset: usize,
    /// Length of the headers so far, in bytes.
    length: u64,
    part: Part,
    id: u32,
}

impl Walk {
    /// Returns a walk that begins at a header with the number `first` at `offset`.
    #[inline(always)]
    #[must_use]
    pub const fn new(first: u8, offset: usize) -> Self {
        Self { next: first, offset, length: 0, part: Part::Whole, id: 0 }
    }

    /// Walks over one header. Returns the result if the chain ends there.
    ///
    /// A routing header with segments left hides the packet's final destination, and a chain that is too long
    /// hides everything: both are [`Part::Hidden`], like a packet with an unknown extension header.
    #[inline(always)]
    pub fn step(&mut self, packet: &impl Packet) -> Option<Chain> {
        let at = self.offset + (self.length & LONGEST_CHAIN) as usize;
        let bytes = match self.next {
            extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION => {
                let Ok(start) = load::<u32>(packet, at) else { return Some(self.is(Part::Truncated)) };
                let [following, words, _, segments_left] = start.to_ne_bytes();
                if self.next == extension::ROUTING && segments_left != 0 {
                    return Some(self.is(Part::Hidden));
                }
                self.next = following;
                (u64::from(words) + 1) << 3
            }
            extension::FRAGMENT => {
                let Ok([start, number]) = load_words::<u32, 8, 2>(packet, at) else {
                    return Some(self.is(Part::Truncated));
                };
                let [following, _, high, low] = start.to_ne_bytes();
                (self.next, self.id) = (following, number);
                if u16::from_be_bytes([high, low]) & !7 != 0 {
                    self.part = Part::Later;
                } else if low & 1 != 0 {
                    self.part = Part::First;
                }
                8
            }
            next if is_unknown(next) => return Some(self.is(Part::Hidden)),
            _ => return Some(self.is(self.part)),
        };
        if self.length + bytes > LONGEST_CHAIN {
            return Some(self.is(Part::Hidden));
        }
        self.length += bytes;
        // A later fragment has no further headers.
        if self.part == Part::Later { Some(self.is(self.part)) } else { None }
    }

    /// Returns the result after the maximum number of headers. One more extension header hides everything
    /// behind it.
    #[inline(always)]
    #[must_use]
    pub const fn end(&self) -> Chain {
        let is_known = matches!(
            self.next,
            extension::HOP_BY_HOP | extension::ROUTING | extension::FRAGMENT | extension::DESTINATION
        );
        self.is(if is_known || is_unknown(self.next) { Part::Hidden } else { self.part })
    }

    #[inline(always)]
    const fn is(&self, part: Part) -> Chain {
        Chain::new(self.length & LONGEST_CHAIN, self.next, part, self.id)
    }
}

#[inline(always)]
const fn is_unknown(number: u8) -> bool {
    let mut i = 0;
    while i < extension::UNKNOWN.len() {
        if extension::UNKNOWN[i] == number {
            return true;
        }
        i += 1;
    }
    false
}
