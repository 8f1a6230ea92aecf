// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The unit of time of the maps: moments and durations, which are different types.

use crate::layout::layout;

/// Duration of a tick in nanoseconds, as a power of two: a tick is 2^20 ns, 1.05 ms. The packet path only
/// needs a shift, and 32 bits of ticks last 52 days.
const TICK_SHIFT: u32 = 20;

/// A moment: the number of ticks since the clock started, which wraps around after 52 days.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Tick(
    /// The number of ticks, in the machine's byte order.
    pub u32,
);
layout!(Tick, size: 4, align: 4);

impl Tick {
    /// Returns the tick of a time in nanoseconds.
    #[inline(always)]
    #[must_use]
    pub const fn of_nanoseconds(nanoseconds: u64) -> Self {
        Self((nanoseconds >> TICK_SHIFT) as u32)
    }

    /// Returns the tick of a time in the kernel's jiffies, each of which lasts `nanoseconds`.
    #[inline(always)]
    #[must_use]
    pub const fn of_jiffies(jiffies: u64, nanoseconds: u64) -> Self {
        Self::of_nanoseconds(jiffies.wrapping_mul(nanoseconds))
    }

    /// Returns the time from this tick to `now`, correctly across the wrap. A tick that another CPU wrote a
    /// moment ahead of this CPU's `now` has age 0, not 52 days.
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: Self) -> Ticks {
        let age = now.0.wrapping_sub(self.0);
        Ticks(if age > u32::MAX / 2 { 0 } else { age })
    }

    /// Returns the tick `duration` later.
    #[inline(always)]
    #[must_use]
    pub const fn after(self, duration: Ticks) -> Self {
        Self(self.0.wrapping_add(duration.0))
    }

    /// Returns the tick `duration` earlier.
    #[inline(always)]
    #[must_use]
    pub const fn before(self, duration: Ticks) -> Self {
        Self(self.0.wrapping_sub(duration.0))
    }
}

/// A duration in ticks.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticks(
    /// The number of ticks, in the machine's byte order.
    pub u32,
);

impl Ticks {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// Returns the number of ticks that last at least `seconds`.
    #[must_use]
    pub const fn of_seconds(seconds: u64) -> Self {
        Self(((seconds * 1_000_000_000).div_ceil(1 << TICK_SHIFT)) as u32)
    }

    /// Returns the duration in milliseconds.
    #[must_use]
    pub const fn milliseconds(self) -> u64 {
        ((self.0 as u64) << TICK_SHIFT) / 1_000_000
    }

    /// Returns whether the duration is longer than another one; in constant functions, which cannot use `>`.
    #[inline(always)]
    #[must_use]
    pub const fn exceeds(self, other: Self) -> bool {
        self.0 > other.0
    }
}
