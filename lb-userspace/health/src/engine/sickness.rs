// SPDX-License-Identifier: MIT OR Apache-2.0
//! Begin and end of frozen states.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use lb_model::health::Health;

use super::{
    Cause, Engine, EventKind, Frozen, Now, Slot,
    freeze::{Majority, Part},
};

impl Engine {
    /// Sets the time for which a failure of nearly all targets does not count, in milliseconds; 0 disables that.
    pub const fn set_freeze_for(&mut self, milliseconds: u64) {
        self.freeze_for = milliseconds;
    }

    /// Takes the result of the probe of the director to itself. While it fails, the states of targets by path
    /// are frozen, and those are up again that went down since its last success.
    pub fn canary(&mut self, result: Result<(), String>, now: Now) {
        let is_failing = self.canary.is_some();
        match result {
            Ok(()) => {
                self.canary_at = Some(now.mono_ms);
                if self.canary.take().is_some() {
                    self.thaw(now);
                }
            }
            Err(why) if !is_failing => {
                let frozen = Frozen { since_ms: now.wall_ms, why: Cause::Canary(why) };
                self.canary = Some(frozen.clone());
                self.freeze(frozen, |slot| slot.target.is_by_path(), now);
                let Some(last) = self.canary_at else { return };
                for index in 0..self.slots.len() {
                    let fell = |slot: &Slot| slot.machine.health == Health::Down && slot.fell_at > last;
                    if self.is_unreached(index) && self.slots[index].as_ref().is_some_and(fell) {
                        self.undo_fall(index, now);
                    }
                }
            }
            Err(_) => {}
        }
    }

    /// Takes back that a target went down.
    fn undo_fall(&mut self, index: usize, now: Now) {
        if let Some(slot) = &mut self.slots[index] {
            slot.machine.undo_down();
            self.assign_part(index, false);
            self.announce(index, Health::Down, now);
        }
    }

    /// Returns whether the target does not go down.
    pub(super) fn is_frozen(&self, index: usize) -> bool {
        self.majority.is_some() || self.is_unreached(index)
    }

    /// Returns whether the results of the target mean nothing, because the director does not reach itself by its path.
    fn is_unreached(&self, index: usize) -> bool {
        let is_by_path = || self.slots[index].as_ref().is_some_and(|slot| slot.target.is_by_path());
        self.canary.is_some() && is_by_path()
    }

    /// Forgets falls that are longer ago than an interval.
    fn forget_falls(&mut self, now: Now) {
        // Windows differ between targets, so an entry may be forgotten a little late behind a longer one.
        while let Some(&(until, index)) = self.fallen.front()
            && until < now.mono_ms
        {
            self.fallen.pop_front();
            let is_it = |slot: &&Slot| slot.part == Part::Fell && slot.fell_until == until;
            if self.slots[index].as_ref().is_some_and(|slot| is_it(&slot)) {
                self.set_part(index, Part::None);
            }
        }
    }

    /// Freezes states if the failures may be those of a sick checker.
    pub(super) fn suspect(&mut self, now: Now) {
        self.forget_falls(now);
        let is_possible = self.majority.is_none() && !self.is_accepted && self.freeze_for > 0;
        if is_possible && self.census.is_suspicious() && self.census.is_wide() {
            let (failing, of) = self.census.turning();
            let frozen = Frozen { since_ms: now.wall_ms, why: Cause::Majority { failing, of } };
            let until = self.census.has_fallen().then_some(now.mono_ms + self.freeze_for);
            self.majority = Some(Majority { frozen: frozen.clone(), until });
            self.freeze(frozen, |_| true, now);
        }
    }

    /// Notes that a frozen target would have gone down now: the time of the freeze begins to run.
    pub(super) fn hold_back(&mut self, now: Now) {
        let freeze_for = self.freeze_for;
        if let Some(majority) = &mut self.majority {
            majority.until.get_or_insert(now.mono_ms + freeze_for);
        }
    }

    /// Returns the end of a freeze, by the monotonic clock.
    pub(super) fn freeze_ends(&self) -> Option<u64> {
        self.majority.as_ref().and_then(|majority| majority.until)
    }

    /// Ends a freeze whose time is over: the failures have lasted, so that states follow them.
    pub(super) fn accept(&mut self, now: Now) {
        if self.freeze_ends().is_none_or(|until| now.mono_ms < until) {
            return;
        }
        self.majority = None;
        self.is_accepted = true;
        self.push_event(EventKind::Accepted, now);
        for index in 0..self.slots.len() {
            let Some(slot) = &self.slots[index] else { continue };
            if slot.machine.wants_down(&slot.target.check) && !self.is_unreached(index) {
                let from = slot.machine.effective();
                self.fell(index, from, now);
            }
        }
        self.has_changed = true;
    }

    /// Takes back what the cause of a freeze has done within the last interval.
    fn freeze(&mut self, frozen: Frozen, concerns: impl Fn(&Slot) -> bool, now: Now) {
        self.forget_falls(now);
        self.push_event(EventKind::Frozen(frozen), now);
        let mut kept = VecDeque::new();
        for (until, index) in std::mem::take(&mut self.fallen) {
            match &self.slots[index] {
                Some(slot) if slot.part == Part::Fell && slot.fell_until == until && concerns(slot) => {
                    self.undo_fall(index, now);
                }
                _ => kept.push_back((until, index)),
            }
        }
        self.fallen = kept;
        self.has_changed = true;
    }

    /// Ends a freeze whose cause is gone, and the time after one in which failures count.
    pub(super) fn review(&mut self, now: Now) {
        if self.majority.is_none() && !self.is_accepted {
            return;
        }
        self.forget_falls(now);
        if !self.census.is_suspicious() {
            self.is_accepted = false;
            if self.majority.take().is_some() {
                self.thaw(now);
            }
        }
    }

    /// Begins all counts again after a freeze.
    fn thaw(&mut self, now: Now) {
        for index in 0..self.slots.len() {
            if let Some(slot) = &mut self.slots[index] {
                slot.machine.reset_counts();
            }
            self.assign_part(index, false);
        }
        self.has_changed = true;
        if self.frozen().is_none() {
            self.push_event(EventKind::Thawed, now);
        }
    }
}
