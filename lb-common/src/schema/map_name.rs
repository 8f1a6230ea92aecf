// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Names of the maps.

use core::fmt;

macro_rules! map_names {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// A map of the programs. The name is that of the symbol in the object, and of the pin.
        ///
        /// A name that ends in 6 belongs to the IPv6 twin of the map without the 6.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum MapName { $($(#[$doc])* $variant,)* }

        impl MapName {
            /// Every map.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

map_names! {
    /// Targets of tail calls, by [`super::Program`].
    Programs = "PROGRAMS";
    /// [`super::SCHEMA_VERSION`] of the maps.
    Schema = "SCHEMA";
    /// Services by protocol, address and port.
    Services = "SERVICES";
    /// Twin of [`Self::Services`] for IPv6.
    Services6 = "SERVICES6";
    /// Last results from [`Self::Services`], per CPU.
    ServiceCache = "SERVICE_CACHE";
    /// Twin of [`Self::ServiceCache`] for IPv6.
    ServiceCache6 = "SERVICE_CACHE6";
    /// The number that invalidates the caches.
    Generation = "GENERATION";
    /// Blocks of slot tables.
    Tables = "TABLES";
    /// Moves of slots in transition, in blocks.
    Moves = "MOVES";
    /// Positions of `rr` and `wrr`, by service id.
    Positions = "POSITIONS";
    /// Reals by id.
    Reals = "REALS";
    /// Flow table, of both IP versions.
    Flows = "FLOWS";
    /// The table that [`Self::Flows`] replaces, while flows move from there; otherwise a table of one bucket, which is
    /// not used.
    FlowsBefore = "FLOWS_BEFORE";
    /// Secret, size and idle timeouts of [`Self::Flows`].
    FlowShape = "FLOW_SHAPE";
    /// Events of [`Self::Flows`], per CPU.
    FlowEvents = "FLOW_EVENTS";
    /// Reals of fragmented datagrams.
    Fragments = "FRAGMENTS";
    /// Twin of [`Self::Fragments`] for IPv6.
    Fragments6 = "FRAGMENTS6";
    /// Uses of addresses.
    Addresses = "ADDRESSES";
    /// Twin of [`Self::Addresses`] for IPv6.
    Addresses6 = "ADDRESSES6";
    /// Filter of the addresses in [`Self::Addresses`].
    AddressFilter = "ADDRESS_FILTER";
    /// Filters of the addresses that no client may have.
    SourceFilter = "SOURCE_FILTER";
    /// Services of the replies of `nat` reals, by source.
    Sources = "SOURCES";
    /// Twin of [`Self::Sources`] for IPv6.
    Sources6 = "SOURCES6";
    /// Last results from [`Self::Sources`] and [`Self::Addresses`], per CPU.
    SourceCache = "SOURCE_CACHE";
    /// Twin of [`Self::SourceCache`] for IPv6.
    SourceCache6 = "SOURCE_CACHE6";
    /// Connection counts by id of the real.
    Loads = "LOADS";
    /// Persistence entries.
    Clients = "CLIENTS";
    /// Reals of destinations, for `lblc` and `lblcr`.
    Localities = "LOCALITIES";
    /// Timeouts of idle flows.
    Timeouts = "TIMEOUTS";
    /// Return paths by client.
    ReturnPaths = "RETURN_PATHS";
    /// Twin of [`Self::ReturnPaths`] for IPv6.
    ReturnPaths6 = "RETURN_PATHS6";
    /// Indexes in [`Self::RouterPaths`] by hash of the client.
    CachedPaths = "CACHED_PATHS";
    /// Twin of [`Self::CachedPaths`] for IPv6.
    CachedPaths6 = "CACHED_PATHS6";
    /// Return paths by hash of the path.
    RouterPaths = "ROUTER_PATHS";
    /// Replies to clients that contacted a `nat` real directly.
    Bypass = "BYPASS";
    /// Twin of [`Self::Bypass`] for IPv6.
    Bypass6 = "BYPASS6";
    /// Time of the last write to [`Self::Bypass`].
    LastBypass = "LAST_BYPASS";
    /// Services of replies, where several services share a `nat` real.
    Replies = "REPLIES";
    /// Twin of [`Self::Replies`] for IPv6.
    Replies6 = "REPLIES6";
    /// `fnat` flows by the 5-tuple of their replies.
    Translations = "TRANSLATIONS";
    /// Twin of [`Self::Translations`] for IPv6.
    Translations6 = "TRANSLATIONS6";
    /// SNAT addresses and ports of `fnat` flows by their 5-tuple.
    Bindings = "BINDINGS";
    /// Twin of [`Self::Bindings`] for IPv6.
    Bindings6 = "BINDINGS6";
    /// SNAT addresses by index.
    SnatAddresses = "SNAT_ADDRESSES";
    /// Twin of [`Self::SnatAddresses`] for IPv6.
    SnatAddresses6 = "SNAT_ADDRESSES6";
    /// Number of ports that a CPU has tried.
    SnatCursor = "SNAT_CURSOR";
    /// Times at which a packet was passed to the stack, by hash of the flow.
    LeftToStack = "LEFT_TO_STACK";
    /// Bonds and teams by member.
    Controllers = "CONTROLLERS";
    /// Interfaces to which frames may be redirected.
    Devices = "DEVICES";
    /// Reals of health probes, by 5-tuple.
    Probes = "PROBES";
    /// Probers that replies of reals go to, by 5-tuple of the reply.
    ProbeReplies = "PROBE_REPLIES";
    /// Times at which packets showed that a real does not serve, by id of the real.
    Signs = "SIGNS";
    /// Endpoints of tunnels that `decap` accepts.
    TunnelEnds = "TUNNEL_ENDS";
    /// Packets, bytes and flows by id of the real, per CPU.
    Counters = "COUNTERS";
    /// Packets by reason and service id, per CPU.
    Reasons = "REASONS";
    /// ICMP errors in the current second, per CPU.
    IcmpBudget = "ICMP_BUDGET";
    /// Scratch space: the parsed IPv6 packet.
    Parsed6 = "PARSED6";
    /// Scratch space: the key of a flow.
    LastFlow = "LAST_FLOW";
    /// Scratch space: the result of a selection.
    Scans = "SCANS";
    /// Scratch space: the VLAN tags that were removed from the frame.
    VlanState = "VLAN_STATE";
}

impl MapName {
    /// Returns the map with this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|map| map.as_str() == name)
    }
}

impl From<MapName> for &'static str {
    fn from(map: MapName) -> Self {
        map.as_str()
    }
}

impl fmt::Display for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_belongs_to_one_map() {
        let names: BTreeSet<&str> = MapName::ALL.iter().map(|map| map.as_str()).collect();
        assert_eq!(names.len(), MapName::ALL.len());
        for map in MapName::ALL {
            assert_eq!(MapName::from_name(map.as_str()), Some(*map));
        }
        assert_eq!(MapName::from_name("flows"), None);
    }
}
