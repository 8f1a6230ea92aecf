// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The unit of time of the maps.

/// Duration of a tick in nanoseconds, as a power of two: a tick is 2^20 ns, 1.05 ms. The packet path only
/// needs a shift, and 32 bits of ticks last 52 days.
const TICK_SHIFT: u32 = 20;

/// Returns the tick of a time in nanoseconds.
#[inline(always)]
#[must_use]
pub const fn tick(nanoseconds: u64) -> u32 {
    (nanoseconds >> TICK_SHIFT) as u32
}

/// Returns the tick of a time in the kernel's jiffies, each of which lasts `nanoseconds`.
#[inline(always)]
#[must_use]
pub const fn tick_of_jiffies(jiffies: u64, nanoseconds: u64) -> u32 {
    tick(jiffies.wrapping_mul(nanoseconds))
}

/// Returns the number of ticks that last at least `seconds`.
#[must_use]
pub const fn ticks_of_seconds(seconds: u64) -> u32 {
    ((seconds * 1_000_000_000).div_ceil(1 << TICK_SHIFT)) as u32
}

/// Returns the ticks from `then` to `now`, correctly across the wrap. A `then` that another CPU wrote a
/// moment ahead of this CPU's `now` is age 0, not 52 days.
#[inline(always)]
#[must_use]
pub const fn age(then: u32, now: u32) -> u32 {
    let age = now.wrapping_sub(then);
    if age > u32::MAX / 2 { 0 } else { age }
}

/// Returns the duration of `ticks` in milliseconds.
#[must_use]
pub const fn milliseconds_of_ticks(ticks: u32) -> u64 {
    ((ticks as u64) << TICK_SHIFT) / 1_000_000
}
