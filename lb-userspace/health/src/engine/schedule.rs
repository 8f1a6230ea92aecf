// SPDX-License-Identifier: MIT OR Apache-2.0
//! Times of the probes of one target.
#![forbid(unsafe_code)]

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use lb_model::{
    check::{Check, Period},
    health::Health,
};

use super::machine::Machine;
use crate::target::TargetKey;

/// Longest time until the first probe of a new target, in milliseconds.
const LONGEST_WAIT: u64 = 1000;
/// Least time between the starts of two probes of which a hint brings the second one forward, in milliseconds.
const HINT_GAP: u64 = 250;
/// Least time between two such probes after a failure, in milliseconds; the `fast-interval` if that is shorter. A server
/// that restarts within this time does not go down.
const FAILING_GAP: u64 = 1000;

/// Schedule of a target.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    /// Start of the next probe, by the monotonic clock.
    pub due: u64,
    /// Number of the entry in the heap that counts: others are obsolete.
    pub ticket: u64,
    /// The probe in flight.
    pub flight: Option<u64>,
    /// Start of the latest probe.
    started: Option<u64>,
    /// Fixed part of the interval at which probes start.
    phase: u64,
    /// The second probe is at the phase, since first ones are crowded.
    is_aligned: bool,
    /// A hint arrived, and it is neither refuted nor confirmed.
    is_hinted: bool,
    /// A hint arrived while a probe was in flight.
    is_again: bool,
    /// Least time from the start of the latest probe until a hint causes another one, in milliseconds. It doubles with
    /// each success that refutes a hint, up to the interval: anyone who can forge packets can cause hints.
    gap: u64,
}

impl Schedule {
    /// Creates the schedule of a new target.
    pub fn new(key: &TargetKey, check: &Check, now: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let mut this = Self { phase: hasher.finish(), gap: HINT_GAP, ..Self::default() };
        this.restart(check, now);
        this
    }

    /// Makes the next probe the first one of a definition.
    pub fn restart(&mut self, check: &Check, now: u64) {
        let interval = u64::from(check.timing.interval.millis()).max(1);
        self.due = now + self.phase % interval.min(LONGEST_WAIT);
        self.is_aligned = false;
    }

    /// Records the start of a probe.
    pub fn start(&mut self, id: u64, now: u64) {
        (self.flight, self.started) = (Some(id), Some(now));
    }

    /// Records the end of a probe, and determines the start of the next one. `random` chooses the jitter.
    pub fn end(&mut self, machine: &Machine, check: &Check, now: u64, random: u64) {
        let started = self.started.unwrap_or(now);
        let verdict = machine.last.as_ref().and_then(|last| last.code.verdict());
        self.flight = None;
        let timing = &check.timing;
        let longest_gap = u64::from(timing.interval.millis()).max(HINT_GAP);
        match verdict {
            Some(true) if self.is_hinted => self.gap = (2 * self.gap).min(longest_gap),
            Some(_) => self.gap = HINT_GAP,
            None => (),
        }
        let is_again = std::mem::take(&mut self.is_again) && machine.health != Health::Down;
        if verdict == Some(true) || (verdict == Some(false) && machine.health == Health::Down) {
            self.is_hinted = is_again;
        }
        let is_fast = self.is_hinted || verdict.is_none() || machine.is_counting(check);
        let or_interval = |period: Option<Period>| u64::from(period.unwrap_or(timing.interval).millis());
        let (fast, down) = (or_interval(timing.fast_interval), or_interval(timing.down_interval));
        let interval = match machine.health {
            // A real that comes back must not wait longer for its next success than for its first one.
            Health::Down if is_fast => fast.min(down),
            Health::Down => down,
            _ if is_fast => fast,
            _ => u64::from(timing.interval.millis()),
        };
        let interval = interval.max(1);
        let next = if self.is_aligned || is_fast {
            started + jitter(interval, timing.jitter, random)
        } else {
            self.is_aligned = true;
            let earliest = started + interval / 2;
            earliest + (self.phase % interval + interval - earliest % interval) % interval
        };
        self.due = next.max(now);
        if let Some(end) = machine.waits_until(check) {
            self.due = self.due.min(end.max(now));
        }
        if is_again {
            self.due = self.due.min(self.earliest(machine, check, now));
        }
    }

    /// Brings the next probe forward. Returns whether `due` has changed. A hint tells nothing new of a target that is
    /// down.
    pub fn hint(&mut self, machine: &Machine, check: &Check, now: u64) -> bool {
        if machine.health == Health::Down {
            return false;
        }
        self.is_hinted = true;
        if self.flight.is_some() {
            self.is_again = true;
            return false;
        }
        let earliest = self.earliest(machine, check, now);
        let is_sooner = earliest < self.due;
        self.due = self.due.min(earliest);
        is_sooner
    }

    /// Returns the earliest start of a probe that a hint brings forward.
    fn earliest(&self, machine: &Machine, check: &Check, now: u64) -> u64 {
        let timing = &check.timing;
        let fast = u64::from(timing.fast_interval.unwrap_or(timing.interval).millis());
        let gap = if machine.is_failing() { fast.clamp(HINT_GAP, FAILING_GAP) } else { self.gap };
        self.started.map_or(now, |started| now.max(started + gap))
    }
}

/// Returns the interval, longer or shorter by up to `percent`.
fn jitter(interval: u64, percent: u8, random: u64) -> u64 {
    let width = interval * u64::from(percent) / 100;
    interval - width + random % (2 * width + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_has_both_bounds_and_no_more() {
        let drawn: Vec<u64> = (0..10_000).map(|random| jitter(2000, 10, random)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&1800), Some(&2200)));
        assert!((0..100).all(|random| jitter(2000, 0, random) == 2000));
    }
}
