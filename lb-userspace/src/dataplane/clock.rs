// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs' clock.
#![forbid(unsafe_code)]

use std::time::Duration;

use lb_common::track;
use nix::time::{ClockId, clock_gettime};

/// Now, in ticks, as the programs count time: `bpf_ktime_get_coarse_ns` is `CLOCK_MONOTONIC`.
#[must_use]
pub fn tick() -> u32 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    track::tick(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}
