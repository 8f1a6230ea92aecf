// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Walks over the reals of a service. They are `bpf_loop`s: the verifier checks one round, regardless of the size of the
//! pool.
#![expect(unsafe_code, reason = "a callback of bpf_loop gets its state as a pointer")]

use core::ffi::{c_long, c_void};

use aya_ebpf::helpers::bpf_loop;
use lb_common::{
    ids::{RealId, ServiceId},
    schedule::{Candidate, fo, lblc, lc, nq, ovf, sed, wlc},
    schema::{Load, Real, Scheduler, Service},
    slot::MOVED,
};

use crate::tables;

/// A walk over a service's slot table, and its result.
#[repr(C)]
struct Walk {
    service: ServiceId,
    /// The first block of the table.
    first: u32,
    slots: u32,
    scheduler: u32,
    /// Id of the real that was found, or [`RealId::NONE`].
    found: RealId,
    /// The index in the table at which the walk begins.
    start: u32,
    best: Candidate,
}

/// The callback of a walk for one entry; the result 1 ends the walk.
type Visit = unsafe extern "C" fn(u32, *mut c_void) -> c_long;

/// Walks over the whole table, beginning at `start`, and returns the real that was found.
#[inline(always)]
pub fn walk(service: &Service, start: u32, visit: Visit) -> RealId {
    walk_by(service, service.scheduler, start, visit)
}

#[inline(always)]
fn walk_by(service: &Service, scheduler: u32, start: u32, visit: Visit) -> RealId {
    let mut walk = Walk {
        service: service.id,
        first: service.first,
        slots: service.slots,
        scheduler,
        found: RealId::NONE,
        start,
        best: Candidate::default(),
    };
    // SAFETY: the callback is a function of this program and gets the pointer to `walk`, which outlives the loop.
    unsafe { bpf_loop(service.slots, visit as *mut c_void, (&raw mut walk).cast(), 0) };
    walk.found
}

/// Returns the real id at an index of the table that begins with block `first`.
#[inline(always)]
pub fn entry(first: u32, index: u32) -> Option<RealId> {
    // While a service changes from a hashing scheduler to another one, its table may still mark slots in transition.
    Some(RealId(tables::table_entry(first, index)? & !MOVED))
}

/// Returns the real with this id, if it belongs to the service and accepts new connections.
#[inline(always)]
pub fn usable(service: ServiceId, id: RealId) -> Option<&'static Real> {
    let real = tables::real(id)?;
    if real.service != service
        || real.weight == 0
        || real.is(Real::LEAVING)
        || tables::is_overloaded(id, real)
    {
        return None;
    }
    Some(real)
}

/// Ends the walk at this index if its real accepts new connections.
#[inline(always)]
fn stop_at(walk: &mut Walk, index: u32) -> c_long {
    let Some(id) = entry(walk.first, index) else { return 0 };
    if usable(walk.service, id).is_none() {
        return 0;
    }
    walk.found = id;
    1
}

/// Returns the load and weight of a real, for comparison.
#[inline(always)]
pub fn candidate(id: RealId, real: &Real) -> Candidate {
    Load::candidate(tables::load(id), real.weight)
}

/// Returns the index in a table of `slots` entries for a position of an endless rotation.
#[inline(always)]
pub const fn index_of_turn(position: u64, slots: u32) -> u32 {
    if slots == 0 { 0 } else { (position % slots as u64) as u32 }
}

/// Finds the next turn of `rr` and `wrr` whose real accepts connections. The caller of the walk has already taken the
/// first position.
pub unsafe extern "C" fn next_turn(round: u32, walk: *mut c_void) -> c_long {
    // SAFETY: `walk_by` passes the pointer, and does not use `walk` meanwhile.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    let index = if round == 0 {
        walk.start
    } else {
        tables::next_position(walk.service).map_or(walk.start, |position| index_of_turn(position, walk.slots))
    };
    stop_at(walk, index)
}

/// Finds the next slot, beginning at the hashed one, whose real accepts connections.
pub unsafe extern "C" fn next_slot(round: u32, walk: *mut c_void) -> c_long {
    // SAFETY: as in `next_turn`.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    let index = walk.start.wrapping_add(round);
    stop_at(walk, if index >= walk.slots { index - walk.slots } else { index })
}

/// Keeps the better of two reals.
unsafe extern "C" fn compare(round: u32, walk: *mut c_void) -> c_long {
    // SAFETY: as in `next_turn`.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    if let Some(id) = entry(walk.first, round)
        && let Some(real) = usable(walk.service, id)
    {
        let candidate = candidate(id, real);
        if better(walk.scheduler, &walk.best, &candidate) {
            walk.best = candidate;
            walk.found = id;
        }
    }
    0
}

/// Finds a real with spare capacity, for `lblc` and `lblcr`.
unsafe extern "C" fn find_idle(round: u32, walk: *mut c_void) -> c_long {
    // SAFETY: as in `next_turn`.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    if let Some(id) = entry(walk.first, round)
        && let Some(real) = usable(walk.service, id)
        && lblc::idle_enough(&candidate(id, real))
    {
        walk.found = id;
        return 1;
    }
    0
}

/// Returns whether `candidate` is better than `best` by the rule of the scheduler.
#[inline(always)]
fn better(scheduler: u32, best: &Candidate, candidate: &Candidate) -> bool {
    const LC: u32 = Scheduler::Lc as u32;
    const SED: u32 = Scheduler::Sed as u32;
    const NQ: u32 = Scheduler::Nq as u32;
    const FO: u32 = Scheduler::Fo as u32;
    const OVF: u32 = Scheduler::Ovf as u32;
    match scheduler {
        LC => lc::better(best, candidate),
        SED => sed::better(best, candidate),
        NQ => nq::better(best, candidate),
        FO => fo::better(best, candidate),
        OVF => ovf::better(best, candidate),
        _ => wlc::better(best, candidate),
    }
}

/// Returns the best real of the pool by the rule of the scheduler; [`RealId::NONE`] if none accepts connections.
#[inline(always)]
pub fn least_loaded(service: &Service, scheduler: u32) -> RealId {
    walk_by(service, scheduler, 0, compare)
}

/// Returns whether any real of the pool has spare capacity.
#[inline(always)]
pub fn is_one_idle(service: &Service) -> bool {
    walk(service, 0, find_idle) != RealId::NONE
}
