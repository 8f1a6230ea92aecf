// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Return paths: the interfaces, MAC addresses and tags by which replies reach clients.

use super::{
    atomic::fetch_add,
    clock::{now, timeouts},
    family::IpFamily,
    settings::SETTINGS,
    trace::note,
};
use aya_ebpf::{
    btf_maps::{Array, LruHashMap},
    macros::btf_map,
};
use lb_common::{
    schema::{Gateway, Near, Settings, Step, WayBack},
    wire::{Be32, Be128},
};

/// Return paths of the clients of nat reals whose replies need no flow table entry, for clients without an entry in
/// `NEAR`.
#[btf_map]
pub(super) static WAYS_BACK: LruHashMap<Be32, WayBack, 1> = LruHashMap::new();

#[btf_map]
pub(super) static WAYS_BACK6: LruHashMap<Be128, WayBack, 1> = LruHashMap::new();

/// Direct-mapped cache with the return paths of most clients, see [`Near`].
#[btf_map]
pub(super) static NEAR: Array<Near, { Near::COUNT as usize }> = Array::new();

#[btf_map]
pub(super) static NEAR6: Array<Near, { Near::COUNT as usize }> = Array::new();

/// Return paths that entries of `NEAR` refer to, see [`Near`].
#[btf_map]
pub(super) static GATEWAYS: Array<Gateway, { Gateway::COUNT as usize }> = Array::new();

/// Returns the return path of a client.
#[inline(always)]
pub fn way_back<A: IpFamily>(client: A) -> Option<&'static WayBack> {
    let (place, name) = Near::place(client, setting!(seed));
    match A::ways_near().get(place) {
        Some(near) if near.is_of(name) => Some(&GATEWAYS.get(near.gateway())?.way),
        // SAFETY: a value of this map, checked for null. If the table is full, another client may get the entry
        // meanwhile; then a packet goes to a wrong host.
        _ => unsafe { A::ways_back().get(client) },
    }
}

/// Returns whether `NEAR` has this return path for the client. Records the return path there first, if the client's
/// entry and the gateway's entry are free, outdated or their own.
#[inline(always)]
pub fn is_way_known<A: IpFamily>(client: A, way: &WayBack) -> bool {
    let (place, name) = Near::place(client, setting!(seed));
    let Some(entry) = A::ways_near().get_ptr_mut(place) else { return false };
    // SAFETY: an aligned word of a map's value, which other CPUs write as a whole.
    let near = unsafe { entry.read_volatile() };
    let seconds = Near::seconds(now());
    let number = Gateway::place(way);
    let Some(gateway) = GATEWAYS.get(number) else { return false };
    let is_there = gateway.state >= Gateway::READY && gateway.way == *way;
    if !is_there && gateway.state != Gateway::FREE {
        if near.is_of(name) && note(Step::RecordWayBack, way.ifindex, 0) {
            // SAFETY: as above.
            unsafe { entry.write_volatile(Near::default()) };
        }
        return false;
    }
    if near.is_of(name) {
        if is_there && near.gateway() == number && near.silent_for(seconds) < Near::REFRESH {
            note(Step::WayBack, way.ifindex, 0);
            return true;
        }
    } else if near.is_taken() && !near.is_over(seconds, &timeouts()) {
        return false;
    }
    if !note(Step::RecordWayBack, way.ifindex, 0) {
        return true;
    }
    let has_place = is_there || put_gateway(number, way);
    let new = if has_place { Near::new(name, number, seconds) } else { Near::default() };
    // SAFETY: as above.
    unsafe { entry.write_volatile(new) };
    has_place
}

/// Claims a free entry of `GATEWAYS` for a return path, and returns whether it succeeded.
#[inline(always)]
fn put_gateway(number: u32, way: &WayBack) -> bool {
    let Some(gateway) = GATEWAYS.get_ptr_mut(number) else { return false };
    // SAFETY: an aligned word of a map's value. The CPU that finds the entry free is the only one to write the rest
    // until the state is `READY`.
    unsafe {
        let state = &raw mut (*gateway).state;
        if fetch_add(state, 1) != Gateway::FREE {
            return false;
        }
        (&raw mut (*gateway).way).write_volatile(*way);
        state.write_volatile(Gateway::READY);
    }
    true
}

/// Records the return path of a client. A failed insert costs the replies.
#[inline(always)]
pub fn remember_way_back<A: IpFamily>(client: A, way: &WayBack) {
    if note(Step::RecordWayBack, way.ifindex, 0) {
        let _ = A::ways_back().insert(client, way, 0);
    }
}
