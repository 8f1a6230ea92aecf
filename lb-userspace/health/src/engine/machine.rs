// SPDX-License-Identifier: MIT OR Apache-2.0
//! State of one target: counts of results, verdicts, hold-down.
#![forbid(unsafe_code)]

use lb_model::{
    check::{Check, Period},
    health::{Health, LastResult},
};

use super::Now;
use crate::target::{Saved, TargetState};

/// Time after a return in which a further failure doubles the hold-down, in milliseconds.
const FLAP_WINDOW: u64 = 10 * 60 * 1000;
/// Longest hold-down, in milliseconds, unless the configured one is longer.
const LONGEST_HOLD: u64 = 5 * 60 * 1000;
/// Longest hold-down that is taken over from before a restart, in milliseconds: the clock may have jumped.
const LONGEST_SAVED_HOLD: u64 = 24 * 60 * 60 * 1000;
/// Age of a saved state at which it no longer counts, in intervals.
const FRESH_INTERVALS: u64 = 3;

/// State of a target.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    pub health: Health,
    pub assumed: Option<Health>,
    /// Successes in a row.
    pub successes: u32,
    /// Failures in a row.
    pub failures: u32,
    pub last: Option<LastResult>,
    pub weight_percent: Option<u8>,
    is_silent: bool,
    since_ms: u64,
    /// End of the hold-down, by the monotonic clock.
    held_until: Option<u64>,
    /// Number of times that the hold-down was doubled.
    flaps: u32,
    /// Time until which a failure is one more after a return from `Down`, by the monotonic clock.
    flaps_until: Option<u64>,
    /// The target went down together with nearly all others: its return does not begin the time of `flaps_until`.
    is_mass: bool,
    /// Value of `since_ms` before the target went down, for a return without a trace.
    up_since_ms: u64,
}

/// Effect of a result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    /// The state is as before.
    None,
    /// The target is up.
    Up,
    /// A target that was up or assumed to be up is to go down: the engine decides.
    WantsDown,
    /// The target is down, and was not up before.
    Down,
}

impl Machine {
    /// Creates the state of a new target, from that before a restart if there is one.
    pub fn new(saved: Option<&Saved>, check: &Check, now: Now) -> Self {
        let Some(saved) = saved else { return Self { since_ms: now.wall_ms, ..Self::default() } };
        let fresh = FRESH_INTERVALS * u64::from(check.timing.interval.millis());
        let is_fresh = now.wall_ms.saturating_sub(saved.at_ms) <= fresh;
        let left = |end: Option<u64>, most: u64| {
            let left = end.map(|end| end.saturating_sub(now.wall_ms).min(most));
            left.filter(|left| *left > 0).map(|left| now.mono_ms + left)
        };
        let held_until = left(saved.held_until_ms, LONGEST_SAVED_HOLD);
        // A hold-down that has not ended outlasts the age of the state.
        let counts = is_fresh || (saved.health == Health::Down && held_until.is_some());
        Self {
            held_until: held_until.filter(|_| counts),
            flaps: saved.flaps,
            flaps_until: left(saved.flaps_until_ms, FLAP_WINDOW),
            health: if counts { saved.health } else { Health::Unknown },
            assumed: (!counts).then_some(saved.health),
            since_ms: saved.since_ms,
            is_silent: saved.is_silent,
            weight_percent: saved.weight_percent,
            ..Self::default()
        }
    }

    /// Returns the state, or that from before a restart if there is no verdict yet.
    pub fn effective(&self) -> Health {
        if self.health == Health::Unknown { self.assumed.unwrap_or_default() } else { self.health }
    }

    /// Counts a result.
    pub fn count(&mut self, result: LastResult, check: &Check, now: Now) -> Effect {
        let (verdict, is_silent) = (result.code.verdict(), result.code.is_silent());
        self.last = Some(result);
        match verdict {
            None => Effect::None,
            Some(true) => {
                self.successes = self.successes.saturating_add(1);
                self.failures = 0;
                let is_held = self.held_until.is_some_and(|end| now.mono_ms < end);
                let suffices = match self.health {
                    Health::Unknown => true,
                    Health::Up => false,
                    Health::Down => self.successes >= check.timing.rise && !is_held,
                };
                if suffices {
                    self.go_up(now);
                    return Effect::Up;
                }
                Effect::None
            }
            Some(false) => {
                self.failures = self.failures.saturating_add(1);
                self.successes = 0;
                match (self.health, self.effective()) {
                    (Health::Up, _) if self.failures < check.timing.fall => Effect::None,
                    (Health::Up, _) | (_, Health::Up) => Effect::WantsDown,
                    (Health::Unknown, _) => {
                        (self.health, self.assumed, self.since_ms) = (Health::Down, None, now.wall_ms);
                        self.is_silent = is_silent;
                        Effect::Down
                    }
                    (Health::Down, _) => {
                        self.is_silent = is_silent;
                        Effect::None
                    }
                }
            }
        }
    }

    fn go_up(&mut self, now: Now) {
        if self.health == Health::Down && !self.is_mass {
            self.flaps_until = Some(now.mono_ms + FLAP_WINDOW);
        }
        if self.effective() != Health::Up {
            self.since_ms = now.wall_ms;
        }
        (self.health, self.assumed) = (Health::Up, None);
        (self.held_until, self.is_silent) = (None, false);
    }

    /// Carries out [`Effect::WantsDown`]. `is_mass`: together with nearly all other targets, which is no flapping.
    pub fn go_down(&mut self, hold_down: Period, is_mass: bool, now: Now) {
        self.is_mass = is_mass;
        let flaps_again = self.flaps_until.is_some_and(|end| now.mono_ms <= end);
        self.flaps = match (is_mass, flaps_again) {
            (true, _) => self.flaps,
            (false, true) => self.flaps.saturating_add(1),
            (false, false) => 0,
        };
        let hold_down = if is_mass { Period::default() } else { hold_down };
        let hold = u64::from(hold_down.millis());
        let doubled = hold.saturating_mul(1 << self.flaps.min(32)).min(LONGEST_HOLD.max(hold));
        self.held_until = (hold > 0).then_some(now.mono_ms + doubled);
        self.is_silent = self.last.as_ref().is_some_and(|last| last.code.is_silent());
        self.up_since_ms = self.since_ms;
        (self.health, self.assumed, self.since_ms) = (Health::Down, None, now.wall_ms);
    }

    /// Undoes [`Self::go_down`], for a checker that turned out to be sick.
    pub fn undo_down(&mut self) {
        (self.health, self.since_ms) = (Health::Up, self.up_since_ms);
        (self.held_until, self.is_silent) = (None, false);
        self.flaps = self.flaps.saturating_sub(1);
        self.successes = 0;
        self.failures = self.failures.max(1);
    }

    /// Returns whether the target is up, or assumed to be, and has enough failures to go down.
    pub fn wants_down(&self, check: &Check) -> bool {
        match (self.health, self.effective()) {
            (Health::Up, _) => self.failures >= check.timing.fall,
            (_, Health::Up) => self.failures > 0,
            _ => false,
        }
    }

    /// Begins all counts again.
    pub fn reset_counts(&mut self) {
        (self.successes, self.failures) = (0, 0);
    }

    /// Returns whether the latest result contradicts that the target is up.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Returns whether a count is in progress.
    pub fn is_counting(&self, check: &Check) -> bool {
        match self.health {
            Health::Unknown => true,
            Health::Up => (1..check.timing.fall).contains(&self.failures),
            Health::Down => (1..check.timing.rise).contains(&self.successes),
        }
    }

    /// Returns the end of the hold-down, if only that keeps the target down.
    pub fn waits_until(&self, check: &Check) -> Option<u64> {
        self.held_until.filter(|_| self.health == Health::Down && self.successes >= check.timing.rise)
    }

    /// Returns the state to publish.
    pub fn state(&self, check: &Check, now: Now) -> TargetState {
        let (rise, fall) = (check.timing.rise, check.timing.fall);
        let wall = |end: &u64| (*end > now.mono_ms).then(|| now.wall_ms + (*end - now.mono_ms));
        TargetState {
            health: self.health,
            assumed: self.assumed,
            progress: match self.health {
                Health::Down => (self.successes.min(rise), rise),
                _ => (self.failures.min(fall), fall),
            },
            last: self.last.clone(),
            since_ms: self.since_ms,
            is_silent: self.is_silent,
            weight_percent: self.weight_percent,
            held_until_ms: self.held_until.as_ref().and_then(wall),
            flaps: self.flaps,
            flaps_until_ms: self.flaps_until.as_ref().and_then(wall),
        }
    }

    /// Returns the parts of the state on which rotation depends.
    pub fn essence(&self) -> (Health, Option<Health>, bool, Option<u8>) {
        (self.health, self.assumed, self.is_silent, self.weight_percent)
    }
}
