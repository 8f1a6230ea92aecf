// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The service that a reply of a real belongs to.

use super::{
    addresses::address_use,
    atomic::full_barrier,
    clock::{now, timeouts},
    family::IpFamily,
    services::{generation, lookup_cached},
    settings::SETTINGS,
    trace::note,
};
use aya_ebpf::{
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    ids::ServiceId,
    schema::{CachedSource, FlowKey, Settings, Source, SourceKey, Step, Timeouts, cache},
    ticks::Tick,
    wire::{Be16, Be32, Be128},
};

/// The service of a nat real's replies, by the real's address, port and protocol.
#[btf_map]
pub(super) static SOURCES: HashMap<SourceKey<Be32>, Source<Be32>, 1> = HashMap::new();

#[btf_map]
pub(super) static SOURCES6: HashMap<SourceKey<Be128>, Source<Be128>, 1> = HashMap::new();

/// Per-CPU cache of `SOURCES` and `ADDRESSES`.
#[btf_map]
pub(super) static SOURCE_CACHE: PerCpuArray<CachedSource<Be32>, 1> = PerCpuArray::new();

#[btf_map]
pub(super) static SOURCE_CACHE6: PerCpuArray<CachedSource<Be128>, 1> = PerCpuArray::new();

/// The service of a reply, for nat reals that several services share. Keyed by the reply's 5-tuple.
#[btf_map]
pub(super) static REPLIES: LruHashMap<FlowKey<Be32>, Source<Be32>, 1> = LruHashMap::new();

#[btf_map]
pub(super) static REPLIES6: LruHashMap<FlowKey<Be128>, Source<Be128>, 1> = LruHashMap::new();

/// Tick at which a client last contacted a nat real by the real's own address, not by a VIP. Keyed by the reply's
/// 5-tuple.
#[btf_map]
pub(super) static BYPASS: LruHashMap<FlowKey<Be32>, Tick, 1> = LruHashMap::new();

#[btf_map]
pub(super) static BYPASS6: LruHashMap<FlowKey<Be128>, Tick, 1> = LruHashMap::new();

/// Tick at which an entry was last written to `BYPASS` or `BYPASS6`; 0: never.
#[btf_map]
pub(super) static LAST_BYPASS: Array<u32, 1> = Array::new();

/// Returns the cache entry of packets from an address and port: their service, if they are replies of a nat real, by
/// the port or by port 0, and the uses of the address. The value does not change until this CPU looks up another
/// source.
#[inline(always)]
pub fn source<A: IpFamily>(address: A, port: Be16, protocol: u8) -> Option<&'static CachedSource<A>> {
    let mut key = SourceKey::new(address, port, protocol);
    let place = cache::index(address, port, key.protocol, setting!(source_mask) as u32);
    let stamp = cache::stamp(generation());
    let (entry, found) = lookup_cached(A::source_cache(), place, stamp, &key)?;
    // SAFETY: as in `service`.
    unsafe {
        if !found {
            full_barrier(&raw mut (*entry).stamp);
            (*entry).stamp = 0;
            (*entry).address = address;
            (*entry).from_port = port;
            (*entry).protocol = key.protocol;
            (*entry).used = address_use(address);
            (*entry).service = ServiceId::NONE;
            if let Some(source) = A::sources().get(key) {
                (*entry).keep(source);
            } else {
                key.port = Be16::ZERO;
                if let Some(source) = A::sources().get(key) {
                    (*entry).keep(source);
                }
            }
            (*entry).stamp = stamp;
        }
        Some(&*entry)
    }
}

/// Returns the service of a reply of a shared nat real.
#[inline(always)]
pub fn reply<A: IpFamily>(key: &FlowKey<A>) -> Option<Source<A>> {
    // SAFETY: copied out before any other map call.
    let source = unsafe { A::replies().get(key) }.copied()?;
    note(Step::Source, source.service.0, source.real.0);
    Some(source)
}

/// Records the service of the replies of a flow. A failed insert costs the reply.
#[inline(always)]
pub fn remember_reply<A: IpFamily>(key: &FlowKey<A>, source: &Source<A>) {
    if note(Step::RecordReply, 0, 0) {
        let _ = A::replies().insert(key, source, 0);
    }
}

/// Returns whether `SOURCES` has exactly this key, so that packets from there are replies of a `nat` real.
#[inline(always)]
pub fn is_source<A: IpFamily>(key: &SourceKey<A>) -> bool {
    // SAFETY: the value is not read.
    unsafe { A::sources().get(key) }.is_some()
}

/// Returns whether any client has contacted a nat real by the real's own address within the longest timeout. If no
/// client ever has, one array lookup is enough.
#[inline(always)]
pub fn may_be_bypassed() -> bool {
    let last = LAST_BYPASS.get(0).map_or(0, |last| *last);
    if last == 0 {
        return false;
    }
    let Timeouts { tcp, tcp_fin, udp } = timeouts();
    Tick(last).age(now()) <= tcp.max(tcp_fin).max(udp)
}

/// Returns the tick at which a client last contacted a nat real by the real's own address.
#[inline(always)]
pub fn bypass<A: IpFamily>(reply: &FlowKey<A>) -> Option<Tick> {
    // SAFETY: copied out before any other map call.
    let seen = unsafe { A::bypass().get(reply) }.copied()?;
    note(Step::Direct, seen.0, 0);
    Some(seen)
}

/// Records that a client contacts a nat real by the real's own address. A failed insert costs the replies.
#[inline(always)]
pub fn remember_bypass<A: IpFamily>(reply: &FlowKey<A>, now: Tick) {
    if note(Step::RecordDirect, now.0, 0) {
        let _ = A::bypass().insert(reply, now, 0);
        if let Some(last) = LAST_BYPASS.get_ptr_mut(0) {
            // SAFETY: an aligned word of a map's value. CPUs that write at the same time write nearly the same value.
            unsafe { last.write_volatile(now.0 | 1) };
        }
    }
}

/// Deletes the mark of a direct contact, because the client now contacts the VIP with the same ports.
#[inline(always)]
pub fn forget_bypass<A: IpFamily>(reply: &FlowKey<A>) {
    if may_be_bypassed() && note(Step::ForgetDirect, 0, 0) {
        let _ = A::bypass().remove(reply);
    }
}
