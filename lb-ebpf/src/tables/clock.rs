// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The clock of the programs, and idle timeouts.

use super::settings::SETTINGS;
use aya_ebpf::{
    btf_maps::Array,
    helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns},
    macros::btf_map,
};
use lb_common::{
    schema::{Settings, Timeouts},
    ticks::Tick,
};

/// Idle timeouts of flows.
#[btf_map]
pub(super) static TIMEOUTS: Array<Timeouts, 1> = Array::new();

/// Returns the idle timeouts of flows.
#[inline(always)]
pub fn timeouts() -> Timeouts {
    TIMEOUTS.get(0).copied().unwrap_or(Timeouts::DEFAULT)
}

/// Returns the current tick. The kernel inlines the read of jiffies, without a call.
#[inline(always)]
pub fn now() -> Tick {
    let jiffy = setting!(jiffy);
    if jiffy == 0 {
        return monotonic();
    }
    // SAFETY: the helper takes no arguments and always exists (Linux 5.5).
    Tick::of_jiffies(unsafe { bpf_jiffies64() }, jiffy)
}

/// Returns the time of `CLOCK_MONOTONIC` in ticks, which differs from [`now`] by a constant.
#[inline(always)]
pub fn monotonic() -> Tick {
    // SAFETY: the helper takes no arguments and always exists (Linux 5.11).
    Tick::of_nanoseconds(unsafe { bpf_ktime_get_coarse_ns() })
}

/// Returns the time of `CLOCK_MONOTONIC` in nanoseconds, as of the last jiffy.
#[cfg(feature = "samples")]
#[inline(always)]
pub(super) fn coarse_nanoseconds() -> u64 {
    // SAFETY: as in `monotonic`.
    unsafe { bpf_ktime_get_coarse_ns() }
}
