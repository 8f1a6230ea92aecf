// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! IPv4 (RFC 791) and its ICMP (RFC 792).

use core::mem::{MaybeUninit, offset_of};

use network_types::ip::Ipv4Hdr;

use super::{
    ETHERNET_LEN, IPV4_LEN, Packet, Parsed, Part,
    access::{load, store},
    header::{load_words, store_words},
    ip::{Error, Header, Icmp, Ip, Start},
    ordinary,
};
use crate::{
    checksum::{Delta, Sum},
    mix, protocol,
    reason::Reason,
    wire::{Be16, Be32, Be128, MacPair},
};

/// The "more fragments" bit of flags and fragment offset.
const MORE_FRAGMENTS: Be16 = Be16::new(0x2000);
/// Mask of the fragment offset in flags and fragment offset.
const FRAGMENT_OFFSET: Be16 = Be16::new(0x1fff);
/// Offset in the frame of time to live, protocol and checksum, which are one word of the header.
const TTL: usize = ETHERNET_LEN + offset_of!(Ipv4Hdr, ttl);
/// Number of bytes that an error quotes behind the header.
const QUOTED: usize = 8;

impl Ip for Be32 {
    type Padding = [u32; 0];

    const ETHER_TYPE: Be16 = Be16::new(0x0800);
    const HEADER_LEN: usize = IPV4_LEN;
    const SOURCE: usize = offset_of!(Ipv4Hdr, src_addr);
    const DESTINATION: usize = offset_of!(Ipv4Hdr, dst_addr);
    const TTL: usize = offset_of!(Ipv4Hdr, ttl);
    const ICMP: u8 = protocol::ICMP;
    const ICMP_COVERS_ADDRESSES: bool = false;
    const TUNNELLED: u8 = protocol::IPIP;

    #[inline(always)]
    fn is_host(self) -> bool {
        let [first, second, ..] = self.0.to_ne_bytes();
        let link_local = first == 169 && second == 254;
        first != 0 && first != 127 && first & 0xf0 != 0xe0 && self.0 != u32::MAX && !link_local
    }

    #[inline(always)]
    fn wide(self) -> Be128 {
        Be128::mapped(self)
    }

    #[inline(always)]
    fn narrow(address: Be128) -> Self {
        address.last()
    }

    #[inline(always)]
    fn load(packet: &impl Packet, offset: usize) -> Result<Self, Reason> {
        Ok(Self(load(packet, offset)?))
    }

    #[inline(always)]
    fn store(self, packet: &impl Packet, offset: usize) -> Result<(), Reason> {
        store(packet, offset, self.0)
    }

    #[inline(always)]
    fn replace(change: Delta, old: Self, new: Self) -> Delta {
        change.replace32(old.0, new.0)
    }

    #[inline(always)]
    fn add_to(self, sum: Sum) -> Sum {
        sum.word(self.0)
    }

    #[inline(always)]
    fn mix(source: Self, destination: Self, seed: u64) -> u64 {
        mix::round(seed, u64::from(source.get()) << 32 | u64::from(destination.get()))
    }

    #[inline(always)]
    fn network(self) -> Self {
        Self(self.0 & 0xffff_ff00_u32.to_be())
    }

    /// Returns a multiplicative hash by the golden ratio (Knuth, The Art of Computer Programming, volume 3,
    /// section 6.4).
    #[inline(always)]
    fn mark(self) -> u32 {
        self.get().wrapping_mul(0x9e37_79b1)
    }

    #[inline(always)]
    fn near(self, _seed: u64) -> (u32, u32, u32) {
        let address = self.get();
        ((address >> 3).wrapping_mul(0x9e37_79b1), address & 7, self.0)
    }

    #[inline(always)]
    fn fold(self) -> u32 {
        self.get()
    }

    /// Checks the header as the kernel's `ip_rcv` does: version and header length.
    #[inline(always)]
    fn start(packet: &impl Packet, l3: usize) -> Result<Start<Self>, Reason> {
        let [first, second, third, source, destination] = load_words::<u32, IPV4_LEN, 5>(packet, l3)?;
        let [version_and_length, _, l0, l1] = first.to_ne_bytes();
        let [i0, i1, f0, f1] = second.to_ne_bytes();
        // Version 4 and at least five words. The mask gives the verifier a bound: at most 60 bytes.
        let words = version_and_length & 0x0f;
        if version_and_length >> 4 != 4 || words < 5 {
            return Err(Reason::NotOurs);
        }
        let fragment = u16::from_ne_bytes([f0, f1]);
        let part = if fragment & (FRAGMENT_OFFSET.0 | MORE_FRAGMENTS.0) == 0 {
            Part::Whole
        } else if fragment & FRAGMENT_OFFSET.0 == 0 {
            Part::First
        } else {
            Part::Later
        };
        Ok(Start {
            source: Self(source),
            destination: Self(destination),
            protocol: third.to_ne_bytes()[1],
            l4: l3 + ((words as usize) << 2),
            length: Be16(u16::from_ne_bytes([l0, l1])).get().into(),
            id: u16::from_ne_bytes([i0, i1]).into(),
            part,
        })
    }

    #[inline(always)]
    fn fragment_offset(packet: &impl Packet, _l4: usize) -> Result<u16, Reason> {
        let field: u16 = load(packet, ETHERNET_LEN + offset_of!(Ipv4Hdr, frags))?;
        Ok(Be16(field & FRAGMENT_OFFSET.0).get())
    }

    #[inline(always)]
    fn ordinary(packet: &impl Packet, into: &mut MaybeUninit<Parsed<Self>>) -> bool {
        ordinary::ipv4(packet, into)
    }

    #[inline(always)]
    fn hop(packet: &impl Packet, macs: MacPair) -> bool {
        ordinary::hop4(packet, macs)
    }

    #[inline(always)]
    fn traffic_class(packet: &impl Packet) -> Result<u8, Reason> {
        load(packet, ETHERNET_LEN + offset_of!(Ipv4Hdr, tos))
    }

    #[inline(always)]
    fn decrement_ttl(packet: &impl Packet, change: Delta) -> Result<(), Reason> {
        let old: u32 = load(packet, TTL)?;
        let [ttl, protocol, c0, c1] = old.to_ne_bytes();
        let (before, after) = ([ttl, protocol], [ttl.wrapping_sub(1), protocol]);
        let change = change.replace16(u16::from_ne_bytes(before), u16::from_ne_bytes(after));
        let [c0, c1] = change.apply(u16::from_ne_bytes([c0, c1])).to_ne_bytes();
        store(packet, TTL, u32::from_ne_bytes([after[0], after[1], c0, c1]))
    }

    #[inline(always)]
    fn apply(packet: &impl Packet, change: Delta) -> Result<(), Reason> {
        const AT: usize = ETHERNET_LEN + offset_of!(Ipv4Hdr, check);
        store(packet, AT, change.apply(load(packet, AT)?))
    }

    /// Writes a header without options, with "don't fragment" and identification 0 (RFC 6864).
    #[inline(always)]
    fn write(packet: &impl Packet, header: &Header<Self>) -> Result<(), Reason> {
        let [l0, l1] = Be16::new(header.length as u16).0.to_ne_bytes();
        let first = u32::from_ne_bytes([0x45, header.traffic_class, l0, l1]);
        let second = u32::from_ne_bytes([0, 0, 0x40, 0]);
        let third = u32::from_ne_bytes([64, header.protocol, 0, 0]);
        let sum = Sum::new().word(first).word(second).word(third);
        let sum = sum.word(header.source.0).word(header.destination.0);
        let [c0, c1] = sum.checksum().to_ne_bytes();
        let third = u32::from_ne_bytes([64, header.protocol, c0, c1]);
        let words = [first, second, third, header.source.0, header.destination.0];
        store_words::<u32, IPV4_LEN, 5>(packet, ETHERNET_LEN, words)
    }

    /// Returns the kind of the message. Errors are destination unreachable, source quench, redirect, time
    /// exceeded and parameter problem.
    #[inline(always)]
    fn icmp(icmp_type: u8) -> Icmp {
        match icmp_type {
            3 | 4 | 5 | 11 | 12 => Icmp::Error,
            8 => Icmp::Echo,
            _ => Icmp::Other,
        }
    }

    #[inline(always)]
    fn is_unreachable(icmp_type: u8, code: u8) -> bool {
        icmp_type == 3 && code != 4
    }

    #[inline(always)]
    fn error(error: Error) -> (u8, u8, u32) {
        match error {
            Error::PortUnreachable => (3, 3, 0),
            Error::TimeExceeded => (11, 0, 0),
            Error::TooBig(mtu) => {
                let [m0, m1] = mtu.to_be_bytes();
                (3, 4, u32::from_ne_bytes([0, 0, m0, m1]))
            }
        }
    }

    /// Returns the length of the header and eight bytes more (RFC 792).
    #[inline(always)]
    fn quote(_length: usize, behind: usize) -> usize {
        behind + QUOTED
    }
}
