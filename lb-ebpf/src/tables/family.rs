// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The maps of each IP family.

use super::{
    addresses::{ADDRESSES, ADDRESSES6},
    fragments::{FRAGMENTS, FRAGMENTS6},
    nat::{BYPASS, BYPASS6, REPLIES, REPLIES6, SOURCE_CACHE, SOURCE_CACHE6, SOURCES, SOURCES6},
    return_path::{CACHED_PATHS, CACHED_PATHS6, RETURN_PATHS, RETURN_PATHS6},
    services::{SERVICE_CACHE, SERVICE_CACHE6, SERVICES, SERVICES6},
    settings::SETTINGS,
    snat::{BINDINGS, BINDINGS6, OnDemand, SNAT_ADDRESSES, SNAT_ADDRESSES6, TRANSLATIONS, TRANSLATIONS6},
};
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray};
use lb_common::{
    packet::{Ip, Parsed},
    schema::{
        AddressUse, CachedPath, CachedService, CachedSource, FlowKey, Fragment, FragmentKey, ReturnPath,
        Service, ServiceKey, Settings, SnatBinding, SnatLease, Source, SourceKey,
    },
    ticks::Tick,
    wire::{Be32, Be128},
};

/// An IP version, and the maps that its packets use.
pub trait IpFamily: Ip {
    fn services() -> &'static HashMap<ServiceKey<Self>, Service, 1>;
    fn service_cache() -> &'static PerCpuArray<CachedService<Self>, 1>;
    fn source_cache() -> &'static PerCpuArray<CachedSource<Self>, 1>;
    fn fragments() -> &'static LruHashMap<FragmentKey<Self>, Fragment<Self>, 1>;
    fn addresses() -> &'static HashMap<Self, AddressUse, 1>;
    fn sources() -> &'static HashMap<SourceKey<Self>, Source<Self>, 1>;
    fn replies() -> &'static LruHashMap<FlowKey<Self>, Source<Self>, 1>;
    fn ways_back() -> &'static LruHashMap<Self, ReturnPath, 1>;
    fn bypass() -> &'static LruHashMap<FlowKey<Self>, Tick, 1>;
    fn translations() -> &'static OnDemand<FlowKey<Self>, FlowKey<Self>, 1>;
    fn bindings() -> &'static OnDemand<FlowKey<Self>, SnatLease, 1>;
    fn dips() -> &'static Array<Self, { SnatBinding::ADDRESSES }>;
    fn ways_near() -> &'static Array<CachedPath, { CachedPath::COUNT as usize }>;
    /// Returns the packet if it is an IPv4 packet.
    fn as_ipv4(parsed: &Parsed<Self>) -> Option<&Parsed<Be32>>;
    /// Returns the last index of `dips` that is in use.
    fn last_dip() -> u32;
    /// Returns the outer source address of a tunnel to a real for a flow with this hash. `route` is the DIP towards the
    /// real.
    fn tunnel_source(hash: impl FnOnce() -> u32, route: Be128) -> Self;
}

macro_rules! version {
    ($address:ty: $as_ipv4:expr; $dips:ident $last_dip:ident $tunnel_source:ident $near:ident; $($function:ident $map:ident $kind:ident<$($part:ty),+>;)*) => {
        impl IpFamily for $address {
            #[inline(always)]
            fn as_ipv4(parsed: &Parsed<Self>) -> Option<&Parsed<Be32>> {
                $as_ipv4(parsed)
            }

            #[inline(always)]
            fn dips() -> &'static Array<Self, { SnatBinding::ADDRESSES }> {
                &$dips
            }

            #[inline(always)]
            fn ways_near() -> &'static Array<CachedPath, { CachedPath::COUNT as usize }> {
                &$near
            }

            #[inline(always)]
            fn last_dip() -> u32 {
                setting!($last_dip) as u32
            }

            #[inline(always)]
            fn tunnel_source(hash: impl FnOnce() -> u32, route: Be128) -> Self {
                if setting!($tunnel_source.hosts) == 0 {
                    return Self::narrow(route);
                }
                Self::narrow(setting!($tunnel_source).of_flow(hash()))
            }

            $(#[inline(always)]
            fn $function() -> &'static $kind<$($part),+, 1> {
                &$map
            })*
        }
    };
}

version! { Be32: Some; SNAT_ADDRESSES dips tunnel_source CACHED_PATHS;
    services SERVICES HashMap<ServiceKey<Be32>, Service>;
    service_cache SERVICE_CACHE PerCpuArray<CachedService<Be32>>;
    source_cache SOURCE_CACHE PerCpuArray<CachedSource<Be32>>;
    fragments FRAGMENTS LruHashMap<FragmentKey<Be32>, Fragment<Be32>>;
    addresses ADDRESSES HashMap<Be32, AddressUse>;
    sources SOURCES HashMap<SourceKey<Be32>, Source<Be32>>;
    replies REPLIES LruHashMap<FlowKey<Be32>, Source<Be32>>;
    ways_back RETURN_PATHS LruHashMap<Be32, ReturnPath>;
    bypass BYPASS LruHashMap<FlowKey<Be32>, Tick>;
    translations TRANSLATIONS OnDemand<FlowKey<Be32>, FlowKey<Be32>>;
    bindings BINDINGS OnDemand<FlowKey<Be32>, SnatLease>;
}

version! { Be128: |_| None; SNAT_ADDRESSES6 dips6 tunnel_source6 CACHED_PATHS6;
    services SERVICES6 HashMap<ServiceKey<Be128>, Service>;
    service_cache SERVICE_CACHE6 PerCpuArray<CachedService<Be128>>;
    source_cache SOURCE_CACHE6 PerCpuArray<CachedSource<Be128>>;
    fragments FRAGMENTS6 LruHashMap<FragmentKey<Be128>, Fragment<Be128>>;
    addresses ADDRESSES6 HashMap<Be128, AddressUse>;
    sources SOURCES6 HashMap<SourceKey<Be128>, Source<Be128>>;
    replies REPLIES6 LruHashMap<FlowKey<Be128>, Source<Be128>>;
    ways_back RETURN_PATHS6 LruHashMap<Be128, ReturnPath>;
    bypass BYPASS6 LruHashMap<FlowKey<Be128>, Tick>;
    translations TRANSLATIONS6 OnDemand<FlowKey<Be128>, FlowKey<Be128>>;
    bindings BINDINGS6 OnDemand<FlowKey<Be128>, SnatLease>;
}
