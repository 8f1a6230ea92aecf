// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! `lblc` and `lblcr`: connections to one destination go to the same real or set of reals. The rules are in
//! [`lb_common::schedule`].
#![expect(unsafe_code, reason = "a callback of bpf_loop gets its state as a pointer")]

use core::ffi::{c_long, c_void};

use aya_ebpf::{btf_maps::PerCpuArray, helpers::bpf_loop, macros::btf_map};
use lb_common::{
    ids::{RealId, ServiceId},
    schedule::{
        Candidate, lblc,
        lblcr::{self, LARGEST_SET},
        wlc,
    },
    schema::{Locality, LocalityKey, Real, Scheduler, Service},
    ticks::Ticks,
    wire::Be128,
};

use super::walk::{candidate, is_one_idle, least_loaded};
use crate::tables;

/// Time after which a set that has not grown loses its most loaded real.
const SHRINK: Ticks = Ticks::of_seconds(lblcr::SHRINK_SECONDS);

/// A scan of the reals of a set, and its result. [`LARGEST_SET`] as a place means none. The scan is in a map, because
/// the stack is small.
#[repr(C)]
#[derive(Clone, Copy)]
struct Scan {
    service: ServiceId,
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
static SCANS: PerCpuArray<Scan, 1> = PerCpuArray::new();

/// Returns this CPU's memory for the evaluation of a set.
#[inline(always)]
fn scan() -> Option<&'static mut Scan> {
    // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other, and the callback that
    // also gets the memory runs while no other code uses it.
    SCANS.get_ptr_mut(0).map(|scan| unsafe { &mut *scan })
}

/// Index that stands for no place in a set.
const NOWHERE: u16 = LARGEST_SET as u16;

/// Returns the real for a new connection. `replicates` keeps a set of reals for each destination, instead of one real.
#[inline(always)]
pub fn choose(service: &Service, destination: Be128, replicates: bool) -> RealId {
    let place = LocalityKey { destination, service: service.id, reserved: 0 };
    let now = tables::now();
    let Some(scan) = scan() else { return RealId::NONE };
    scan.service = service.id;
    scan.set = Locality { reals: [RealId::NONE; LARGEST_SET], changed: now };
    (scan.free, scan.best_at, scan.worst_at, scan.size) = (NOWHERE, NOWHERE, NOWHERE, 0);
    (scan.best, scan.worst) = (Candidate::default(), Candidate::default());
    tables::read_locality(&place, &mut scan.set);
    // SAFETY: the callback is a function of this program, and ignores its null pointer.
    unsafe { bpf_loop(NOWHERE.into(), scan_one as *mut c_void, core::ptr::null_mut(), 0) };
    if scan.size > 1 && scan.set.changed.age(now) > SHRINK && scan.worst_at != scan.best_at {
        put(&mut scan.set, scan.worst_at, RealId::NONE);
        scan.set.changed = now;
        tables::remember_locality(&place, &scan.set);
    }
    if let Some(id) = at(&scan.set, scan.best_at)
        && !(lblc::is_full(&scan.best) && is_one_idle(service))
    {
        return id;
    }
    let id = least_loaded(service, Scheduler::Wlc as u32);
    if id.is_none() {
        return RealId::NONE;
    }
    // A full set loses its most loaded real.
    let place_in_set = match (replicates, scan.free) {
        (false, _) => 0,
        (true, NOWHERE) => scan.worst_at,
        (true, free) => free,
    };
    if !(replicates && contains(&scan.set, id)) {
        put(&mut scan.set, place_in_set, id);
    }
    scan.set.changed = now;
    tables::remember_locality(&place, &scan.set);
    id
}

/// Evaluates one real of a set.
unsafe extern "C" fn scan_one(round: u32, _: *mut c_void) -> c_long {
    let Some(scan) = scan() else { return 1 };
    let i = round as u16;
    let Some(id) = at(&scan.set, i) else { return 1 };
    match member(scan.service, id) {
        Some(candidate) => {
            scan.size += 1;
            if wlc::better(&scan.best, &candidate) {
                (scan.best, scan.best_at) = (candidate, i);
            }
            if lblcr::worse(&scan.worst, &candidate) {
                (scan.worst, scan.worst_at) = (candidate, i);
            }
        }
        None if scan.free == NOWHERE => scan.free = i,
        None => {}
    }
    0
}

/// Returns the real at a place of a set. `black_box` hides the index from LLVM, which would otherwise delete the check
/// that the verifier needs.
#[inline(always)]
fn at(set: &Locality, place: u16) -> Option<RealId> {
    set.reals.get(core::hint::black_box(place as usize)).copied()
}

#[inline(always)]
fn put(set: &mut Locality, place: u16, id: RealId) {
    if let Some(real) = set.reals.get_mut(core::hint::black_box(place as usize)) {
        *real = id;
    }
}

/// Returns a real of a set as a candidate, if it accepts new connections.
#[inline(always)]
fn member(service: ServiceId, id: RealId) -> Option<Candidate> {
    if id.is_none() {
        return None;
    }
    let real = tables::real(id)?;
    let gone = real.service != service || real.weight == 0 || real.is(Real::LEAVING);
    if gone || tables::is_overloaded(id, real) { None } else { Some(candidate(id, real)) }
}

#[inline(always)]
fn contains(set: &Locality, id: RealId) -> bool {
    let mut i = 0;
    while i < LARGEST_SET {
        if set.reals[i] == id {
            return true;
        }
        i += 1;
    }
    false
}
