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
    schema::{CachedPath, ReturnPath, RouterPath, Settings, Step},
    wire::{Be32, Be128},
};

/// Return paths of the clients of nat reals whose replies need no flow table entry, for clients without an entry in
/// `CACHED_PATHS`.
#[btf_map]
pub(super) static RETURN_PATHS: LruHashMap<Be32, ReturnPath, 1> = LruHashMap::new();

#[btf_map]
pub(super) static RETURN_PATHS6: LruHashMap<Be128, ReturnPath, 1> = LruHashMap::new();

/// Direct-mapped cache with the return paths of most clients, see [`CachedPath`].
#[btf_map]
pub(super) static CACHED_PATHS: Array<CachedPath, { CachedPath::COUNT as usize }> = Array::new();

#[btf_map]
pub(super) static CACHED_PATHS6: Array<CachedPath, { CachedPath::COUNT as usize }> = Array::new();

/// Return paths that entries of `CACHED_PATHS` refer to, see [`CachedPath`].
#[btf_map]
pub(super) static ROUTER_PATHS: Array<RouterPath, { RouterPath::COUNT as usize }> = Array::new();

/// Returns the return path of a client.
#[inline(always)]
pub fn return_path<A: IpFamily>(client: A) -> Option<&'static ReturnPath> {
    let (place, name) = CachedPath::index(client, setting!(seed));
    match A::ways_near().get(place) {
        Some(near) if near.is_of(name) => Some(&ROUTER_PATHS.get(near.gateway())?.way),
        // SAFETY: a value of this map, checked for null. If the table is full, another client may get the entry
        // meanwhile; then a packet goes to a wrong host.
        _ => unsafe { A::ways_back().get(client) },
    }
}

/// Returns the return path of the replies of a flow: that of the gateway in the flow's entry, else that of the client.
#[inline(always)]
pub fn path_of_flow<A: IpFamily>(client: A, gateway: u8) -> Option<&'static ReturnPath> {
    if gateway != 0 {
        return router_path(gateway);
    }
    // SAFETY: as in `return_path`.
    unsafe { A::ways_back().get(client) }
}

/// Returns the return path at a place of `ROUTER_PATHS` other than 0.
#[inline(always)]
fn router_path(gateway: u8) -> Option<&'static ReturnPath> {
    let router = ROUTER_PATHS.get(gateway.into()).filter(|router| router.state >= RouterPath::READY)?;
    Some(&router.way)
}

out_of_line! {
    /// Returns the place of a return path in `ROUTER_PATHS`, and claims a free place for it. Returns 0 if other paths have
    /// all places that are tried.
    pub fn gateway_of [gateway_of](; way: &ReturnPath;) -> u32 {
        for step in 0..RouterPath::TRIES {
            let number = RouterPath::place(way, step);
            if has_place(way, number) {
                return number;
            }
        }
        0
    }
}

out_of_line! {
    /// Returns whether a return path has this place in `ROUTER_PATHS`. Claims the place if it is free.
    fn has_place [has_place](; way: &ReturnPath; number: u32) -> bool {
        let Some(router) = ROUTER_PATHS.get(number) else { return false };
        if router.state == RouterPath::FREE {
            return note(Step::RecordWayBack, way.ifindex.0, 0) && put_gateway(number, way);
        }
        router.state >= RouterPath::READY && router.way == *way
    }
}

/// Returns whether `CACHED_PATHS` has this return path for the client. Records the return path there first, if the client's
/// entry and the gateway's entry are free, outdated or their own.
#[inline(always)]
pub fn is_path_known<A: IpFamily>(client: A, way: &ReturnPath) -> bool {
    let (place, name) = CachedPath::index(client, setting!(seed));
    let Some(entry) = A::ways_near().get_ptr_mut(place) else { return false };
    // SAFETY: an aligned word of a map's value, which other CPUs write as a whole.
    let near = unsafe { entry.read_volatile() };
    let seconds = CachedPath::seconds(now());
    let number = RouterPath::index(way);
    let Some(gateway) = ROUTER_PATHS.get(number) else { return false };
    let is_there = gateway.state >= RouterPath::READY && gateway.way == *way;
    if !is_there && gateway.state != RouterPath::FREE {
        if near.is_of(name) && note(Step::RecordWayBack, way.ifindex.0, 0) {
            // SAFETY: as above.
            unsafe { entry.write_volatile(CachedPath::default()) };
        }
        return false;
    }
    if near.is_of(name) {
        if is_there && near.gateway() == number && near.silent_for(seconds) < CachedPath::REFRESH {
            note(Step::ReturnPath, way.ifindex.0, 0);
            return true;
        }
    } else if near.is_taken() && !near.is_over(seconds, &timeouts()) {
        return false;
    }
    if !note(Step::RecordWayBack, way.ifindex.0, 0) {
        return true;
    }
    let has_place = is_there || put_gateway(number, way);
    let new = if has_place { CachedPath::new(name, number, seconds) } else { CachedPath::default() };
    // SAFETY: as above.
    unsafe { entry.write_volatile(new) };
    has_place
}

/// Claims a free entry of `ROUTER_PATHS` for a return path, and returns whether it succeeded.
#[inline(always)]
fn put_gateway(number: u32, way: &ReturnPath) -> bool {
    let Some(gateway) = ROUTER_PATHS.get_ptr_mut(number) else { return false };
    // SAFETY: an aligned word of a map's value. The CPU that finds the entry free is the only one to write the rest
    // until the state is `READY`.
    unsafe {
        let state = &raw mut (*gateway).state;
        if fetch_add(state, 1) != RouterPath::FREE {
            return false;
        }
        (&raw mut (*gateway).way).write_volatile(*way);
        state.write_volatile(RouterPath::READY);
    }
    true
}

/// Records the return path of a client. A failed insert costs the replies.
#[inline(always)]
pub fn remember_return_path<A: IpFamily>(client: A, way: &ReturnPath) {
    if note(Step::RecordWayBack, way.ifindex.0, 0) {
        let _ = A::ways_back().insert(client, way, 0);
    }
}
