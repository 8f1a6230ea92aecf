// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Real servers, and their connection counts.

use super::{atomic::fetch_add, flows::Shared, settings::mode, trace::note};
use aya_ebpf::{btf_maps::Array, macros::btf_map};
use lb_common::{
    ids::RealId,
    schedule::threshold,
    schema::{Load, Real, Step},
};

/// Reals by id; id 0 is unused.
#[btf_map]
pub(super) static REALS: Array<Real, 2> = Array::new();

/// Connection counts by real id.
#[btf_map]
pub(super) static LOADS: Shared<Load, 2> = Shared::new();

/// Returns the real with this id, if it exists.
#[inline(always)]
pub fn real(id: RealId) -> Option<&'static Real> {
    REALS.get(id.0).filter(|real| real.exists())
}

/// Returns the connection counts of a real, packed as in [`Load::counts`].
#[inline(always)]
pub fn load(real: RealId) -> u64 {
    LOADS.get(real.0).map_or(0, |load| load.counts)
}

/// Adds to the connection counts of a real. `counts` may be negative (two's complement).
#[inline(always)]
pub(super) fn change_load(real: RealId, counts: u64) {
    if let Some(load) = LOADS.get_ptr_mut(real.0) {
        // SAFETY: a value of this map, checked for null; the field is 8 bytes and aligned.
        fetch_add(unsafe { &raw mut (*load).counts }, counts);
    }
}

/// Returns whether a real is overloaded by its thresholds. Stores the result, because the thresholds have hysteresis.
///
/// Inlined, since callbacks of walks call it, at the end of the longest chain of functions that share a stack.
#[inline(always)]
pub fn is_overloaded(id: RealId, real: &Real) -> bool {
    if real.upper == 0 {
        return false;
    }
    let Some(load) = LOADS.get_ptr_mut(id.0) else { return false };
    // SAFETY: a value of this map, checked for null. Another CPU that writes the same mark writes the same value.
    let load = unsafe { &mut *load };
    let connections = Load::active(load.counts) + Load::inactive(load.counts);
    let is = threshold::is_overloaded(load.overloaded != 0, connections, real.upper, real.lower);
    if is != (load.overloaded != 0) && !mode().is_dry() {
        load.overloaded = u64::from(is);
    }
    if is {
        note(Step::Overloaded, id.0, 0);
    }
    is
}
