// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs' clock: the kernel's jiffies, in ticks. It goes at the pace of `CLOCK_MONOTONIC`, from which it differs by a
//! constant that the kernel is asked for once.
#![forbid(unsafe_code)]

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use aya::programs::Xdp;
use lb_common::track;
use nix::time::{ClockId, clock_getres, clock_gettime};

use super::tracer::{self, RunError};

/// How many ticks the programs' clock is ahead, modulo 2^32. The same for all of a kernel's programs.
static AHEAD: AtomicU32 = AtomicU32::new(0);

/// Now, in ticks, as the programs count time.
#[must_use]
pub fn tick() -> u32 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    let tick = track::tick(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    tick.wrapping_add(AHEAD.load(Ordering::Relaxed))
}

/// How many nanoseconds a jiffy lasts: that is how exact the kernel's coarse clocks are (`hrtimer_get_res`). 0 if it does not say.
pub(super) fn jiffy() -> u64 {
    let resolution = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from);
    u64::try_from(resolution.as_nanos()).unwrap_or(0)
}

/// Asks `program`, which is `clock`, how far the programs' clock is ahead.
pub(super) fn set(program: &Xdp) -> Result<(), RunError> {
    let (ahead, _) = tracer::run(program, &[0; 64], 0)?;
    AHEAD.store(ahead, Ordering::Relaxed);
    Ok(())
}
