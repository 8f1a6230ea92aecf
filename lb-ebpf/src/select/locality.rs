// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! `lblc` and `lblcr`: connections to one destination go to the same real or set of reals. The rules are in
//! [`lb_common::schedule`].

use core::ffi::{c_long, c_void};

use aya_ebpf::{btf_maps::PerCpuArray, helpers::bpf_loop, macros::btf_map};
use lb_common::{
    schedule::{
        Candidate, lblc,
        lblcr::{self, LARGEST_SET},
        wlc,
    },
    schema::{Locality, LocalityKey, Real, Scheduler, Service, UNSET},
    ticks,
    wire::Be128,
};

use super::walk::{candidate, is_one_idle, least_loaded};
use crate::tables;

/// Ticks after which a set that has not grown loses its most loaded real.
const SHRINK: u32 = ticks::ticks_of_seconds(lblcr::SHRINK_SECONDS);

/// A scan of the reals of a set, and its result. [`LARGEST_SET`] as a place means none. The scan is in a map, because
/// the stack is small.
#[repr(C)]
#[derive(Clone, Copy)]
struct Look {
    service: u32,
    set: Locality,
    /// The first place without a usable real.
    free: u16,
    best_at: u16,
    worst_at: u16,
    /// Number of usable reals.
    size: u16,
    best: Candidate,
    worst: Candidate,
}

/// The set of reals that a CPU evaluates.
#[btf_map]
static LOOKS: PerCpuArray<Look, 1> = PerCpuArray::new();

/// Returns this CPU's memory for the evaluation of a set.
#[inline(always)]
fn look() -> Option<&'static mut Look> {
    // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other, and the callback that
    // also gets the memory runs while no other code uses it.
    LOOKS.get_ptr_mut(0).map(|look| unsafe { &mut *look })
}

/// Index that stands for no place in a set.
const NOWHERE: u16 = LARGEST_SET as u16;

/// Returns the real for a new connection. `replicates` keeps a set of reals for each destination, instead of one real.
#[inline(always)]
pub fn choose(service: &Service, destination: Be128, replicates: bool) -> u32 {
    let place = LocalityKey { destination, service: service.id, reserved: 0 };
    let now = tables::now();
    let Some(look) = look() else { return UNSET };
    look.service = service.id;
    look.set = Locality { reals: [UNSET; LARGEST_SET], changed: now };
    (look.free, look.best_at, look.worst_at, look.size) = (NOWHERE, NOWHERE, NOWHERE, 0);
    (look.best, look.worst) = (Candidate::default(), Candidate::default());
    tables::read_locality(&place, &mut look.set);
    // SAFETY: the callback is a function of this program, and ignores its null pointer.
    unsafe { bpf_loop(NOWHERE.into(), look_at as *mut c_void, core::ptr::null_mut(), 0) };
    if look.size > 1 && ticks::age(look.set.changed, now) > SHRINK && look.worst_at != look.best_at {
        put(&mut look.set, look.worst_at, UNSET);
        look.set.changed = now;
        tables::remember_locality(&place, &look.set);
    }
    if let Some(id) = at(&look.set, look.best_at)
        && !(lblc::is_full(&look.best) && is_one_idle(service))
    {
        return id;
    }
    let id = least_loaded(service, Scheduler::Wlc as u32);
    if id == UNSET {
        return UNSET;
    }
    // A full set loses its most loaded real.
    let place_in_set = match (replicates, look.free) {
        (false, _) => 0,
        (true, NOWHERE) => look.worst_at,
        (true, free) => free,
    };
    if !(replicates && contains(&look.set, id)) {
        put(&mut look.set, place_in_set, id);
    }
    look.set.changed = now;
    tables::remember_locality(&place, &look.set);
    id
}

/// Evaluates one real of a set.
unsafe extern "C" fn look_at(round: u32, _: *mut c_void) -> c_long {
    let Some(look) = look() else { return 1 };
    let i = round as u16;
    let Some(id) = at(&look.set, i) else { return 1 };
    match member(look.service, id) {
        Some(candidate) => {
            look.size += 1;
            if wlc::better(&look.best, &candidate) {
                (look.best, look.best_at) = (candidate, i);
            }
            if lblcr::worse(&look.worst, &candidate) {
                (look.worst, look.worst_at) = (candidate, i);
            }
        }
        None if look.free == NOWHERE => look.free = i,
        None => {}
    }
    0
}

/// Returns the real at a place of a set. `black_box` hides the index from LLVM, which would otherwise delete the check
/// that the verifier needs.
#[inline(always)]
fn at(set: &Locality, place: u16) -> Option<u32> {
    set.reals.get(core::hint::black_box(place as usize)).copied()
}

#[inline(always)]
fn put(set: &mut Locality, place: u16, id: u32) {
    if let Some(real) = set.reals.get_mut(core::hint::black_box(place as usize)) {
        *real = id;
    }
}

/// Returns a real of a set as a candidate, if it accepts new connections.
#[inline(always)]
fn member(service: u32, id: u32) -> Option<Candidate> {
    if id == UNSET {
        return None;
    }
    let real = tables::real(id)?;
    let gone = real.service != service || real.weight == 0 || real.is(Real::LEAVING);
    if gone || tables::is_overloaded(id, real) { None } else { Some(candidate(id, real)) }
}

#[inline(always)]
fn contains(set: &Locality, id: u32) -> bool {
    let mut i = 0;
    while i < LARGEST_SET {
        if set.reals[i] == id {
            return true;
        }
        i += 1;
    }
    false
}
