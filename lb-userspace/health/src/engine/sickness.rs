// SPDX-License-Identifier: MIT OR Apache-2.0
//! Begin and end of frozen states.
#![forbid(unsafe_code)]

use std::collections::{HashSet, VecDeque};

use lb_model::{ServiceId, health::Health};

use super::{
    Cause, Engine, EventKind, Frozen, Now, Slot,
    freeze::{Part, is_wide},
};

impl Engine {
    /// Takes the result of the probe of the director to itself. While it fails, the states of targets by path
    /// are frozen.
    pub fn canary(&mut self, result: Result<(), String>, now: Now) {
        match (result, self.canary.is_some()) {
            (Err(why), false) => {
                let frozen = Frozen { since_ms: now.wall_ms, why: Cause::Canary(why) };
                self.canary = Some(frozen.clone());
                self.freeze(frozen, |slot| slot.target.is_by_path(), now);
            }
            (Ok(()), true) => {
                self.canary = None;
                self.thaw(now);
            }
            _ => (),
        }
    }

    /// Returns whether the target does not go down.
    pub(super) fn is_frozen(&self, index: usize) -> bool {
        let is_by_path = || self.slots[index].as_ref().is_some_and(|slot| slot.target.is_by_path());
        self.majority.is_some() || (self.canary.is_some() && is_by_path())
    }

    /// Forgets falls that are longer ago than an interval.
    fn forget_falls(&mut self, now: Now) {
        // Windows differ between targets, so an entry may be forgotten a little late behind a longer one.
        while let Some(&(until, index)) = self.fallen.front()
            && until < now.mono_ms
        {
            self.fallen.pop_front();
            let entry = self.slots[index].as_mut();
            if let Some(slot) = entry.filter(|slot| slot.part == Part::Fell && slot.fell_until == until) {
                self.census.change(Part::Fell, Part::None);
                slot.part = Part::None;
            }
        }
    }

    /// Freezes states if the failures are those of a sick checker.
    pub(super) fn suspect(&mut self, now: Now) {
        self.forget_falls(now);
        if self.majority.is_some() || !self.census.is_suspicious() {
            return;
        }
        let mut services: HashSet<&ServiceId> = HashSet::new();
        let mut hosts = HashSet::new();
        let turning = |slot: &&Slot| matches!(slot.part, Part::Failing | Part::Fell);
        for slot in self.slots.iter().flatten().filter(turning) {
            hosts.insert(slot.key.host());
            services.extend(&slot.target.services);
        }
        if is_wide(services.len(), hosts.len()) {
            let (failing, of) = self.census.turning();
            let frozen = Frozen { since_ms: now.wall_ms, why: Cause::Majority { failing, of } };
            self.majority = Some(frozen.clone());
            self.freeze(frozen, |_| true, now);
        }
    }

    /// Takes back what the cause of a freeze has done within the last interval.
    fn freeze(&mut self, frozen: Frozen, concerns: impl Fn(&Slot) -> bool, now: Now) {
        self.forget_falls(now);
        self.push_event(EventKind::Frozen(frozen), now);
        let mut kept = VecDeque::new();
        for (until, index) in std::mem::take(&mut self.fallen) {
            match &mut self.slots[index] {
                Some(slot) if slot.part == Part::Fell && slot.fell_until == until && concerns(slot) => {
                    slot.machine.undo_down();
                    self.assign_part(index, false);
                    self.announce(index, Health::Down, now);
                }
                _ => kept.push_back((until, index)),
            }
        }
        self.fallen = kept;
        self.has_changed = true;
    }

    /// Ends a freeze whose cause is gone.
    pub(super) fn review_majority(&mut self, now: Now) {
        self.forget_falls(now);
        if self.majority.is_some() && !self.census.is_suspicious() {
            self.majority = None;
            self.thaw(now);
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
