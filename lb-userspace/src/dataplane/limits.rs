// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes of the tables, and of each map that follows from them.
#![forbid(unsafe_code)]

use lb_common::schema::{BLOCK, Marks, cache};

/// Maximum number of the director's own and broadcast addresses, besides those of services and reals.
pub(crate) const OWN_ADDRESSES: u32 = 4096;

/// Number of reals per block: a slot table has 128 to 256 slots for each real.
const REALS_PER_BLOCK: u32 = BLOCK / 256;

/// Sizes of the tables, which are fixed when the maps are created: adopted maps must have the same sizes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Number of services.
    pub services: u32,
    /// Number of reals, of all services together.
    pub reals: u32,
    /// Number of tracked IPv4 flows; each takes about 120 bytes of kernel memory.
    pub flows: u32,
    /// Number of tracked IPv6 flows; each takes about 150 bytes of kernel memory.
    pub flows6: u32,
}

impl Limits {
    /// Returns the number of blocks for slot tables: one for each service, and as many more as the largest
    /// pools need ([`crate::schedule::maglev::size`]).
    #[must_use]
    pub const fn blocks(&self) -> u32 {
        self.services.saturating_add(self.reals.div_ceil(REALS_PER_BLOCK))
    }

    /// Returns the number of entries in each CPU's service cache: four times the number of services, to keep
    /// collisions rare.
    #[must_use]
    pub const fn cached_services(&self) -> u32 {
        cache::entries(self.services.saturating_mul(4), cache::MOST_SERVICES)
    }

    /// Returns the number of entries in each CPU's cache of `nat` reply sources.
    #[must_use]
    pub const fn cached_sources(&self) -> u32 {
        cache::entries(self.reals.saturating_mul(4), cache::MOST_SOURCES)
    }

    /// Returns the number of elements of `SOURCE_MARKS`: one for networks, and 16 bits for each real.
    #[must_use]
    pub const fn source_marks(&self) -> u32 {
        1 + self.reals.div_ceil(Marks::MARKS / 16).next_power_of_two()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { services: 512, reals: 8192, flows: 1 << 20, flows6: 1 << 18 }
    }
}

/// Returns the numbers of entries of the maps that are sized at load time.
pub(super) fn sizes(limits: &Limits) -> Vec<(&'static str, u32)> {
    let blocks = limits.blocks();
    let Limits { services, reals, flows, flows6 } = *limits;
    // New entries of a full map are written before old ones are removed.
    let (services, reals) = (services.saturating_mul(2), reals.saturating_mul(2));
    vec![
        ("SERVICES", services),
        ("SERVICES6", services),
        ("SERVICE_CACHE", limits.cached_services()),
        ("SERVICE_CACHE6", limits.cached_services()),
        ("TABLES", blocks),
        ("MOVES", blocks),
        ("POSITIONS", services + 1),
        ("REALS", reals + 1),
        ("COUNTERS", reals + 1),
        ("LOADS", reals + 1),
        ("REASONS", services + 1),
        ("ADDRESSES", services + reals + OWN_ADDRESSES),
        ("ADDRESSES6", services + reals + OWN_ADDRESSES),
        ("SOURCES", reals),
        ("SOURCES6", reals),
        ("SOURCE_MARKS", limits.source_marks()),
        ("SOURCE_CACHE", limits.cached_sources()),
        ("SOURCE_CACHE6", limits.cached_sources()),
        ("CLIENTS", ((flows + flows6) / 8).max(1024)),
        ("LOCALITIES", ((flows + flows6) / 64).max(1024)),
        ("FLOWS", flows),
        ("OPENING", (flows / 4).max(1024)),
        ("REPLIES", (flows / 8).max(1024)),
        ("WAYS_BACK", (flows / 8).max(1024)),
        // Hash maps without preallocation: entries take memory when they are added.
        ("TRANSLATIONS", flows),
        ("TRANSLATIONS6", flows6),
        ("BYPASS", (flows / 64).max(1024)),
        ("FRAGMENTS", (flows / 64).max(1024)),
        ("FLOWS6", flows6),
        ("OPENING6", (flows6 / 4).max(1024)),
        ("REPLIES6", (flows6 / 8).max(1024)),
        ("WAYS_BACK6", (flows6 / 8).max(1024)),
        ("BYPASS6", (flows6 / 64).max(1024)),
        ("FRAGMENTS6", (flows6 / 64).max(1024)),
    ]
}
