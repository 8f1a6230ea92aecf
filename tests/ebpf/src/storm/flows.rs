// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The maps of the tables, and the keys of their flows.

use aya_ebpf::macros::btf_map;
use lb_common::{
    flow_table::{Event, Geometry, Key, Mixing, NARROW_WORDS, Narrow, Newcomer, Pair, WIDE_WORDS, Wide},
    ids::RealId,
    wire::{Be16, Be32, Be128},
};
use lb_tests_ebpf::{STORM_BUCKETS, STORM_FLOWS, STORM_REALS, StormKey};

use crate::{
    STORM_FINDINGS,
    table::{InMap, Shared, Surroundings, add},
};

/// The map of a table.
pub type Buckets<T> = Shared<T, { STORM_BUCKETS as usize }>;

#[btf_map]
pub static NARROW: Buckets<[u64; NARROW_WORDS]> = Buckets::new();

#[btf_map]
pub static WIDE: Buckets<[u64; WIDE_WORDS]> = Buckets::new();

/// The load of each real, by id.
#[btf_map]
static STORM_LOADS: Shared<u64, { (STORM_FLOWS * STORM_REALS + 1) as usize }> = Shared::new();

const GEOMETRY: Geometry = match Geometry::new(STORM_BUCKETS) {
    Some(geometry) => geometry,
    None => panic!("too few buckets"),
};

/// Returns the buckets of a flow in a map.
#[inline(always)]
pub fn pair<B: InMap>(map: &'static Buckets<B::Memory>, key: &impl Key) -> Option<Pair<B>> {
    let hash = key.hash();
    Some(Pair {
        first: B::of(map.get_ptr_mut(GEOMETRY.first(hash))?),
        second: B::of(map.get_ptr_mut(GEOMETRY.second(hash))?),
        line: key.line(),
    })
}

/// Eviction rule and counts of the tables.
pub struct Storming;

impl Surroundings for Storming {
    // Every flow may evict every other one.
    const NEWCOMER: Newcomer = Newcomer::Proven;

    #[inline(always)]
    fn add_load(real: RealId, change: u64) {
        if let Some(load) = STORM_LOADS.get_ptr_mut(real.0) {
            add(load, change);
        }
    }

    #[inline(always)]
    fn count(event: Event) {
        if let Some(findings) = STORM_FINDINGS.get_ptr_mut(0) {
            // SAFETY: this CPU's, checked for null.
            unsafe { (*findings).events[event as usize] += 1 };
        }
    }
}

/// A key of the test.
pub trait StormKeyed: Key {
    /// Returns the key of a flow.
    fn of(mixing: &Mixing, key: &StormKey) -> Self;
}

impl StormKeyed for Narrow {
    #[inline(always)]
    fn of(mixing: &Mixing, key: &StormKey) -> Self {
        Self::new(mixing, Be32(key.client[1] as u32), Be16(key.ports as u16), (key.ports >> 16) as u16)
    }
}

impl StormKeyed for Wide {
    #[inline(always)]
    fn of(mixing: &Mixing, key: &StormKey) -> Self {
        let [port, service, destination] =
            [key.ports, key.ports >> 16, key.ports >> 32].map(|port| port as u16);
        Self::new(mixing, Be128(key.client), Be16(port), service, Be16(destination))
    }
}
