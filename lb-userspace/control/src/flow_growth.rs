// SPDX-License-Identifier: MIT OR Apache-2.0
//! When the flow table is replaced by a larger or a smaller one.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// Share of the places that flows may hold before the table grows. Up to there, a new flow practically always finds a
/// place (docs/decisions/0021-flow-table.md).
const FULL: Share = Share(45);
/// Share of the places of a smaller table that flows may hold when it replaces a larger one: it would not grow again soon.
const ROOMY: Share = Share(20);
/// Time for which a smaller table must have sufficed.
const QUIET: Duration = Duration::from_mins(5);
/// Time in which a new table is ready. Until then, as many flows more are expected as began lately.
const READY: Duration = Duration::from_secs(3);

/// A share, in percent.
#[derive(Clone, Copy)]
struct Share(u64);

impl Share {
    /// Returns the smallest power of two such that `flows` hold at most this share of as many places.
    const fn places(self, flows: u64) -> u64 {
        flows.saturating_mul(100).div_ceil(self.0).next_power_of_two()
    }
}

/// Returns the number of places to which a table grows for a steady number of flows, without the limits of a daemon.
#[must_use]
pub const fn places_for(flows: u64) -> u64 {
    FULL.places(flows)
}

/// How full the flow table is.
#[derive(Clone, Copy, Debug)]
pub struct Fullness {
    /// Number of flows with an entry.
    pub living: u64,
    /// Number of places.
    pub places: u32,
    /// Lowest number of places.
    pub least: u32,
    /// Highest number of places.
    pub most: u32,
}

/// Decisions about the size of the flow table.
#[derive(Debug, Default)]
pub struct Growth {
    last: Option<(Instant, u64)>,
    /// Since when a table of a quarter of the size would suffice.
    quiet_since: Option<Instant>,
}

impl Growth {
    /// Returns the number of places of the table that must replace the present one, if one must. To be called
    /// several times a second.
    pub fn next_size(&mut self, now: Instant, full: Fullness) -> Option<u32> {
        let expected = full.living.saturating_add(self.expected(now, full.living));
        let within = |places: u64| u32::try_from(places).unwrap_or(u32::MAX).clamp(full.least, full.most);
        let wanted = within(FULL.places(expected));
        if wanted > full.places {
            self.quiet_since = None;
            return Some(wanted);
        }
        let small = within(ROOMY.places(expected));
        if small > full.places / 4 {
            self.quiet_since = None;
            return None;
        }
        let since = *self.quiet_since.get_or_insert(now);
        (now.duration_since(since) >= QUIET).then(|| {
            self.quiet_since = None;
            small
        })
    }

    /// Returns the number of flows that begin until a new table is ready, by the growth since the last call.
    fn expected(&mut self, now: Instant, living: u64) -> u64 {
        let last = self.last.replace((now, living));
        let Some((at, before)) = last else { return 0 };
        let (more, passed) = (living.saturating_sub(before), now.duration_since(at).as_millis().max(1));
        u64::try_from(u128::from(more) * READY.as_millis() / passed).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: u32 = 1 << 17;
    const MOST: u32 = 1 << 21;
    const STEP: Duration = Duration::from_millis(100);

    fn full(living: u64, places: u32) -> Fullness {
        Fullness { living, places, least: LEAST, most: MOST }
    }

    /// Returns the first decision about a table with a steady number of flows, within `time`.
    fn after(time: Duration, living: u64, places: u32) -> Option<u32> {
        let (mut growth, began) = (Growth::default(), Instant::now());
        (0..=time.as_millis() / STEP.as_millis()).find_map(|step| {
            growth.next_size(began + STEP * u32::try_from(step).unwrap(), full(living, places))
        })
    }

    #[test]
    fn a_table_grows_when_it_is_nearly_half_full() {
        let most_of_it = u64::from(LEAST) * 45 / 100;
        assert_eq!(after(Duration::ZERO, most_of_it, LEAST), None);
        assert_eq!(after(Duration::ZERO, most_of_it + 1, LEAST), Some(LEAST * 2));
        assert_eq!(after(Duration::ZERO, 800_000, LEAST), Some(1 << 21));
        // More than the highest size does not exist.
        assert_eq!(after(Duration::from_mins(10), 10_000_000, MOST), None);
        assert_eq!(after(Duration::ZERO, 10_000_000, LEAST), Some(MOST));
    }

    #[test]
    fn a_table_that_fills_fast_grows_in_time() {
        let (mut growth, began) = (Growth::default(), Instant::now());
        assert_eq!(growth.next_size(began, full(0, LEAST)), None);
        // 100,000 flows a second: 10,000 now and 300,000 in three seconds.
        assert_eq!(growth.next_size(began + STEP, full(10_000, LEAST)), Some(1 << 20));
    }

    #[test]
    fn a_table_shrinks_after_five_quiet_minutes() {
        assert_eq!(after(Duration::from_secs(299), 1000, MOST), None);
        assert_eq!(after(Duration::from_mins(5), 1000, MOST), Some(LEAST));
        assert_eq!(after(Duration::from_mins(5), 50_000, MOST), Some(1 << 18));
        assert_eq!(after(Duration::from_mins(10), 1000, LEAST), None);
        // A smaller table must not be near its limit.
        assert_eq!(after(Duration::from_mins(10), 120_000, MOST), None);
    }

    #[test]
    fn a_busy_moment_begins_the_quiet_time_again() {
        let (mut growth, began) = (Growth::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(growth.next_size(at(0), full(1000, MOST)), None);
        assert_eq!(growth.next_size(at(200), full(500_000, MOST)), None);
        assert_eq!(growth.next_size(at(299), full(1000, MOST)), None);
        assert_eq!(growth.next_size(at(301), full(1000, MOST)), None);
        assert_eq!(growth.next_size(at(600), full(1000, MOST)), Some(LEAST));
    }
}
