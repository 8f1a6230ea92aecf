// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Counters, and the rate limit of ICMP errors.

use super::{clock::now, settings::SETTINGS, trace::note};
use crate::frame::opaque;
use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use lb_common::{
    ids::{RealId, ServiceId},
    reason::Reason,
    schema::{Counters, ReasonCounts, Settings, Step},
    ticks::{Tick, Ticks},
};

/// Packets, bytes and new flows by real id.
#[btf_map]
pub(super) static COUNTERS: PerCpuArray<Counters, 2> = PerCpuArray::new();

/// Packets by service id and reason.
#[btf_map]
pub(super) static REASONS: PerCpuArray<ReasonCounts, 1> = PerCpuArray::new();

/// ICMP errors made in the current second, by CPU.
#[btf_map]
pub(super) static ICMP_BUDGET: PerCpuArray<Budget, 1> = PerCpuArray::new();

/// Number of ICMP errors since a tick.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Budget {
    /// The tick at which the count began.
    since: Tick,
    used: u32,
}

/// Counts a packet sent to a real.
#[inline(always)]
pub fn count_in(real: RealId, bytes: u32) {
    if note(Step::CountIn, real.0, bytes)
        && let Some(counters) = COUNTERS.get_ptr_mut(real.0)
    {
        // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other.
        unsafe {
            (*counters).packets_in += 1;
            (*counters).bytes_in += u64::from(bytes);
        }
    }
}

/// Counts a real's packet sent back to its client.
#[inline(always)]
pub fn count_out(real: RealId, bytes: u32) {
    if note(Step::CountOut, real.0, bytes)
        && let Some(counters) = COUNTERS.get_ptr_mut(real.0)
    {
        // SAFETY: as in `count_in`.
        unsafe {
            (*counters).packets_out += 1;
            (*counters).bytes_out += u64::from(bytes);
        }
    }
}

/// Counts a flow that began on a real.
#[inline(always)]
pub fn count_flow(real: RealId) {
    if note(Step::CountFlow, real.0, 0)
        && let Some(counters) = COUNTERS.get_ptr_mut(real.0)
    {
        // SAFETY: as in `count_in`.
        unsafe { (*counters).new_flows += 1 };
    }
}

/// Counts a packet that was not forwarded.
#[inline(always)]
pub fn count_reason(service: ServiceId, reason: Reason) {
    if note(Step::Reason, service.0, reason.index())
        && let Some(counts) = REASONS.get_ptr_mut(service.0)
    {
        // The mask tells the verifier that the count exists. LLVM, which knows it, would remove the mask.
        let mut index = reason.index() as usize;
        opaque(&mut index);
        let index = index & (Reason::SLOTS - 1);
        // SAFETY: as in `count_in`.
        unsafe { (*counts).0[index] += 1 };
    }
}

/// Returns whether one more ICMP error may be made in this second, and counts it.
#[inline(always)]
pub fn may_make_icmp() -> bool {
    let Some(budget) = ICMP_BUDGET.get_ptr_mut(0) else { return false };
    let now = now();
    // SAFETY: as in `count_in`.
    let budget = unsafe { &mut *budget };
    // Not `age`: the last error of a CPU may be older than half the range of ticks.
    let mut new = *budget;
    if now.0.wrapping_sub(new.since.0) >= Ticks::of_seconds(1).0 {
        new = Budget { since: now, used: 0 };
    }
    new.used += 1;
    let may = u64::from(new.used) <= setting!(icmp_per_second);
    if note(Step::IcmpBudget, may.into(), 0) {
        *budget = new;
    }
    may
}
