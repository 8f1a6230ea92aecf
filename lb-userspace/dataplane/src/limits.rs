// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes of the tables, and of each map that follows from them.
#![forbid(unsafe_code)]

use lb_common::{
    flow_table::{Geometry, PLACES},
    schema::{AddressFilter, BLOCK, MapName, cache},
};

/// Maximum number of the director's own and broadcast addresses, besides those of services and reals.
pub const OWN_ADDRESSES: u32 = 4096;

/// Maximum number of buckets of the flow table: the values of an array map are at most 4 GiB.
const MOST_BUCKETS: u32 = 1 << 23;

/// Divisor of the number of tracked flows: as many of them can be `fnat` flows.
pub(super) const FNAT_SHARE: u32 = 4;

/// Number of places with which the flow table of a daemon begins: 4 MiB of kernel memory.
const FIRST_PLACES: u32 = 1 << 17;

/// Number of reals per block: a slot table has 128 to 256 slots for each real.
const REALS_PER_BLOCK: u32 = BLOCK / 256;

/// Sizes of the tables, which are fixed when the maps are created: adopted maps must have the same sizes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Number of services.
    pub services: u32,
    /// Number of reals, of all services together.
    pub reals: u32,
    /// Number of tracked IPv4 flows.
    pub flows: u32,
    /// Number of tracked IPv6 flows.
    pub flows6: u32,
    /// Number of places that the flow table has now; `None`: as many as it can get.
    pub flow_places: Option<u32>,
}

impl Limits {
    /// Returns the number of blocks for slot tables: one for each service, and as many more as the largest
    /// pools need ([`lb_schedule::maglev::size`]).
    #[must_use]
    pub const fn blocks(&self) -> u32 {
        self.services.saturating_add(self.reals.div_ceil(REALS_PER_BLOCK))
    }

    /// Returns the number of buckets of the flow table, a power of two.
    #[must_use]
    pub const fn flow_buckets(&self) -> u32 {
        match self.flow_places {
            Some(places) => buckets_for(places),
            None => buckets_for(self.flows.saturating_add(self.flows6)),
        }
    }

    /// Returns the limits with the flow table with which a daemon begins.
    #[must_use]
    pub const fn begun(self) -> Self {
        Self { flow_places: Some(self.least_flow_places()), ..self }
    }

    /// Returns the lowest number of places of a daemon's flow table, with which it begins.
    #[must_use]
    pub const fn least_flow_places(&self) -> u32 {
        let most = self.most_flow_places();
        if most < FIRST_PLACES { most } else { FIRST_PLACES }
    }

    /// Returns the highest number of places of the flow table, which has a place for each flow of both versions then.
    #[must_use]
    pub const fn most_flow_places(&self) -> u32 {
        buckets_for(self.flows.saturating_add(self.flows6)) * PLACES as u32
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

    /// Returns the number of elements of `SOURCE_FILTER`: one for networks, and 16 bits for each real.
    #[must_use]
    pub const fn source_marks(&self) -> u32 {
        1 + self.reals.div_ceil(AddressFilter::BITS / 16).next_power_of_two()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { services: 512, reals: 8192, flows: 1 << 20, flows6: 1 << 18, flow_places: None }
    }
}

/// Returns the number of buckets with this number of places, or the next higher one that a table can have.
const fn buckets_for(places: u32) -> u32 {
    let buckets = places.div_ceil(PLACES as u32);
    let buckets = if buckets > MOST_BUCKETS { MOST_BUCKETS } else { buckets.next_power_of_two() };
    if buckets < Geometry::MIN_BUCKETS { Geometry::MIN_BUCKETS } else { buckets }
}

/// Returns the maps that keep their size when the limits change from `old` to `new`, except `SCHEMA` and
/// `PROGRAMS`. Programs over tables of other sizes can share these maps with the programs before them.
///
/// `PROGRAMS` belongs to one set of programs: it contains them. A new `SCHEMA` shows that the set of maps is new.
pub(super) fn shareable(old: &Limits, new: &Limits) -> impl Iterator<Item = MapName> {
    let (old, new) = (sizes(old), sizes(new));
    let mut resized: Vec<MapName> =
        old.into_iter().filter(|size| !new.contains(size)).map(|(map, _)| map).collect();
    // A flow table that is replaced is pinned only for a moment, and its successor cannot be replaced meanwhile.
    let own = [MapName::Schema, MapName::Programs, MapName::FlowsBefore];
    if resized.contains(&MapName::Flows) {
        // It has the size of the flow table.
        resized.push(MapName::FlowShape);
    }
    MapName::ALL.iter().copied().filter(move |map| !own.contains(map) && !resized.contains(map))
}

/// Returns the numbers of entries of the maps that are sized at load time.
pub(super) fn sizes(limits: &Limits) -> Vec<(MapName, u32)> {
    let blocks = limits.blocks();
    let Limits { services, reals, flows, flows6, .. } = *limits;
    // So that the limits follow from the sizes of the maps, see `PinDir::capacity`.
    let (flows, flows6) = (flows / FNAT_SHARE * FNAT_SHARE, flows6 / FNAT_SHARE * FNAT_SHARE);
    // New entries of a full map are written before old ones are removed.
    let (services, reals) = (services.saturating_mul(2), reals.saturating_mul(2));
    vec![
        (MapName::Services, services),
        (MapName::Services6, services),
        (MapName::ServiceCache, limits.cached_services()),
        (MapName::ServiceCache6, limits.cached_services()),
        (MapName::Tables, blocks),
        (MapName::Moves, blocks),
        (MapName::Positions, services + 1),
        (MapName::Reals, reals + 1),
        (MapName::Counters, reals + 1),
        (MapName::Loads, reals + 1),
        (MapName::Reasons, services + 1),
        (MapName::Addresses, services + reals + OWN_ADDRESSES),
        (MapName::Addresses6, services + reals + OWN_ADDRESSES),
        (MapName::Sources, reals),
        (MapName::Sources6, reals),
        (MapName::SourceFilter, limits.source_marks()),
        (MapName::SourceCache, limits.cached_sources()),
        (MapName::SourceCache6, limits.cached_sources()),
        (MapName::Clients, ((flows + flows6) / 8).max(1024)),
        (MapName::Localities, ((flows + flows6) / 64).max(1024)),
        (MapName::Flows, limits.flow_buckets()),
        // Hash maps without preallocation: entries take memory when they are added.
        (MapName::Bindings, (flows / FNAT_SHARE).max(1)),
        (MapName::Bindings6, (flows6 / FNAT_SHARE).max(1)),
        (MapName::Replies, (flows / 8).max(1024)),
        (MapName::ReturnPaths, (flows / 16).max(1024)),
        (MapName::Translations, (flows / FNAT_SHARE).max(1)),
        (MapName::Translations6, (flows6 / FNAT_SHARE).max(1)),
        (MapName::Bypass, (flows / 64).max(1024)),
        (MapName::Fragments, (flows / 64).max(1024)),
        (MapName::Replies6, (flows6 / 8).max(1024)),
        (MapName::ReturnPaths6, (flows6 / 16).max(1024)),
        (MapName::Bypass6, (flows6 / 64).max(1024)),
        (MapName::Fragments6, (flows6 / 64).max(1024)),
    ]
}

#[cfg(test)]
mod page;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_flow_tables_share_everything_but_what_has_flows() {
        let old = Limits::default();
        let shared: Vec<MapName> = shareable(&old, &Limits { flows: old.flows * 2, ..old }).collect();
        for map in [MapName::Services, MapName::CachedPaths, MapName::RouterPaths, MapName::LastBypass] {
            assert!(shared.contains(&map), "{map}");
        }
        for map in [MapName::Controllers, MapName::Counters, MapName::Bindings6, MapName::ReturnPaths6] {
            assert!(shared.contains(&map), "{map}");
        }
        for map in
            [MapName::Flows, MapName::FlowShape, MapName::Bindings, MapName::ReturnPaths, MapName::Clients]
        {
            assert!(!shared.contains(&map), "{map}");
        }
        assert!(!shared.contains(&MapName::Schema) && !shared.contains(&MapName::Programs));
        assert_eq!(shareable(&old, &old).count(), MapName::ALL.len() - 3);
    }
}
