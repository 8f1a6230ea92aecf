// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Services, and the per-CPU cache of services.

use super::{
    atomic::full_barrier,
    family::IpFamily,
    settings::SETTINGS,
    trace::{note, trace},
};
use aya_ebpf::{
    btf_maps::{Array, HashMap, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    schema::{CachedService, Service, ServiceKey, Settings, Step, cache},
    wire::{Be32, Be128},
};

/// Version of the layout of all maps. The daemon writes it once, and checks it when it adopts pinned maps.
#[btf_map]
pub(super) static SCHEMA: Array<u32, 1> = Array::new();

/// Services by protocol, VIP and port.
#[btf_map]
pub(super) static SERVICES: HashMap<ServiceKey<Be32>, Service, 1> = HashMap::new();

#[btf_map]
pub(super) static SERVICES6: HashMap<ServiceKey<Be128>, Service, 1> = HashMap::new();

/// Per-CPU cache of services, see [`cache`].
#[btf_map]
pub(super) static SERVICE_CACHE: PerCpuArray<CachedService<Be32>, 1> = PerCpuArray::new();

#[btf_map]
pub(super) static SERVICE_CACHE6: PerCpuArray<CachedService<Be128>, 1> = PerCpuArray::new();

/// Generation of the tables that only the daemon writes. It invalidates `SERVICE_CACHE` and `SOURCE_CACHE`.
#[btf_map]
pub(super) static GENERATION: Array<u64, 1> = Array::new();

/// Returns the generation of the tables that only the daemon writes.
#[inline(always)]
pub(super) fn generation() -> u64 {
    // SAFETY: an aligned word of a map's value, which the daemon writes as a whole. The read is volatile, so that it
    // precedes the reads of the tables.
    GENERATION.get(0).map_or(1, |generation| unsafe { core::ptr::from_ref(generation).read_volatile() })
}

/// Returns the service with exactly this key. The value does not change until this CPU looks up another service.
///
/// The key is passed by value, so that only a lookup in the kernel's table needs it in memory.
#[inline(always)]
pub fn service<A: IpFamily>(key: ServiceKey<A>) -> Option<&'static Service> {
    let service = find_service(key)?;
    note(Step::Service, service.id.0, 0);
    Some(service)
}

/// Returns the service that the request of a reply is for. The sample of the reply gets its service from its source.
#[inline(always)]
pub fn service_of_request<A: IpFamily>(key: ServiceKey<A>) -> Option<&'static Service> {
    let service = find_service(key)?;
    trace(Step::Service, service.id.0, 0);
    Some(service)
}

#[inline(always)]
fn find_service<A: IpFamily>(key: ServiceKey<A>) -> Option<&'static Service> {
    let place = cache::index(key.address, key.port, key.protocol, setting!(service_mask) as u32);
    let stamp = cache::stamp(generation());
    let (entry, found) = lookup_cached(A::service_cache(), place, stamp, &key)?;
    // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other.
    let entry = unsafe {
        if !found {
            full_barrier(&raw mut (*entry).stamp);
            // Copied out before any other map call; the daemon replaces entries as a whole.
            let service = A::services().get(key)?;
            (*entry).service = *service;
            (*entry).key = key;
            (*entry).stamp = stamp;
        }
        &*entry
    };
    Some(&entry.service)
}

/// Returns this CPU's cache entry for `key`, at `place` or beside it, and whether the entry is of that key.
#[inline(always)]
pub(super) fn lookup_cached<E: cache::Entry>(
    cache: &'static PerCpuArray<E, 1>,
    place: u32,
    stamp: u64,
    key: &E::Key,
) -> Option<(*mut E, bool)> {
    let first = cache.get_ptr_mut(place)?;
    // SAFETY: as in `service`.
    unsafe {
        if (*first).stamp() != stamp || stamp == 0 || (*first).is_of(key) {
            return Some((first, (*first).stamp() == stamp && stamp != 0));
        }
        let second = cache.get_ptr_mut(cache::other(place))?;
        Some((second, (*second).stamp() == stamp && (*second).is_of(key)))
    }
}
