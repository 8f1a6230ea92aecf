// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clock of the programs: the kernel's jiffies, in ticks. It runs at the rate of `CLOCK_MONOTONIC`, from
//! which it differs by a constant that one program run determines.
#![forbid(unsafe_code)]

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use aya::programs::Xdp;
use lb_common::{ids::IfIndex, ticks::Tick};
use nix::time::{ClockId, clock_getres, clock_gettime};

use super::tracer::{self, RunError};

/// Number of ticks by which the programs' clock is ahead, modulo 2^32. It is the same for all programs of a kernel.
static AHEAD: AtomicU32 = AtomicU32::new(0);

/// Returns the current tick, as the programs count it.
#[must_use]
pub fn now() -> Tick {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    let tick = Tick::of_nanoseconds(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    Tick(tick.0.wrapping_add(AHEAD.load(Ordering::Relaxed)))
}

/// Returns the duration of a jiffy in nanoseconds, which is the resolution of the kernel's coarse clocks
/// (`hrtimer_get_res`); 0 if the kernel reports none.
pub(super) fn jiffy() -> u64 {
    let resolution = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from);
    u64::try_from(resolution.as_nanos()).unwrap_or(0)
}

/// Runs `program`, which must be `clock`, to determine how far the programs' clock is ahead.
pub(super) fn set(program: &Xdp) -> Result<(), RunError> {
    let (ahead, _) = tracer::run(program, &[0; 64], IfIndex::NONE)?;
    AHEAD.store(ahead, Ordering::Relaxed);
    Ok(())
}
