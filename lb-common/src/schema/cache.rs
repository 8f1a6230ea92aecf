// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! What each CPU found last in tables that only the daemon writes: a look into an array and one comparison, where the kernel's
//! hash table takes a call, a hash and a walk. What is kept is at its [`place`] or at the [`other`] one, beside it.
//!
//! `GENERATION` has one element. It is odd while the daemon changes `SERVICES`, `ADDRESSES` or `SOURCES`, and another even
//! number afterwards. An entry counts as long as its stamp says the generation of now. A daemon that dies in between leaves an odd
//! number, by which nothing is found in a cache: slow, and right. The next one goes on.

use super::{AddressUse, Service, ServiceKey, Source, SourceKey, layout};
use crate::{
    checksum::Delta,
    packet::Ip,
    wire::{Be16, Be32, Be128},
};

/// Entries of a cache at least.
pub const LEAST: u32 = 1024;
/// Entries of `SERVICE_CACHE` and `SERVICE_CACHE6` at most: a megabyte for each CPU.
pub const MOST_SERVICES: u32 = 16_384;
/// Entries of `SOURCE_CACHE` and `SOURCE_CACHE6` at most: a quarter of a megabyte for each CPU.
pub const MOST_SOURCES: u32 = 4096;

/// Entries of a cache of about so many: a power of two.
#[must_use]
pub const fn entries(about: u32, most: u32) -> u32 {
    let entries = if about > most { most } else { about.next_power_of_two() };
    if entries < LEAST { LEAST } else { entries }
}

/// The stamp of what was looked up in a generation: one that no generation finds if it was odd.
#[inline(always)]
#[must_use]
pub const fn stamp(generation: u64) -> u64 {
    if generation & 1 == 0 { generation | 1 } else { 0 }
}

/// Where an end (an address, a port, a protocol) is in a cache of `mask + 1` entries, a power of two.
#[inline(always)]
#[must_use]
pub fn place(address: impl Ip, port: Be16, protocol: u16, mask: u32) -> u32 {
    // Ports in a row get places in a row, those of another address begin elsewhere.
    let end = u32::from(port.get()) ^ u32::from(protocol).wrapping_mul(0x9e37);
    (address.mark() >> 16).wrapping_mul(0x0001_0dcd).wrapping_add(end) & mask
}

/// Where else that may be, if its place is another's: beside it, so that three have to meet before one is in another's way.
#[inline(always)]
#[must_use]
pub const fn other(place: u32) -> u32 {
    place ^ 1
}

/// A value of a cache.
pub trait Entry {
    /// What it is looked for by.
    type Key;

    /// [`stamp`] of the generation that it is of.
    fn stamp(&self) -> u64;

    /// Whether it says what that key finds.
    fn is_of(&self, key: &Self::Key) -> bool;
}

/// Value of `SERVICE_CACHE` and `SERVICE_CACHE6`, of each CPU by [`place`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CachedService<A: Ip> {
    /// [`stamp`] of the generation that it is of.
    pub stamp: u64,
    /// The service.
    pub service: Service,
    /// Its key.
    pub key: ServiceKey<A>,
}
layout!(CachedService<Be32>, size: 48, align: 8);
layout!(CachedService<Be128>, size: 64, align: 8);

impl<A: Ip> Entry for CachedService<A> {
    type Key = ServiceKey<A>;

    #[inline(always)]
    fn stamp(&self) -> u64 {
        self.stamp
    }

    #[inline(always)]
    fn is_of(&self, key: &Self::Key) -> bool {
        self.key == *key
    }
}

/// Value of `SOURCE_CACHE` and `SOURCE_CACHE6`, of each CPU by [`place`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CachedSource<A: Ip> {
    /// [`stamp`] of the generation that it is of.
    pub stamp: u64,
    /// Where packets come from.
    pub address: A,
    /// What they become: [`Source::vip`].
    pub vip: A,
    /// The port that they have.
    pub from_port: Be16,
    /// Their protocol.
    pub protocol: u16,
    /// [`Source::port`].
    pub port: Be16,
    /// [`Source::flags`].
    pub flags: u16,
    /// [`Source::real`].
    pub real: u32,
    /// Whose they are, by their port or by port 0; service 0 if nobody's.
    pub service: u32,
    /// What the address is used for.
    pub used: AddressUse,
    /// What a checksum changes by when the address becomes the VIP, [`Delta::folded`].
    pub of_address: u16,
    /// The same when the port becomes [`Self::port`], too.
    pub of_both: u16,
}
layout!(CachedSource<Be32>, size: 40, align: 8);
layout!(CachedSource<Be128>, size: 64, align: 8);

impl<A: Ip> Entry for CachedSource<A> {
    type Key = SourceKey<A>;

    #[inline(always)]
    fn stamp(&self) -> u64 {
        self.stamp
    }

    #[inline(always)]
    fn is_of(&self, key: &Self::Key) -> bool {
        self.address == key.address && self.from_port == key.port && self.protocol == key.protocol
    }
}

impl<A: Ip> CachedSource<A> {
    /// Writes down what was found, and what it does to checksums: that is the same for every packet.
    #[inline(always)]
    pub fn keep(&mut self, source: &Source<A>) {
        self.vip = source.vip;
        self.port = source.port;
        self.flags = source.flags;
        self.real = source.real;
        self.service = source.service;
        let of_address = A::replace(Delta::new(), self.address, source.vip);
        self.of_address = of_address.folded();
        self.of_both = if source.port == Be16::ZERO {
            self.of_address
        } else {
            of_address.replace16(self.from_port.0, source.port.0).folded()
        };
    }

    /// What it says.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> Source<A> {
        Source::new(self.vip, self.port, self.flags, self.real, self.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_found_while_the_daemon_changes_the_tables() {
        assert_eq!([stamp(0), stamp(1), stamp(2), stamp(3)], [1, 0, 3, 0]);
        // An entry that was never written has stamp 0, and no generation that looks has.
        assert!((0..100).step_by(2).all(|generation| stamp(generation) != 0));
    }

    #[test]
    fn a_cache_has_a_power_of_two_of_entries() {
        assert_eq!(
            [0, 1, 1300, 5000, u32::MAX].map(|n| entries(n, MOST_SOURCES)),
            [1024, 1024, 2048, 4096, 4096]
        );
    }

    #[test]
    fn places_spread() {
        let vip = |n: u32| Be32((0xc000_0200 + n).to_be());
        let distinct = |places: &mut std::vec::Vec<u32>| {
            places.sort_unstable();
            places.dedup();
            places.len()
        };
        let mut ports: std::vec::Vec<u32> =
            (1..=4096).map(|port| place(vip(1), Be16::new(port), 6, 4095)).collect();
        assert_eq!(distinct(&mut ports), 4096);
        let mut vips: std::vec::Vec<u32> = (0..256).map(|n| place(vip(n), Be16::new(80), 6, 1023)).collect();
        assert!(distinct(&mut vips) > 200, "{}", vips.len());
        let [tcp, udp] = [6, 17].map(|protocol| place(vip(1), Be16::new(53), protocol, 1023));
        assert_ne!(tcp, udp);
    }
}
