// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Per-CPU caches of tables that only the daemon writes. A hit costs an array access and one comparison,
//! while the kernel's hash table costs a call, a hash and a walk. An entry is at its [`place`] or at the
//! [`other`] one beside it.
//!
//! `GENERATION` has one element. It is odd while the daemon changes `SERVICES`, `ADDRESSES` or `SOURCES`, and
//! another even number afterwards. An entry is valid if its stamp is that of the current generation. A daemon
//! that dies during a change leaves an odd number, with which no entry of a cache is valid: lookups are slow,
//! but correct. The next daemon continues from there.

use super::{AddressUse, Service, ServiceKey, Source, SourceKey, layout};
use crate::{
    checksum::Delta,
    ids::{RealId, ServiceId},
    packet::Ip,
    wire::{Be16, Be32, Be128},
};

/// Minimum number of entries of a cache.
pub const LEAST: u32 = 1024;
/// Maximum number of entries of `SERVICE_CACHE` and `SERVICE_CACHE6`: a megabyte for each CPU.
pub const MOST_SERVICES: u32 = 16_384;
/// Maximum number of entries of `SOURCE_CACHE` and `SOURCE_CACHE6`: a quarter of a megabyte for each CPU.
pub const MOST_SOURCES: u32 = 4096;

/// Returns the size of a cache for about `about` entries: a power of two.
#[must_use]
pub const fn entries(about: u32, most: u32) -> u32 {
    let entries = if about > most { most } else { about.next_power_of_two() };
    if entries < LEAST { LEAST } else { entries }
}

/// Returns the stamp of entries that were looked up in a generation; 0, which is never valid, if the
/// generation is odd.
#[inline(always)]
#[must_use]
pub const fn stamp(generation: u64) -> u64 {
    if generation & 1 == 0 { generation | 1 } else { 0 }
}

/// Returns the index of an endpoint (address, port, protocol) in a cache of `mask + 1` entries, a power of
/// two.
#[inline(always)]
#[must_use]
pub fn index(address: impl Ip, port: Be16, protocol: u16, mask: u32) -> u32 {
    // Consecutive ports have consecutive entries; those of another address begin elsewhere.
    let end = u32::from(port.get()) ^ u32::from(protocol).wrapping_mul(0x9e37);
    (address.mark() >> 16).wrapping_mul(0x0001_0dcd).wrapping_add(end) & mask
}

/// Returns the alternative index, if another endpoint has the first one: the second way of a 2-way set.
#[inline(always)]
#[must_use]
pub const fn other(place: u32) -> u32 {
    place ^ 1
}

/// A value of a cache.
pub trait Entry {
    /// Key of the cached table.
    type Key;

    /// Returns the [`stamp`] of the entry's generation.
    fn stamp(&self) -> u64;

    /// Returns whether the entry is that of this key.
    fn is_of(&self, key: &Self::Key) -> bool;
}

/// Value of `SERVICE_CACHE` and `SERVICE_CACHE6`, per CPU by [`place`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CachedService<A: Ip> {
    /// [`stamp`] of the entry's generation.
    pub stamp: u64,
    /// The service.
    pub service: Service,
    /// Key of the service.
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

/// Value of `SOURCE_CACHE` and `SOURCE_CACHE6`, per CPU by [`place`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CachedSource<A: Ip> {
    /// [`stamp`] of the entry's generation.
    pub stamp: u64,
    /// Source address of the packets.
    pub address: A,
    /// The new source address: [`Source::vip`].
    pub vip: A,
    /// Source port of the packets, network byte order.
    pub from_port: Be16,
    /// IANA number of the packets' protocol.
    pub protocol: u16,
    /// [`Source::port`].
    pub port: Be16,
    /// [`Source::flags`].
    pub flags: u16,
    /// [`Source::real`].
    pub real: RealId,
    /// Id of the service of the packets, by their port or by port 0; 0 if they belong to no service.
    pub service: ServiceId,
    /// Uses of the address.
    pub used: AddressUse,
    /// Change of a checksum when the VIP replaces the address, [`Delta::folded`].
    pub of_address: u16,
    /// Change of a checksum when the VIP and [`Self::port`] replace address and port, [`Delta::folded`].
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
    /// Copies a source into the entry, and computes its effect on checksums, which is the same for every
    /// packet.
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

    /// Returns the cached source.
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
        // An entry that was never written has stamp 0, which no generation has.
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
            (1..=4096).map(|port| index(vip(1), Be16::new(port), 6, 4095)).collect();
        assert_eq!(distinct(&mut ports), 4096);
        let mut vips: std::vec::Vec<u32> = (0..256).map(|n| index(vip(n), Be16::new(80), 6, 1023)).collect();
        assert!(distinct(&mut vips) > 200, "{}", vips.len());
        let [tcp, udp] = [6, 17].map(|protocol| index(vip(1), Be16::new(53), protocol, 1023));
        assert_ne!(tcp, udp);
    }
}
