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
    track,
};

/// How long silent flows live.
#[btf_map]
pub(super) static TIMEOUTS: Array<Timeouts, 1> = Array::new();

/// How long silent flows live.
#[inline(always)]
pub fn timeouts() -> Timeouts {
    TIMEOUTS.get(0).copied().unwrap_or(Timeouts::DEFAULT)
}

/// The current time in ticks. The kernel reads jiffies in place, without a call.
#[inline(always)]
pub fn now() -> u32 {
    let jiffy = setting!(jiffy);
    if jiffy == 0 {
        return monotonic();
    }
    // SAFETY: the helper takes no arguments and is always there (Linux 5.5).
    track::tick_of_jiffies(unsafe { bpf_jiffies64() }, jiffy)
}

/// The same by `CLOCK_MONOTONIC`, from which it differs by a constant.
#[inline(always)]
pub fn monotonic() -> u32 {
    // SAFETY: the helper takes no arguments and is always there (Linux 5.11).
    track::tick(unsafe { bpf_ktime_get_coarse_ns() })
}
