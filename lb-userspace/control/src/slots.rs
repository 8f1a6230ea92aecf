// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moves of the slots of a hashing scheduler that keep living flows in place: [`lb_common::slot`] for a whole
//! table. These functions are pure.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use lb_common::{
    schema::{Move, Scheduler, Service, Tracking},
    slot::{self, MOVED, Slot},
    ticks,
};

use lb_schedule::stretched;

/// A slot table and the moves of its slots in transition.
pub struct Slots {
    /// Contents of `TABLES` for the service.
    pub table: Vec<u32>,
    /// Contents of `MOVES` for the service, slot by slot.
    pub moves: Vec<Move>,
}

/// Time of a change, and the timeout of flows.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Current time in ticks.
    pub tick: u32,
    /// Longest timeout of a flow, in ticks.
    pub timeout: u32,
}

impl Slots {
    /// Creates slots that are not in transition.
    #[must_use]
    pub fn steady(table: Vec<u32>) -> Self {
        Self { moves: vec![Move::default(); table.len()], table }
    }

    /// Stretches the table to `length` slots, a multiple of its present length: each slot becomes several
    /// adjacent slots.
    fn stretched(self, length: usize) -> Self {
        if self.table.len() == length {
            return self;
        }
        Self { table: stretched(&self.table, length), moves: stretched(&self.moves, length) }
    }

    fn get(&self, index: usize) -> Slot {
        let (entry, moved) = (self.table[index], self.moves[index]);
        let now = entry & !MOVED;
        if entry & MOVED == 0 {
            return Slot::steady(now);
        }
        Slot { now, base: moved.base, moved: Some(moved.since) }
    }

    fn set(&mut self, index: usize, slot: Slot) {
        let Slot { now, base, moved } = slot;
        self.table[index] = now | if moved.is_some() { MOVED } else { 0 };
        self.moves[index] = Move { base, since: moved.unwrap_or(slot::LONG_AGO) };
    }

    /// Returns the number of slots in transition.
    #[must_use]
    pub fn moved(&self) -> u32 {
        self.table.iter().filter(|entry| **entry & MOVED != 0).count() as u32
    }

    /// Moves the slots to the reals in `turns`. `alive` are the reals of the pool: flows of other reals have
    /// been removed.
    pub fn move_to(&mut self, turns: &[u32], alive: &BTreeSet<u32>, clock: Clock) {
        for (index, turn) in turns.iter().enumerate() {
            let old = self.get(index);
            let mut new = old.moved_to(*turn, clock.tick, clock.timeout);
            if !alive.contains(&new.base) {
                new = new.without_base();
            }
            if new != old {
                self.set(index, new);
            }
        }
    }

    /// Marks every slot as moved just now, because some of its tracked flows may be on other reals.
    pub fn distrust(&mut self, clock: Clock) {
        for index in 0..self.table.len() {
            let Slot { now, .. } = self.get(index);
            self.set(index, Slot { now, base: now, moved: Some(slot::since(clock.tick)) });
        }
    }

    /// Returns the number of slots in which untracked flows may be on a real, by real.
    #[must_use]
    pub fn bases(&self, clock: Clock) -> BTreeMap<u32, u32> {
        let mut bases = BTreeMap::new();
        for slot in (0..self.table.len()).map(|index| self.get(index)) {
            let spoken = |at| at == slot::LONG_AGO || ticks::age(at, clock.tick) > clock.timeout;
            // After the timeout, each living flow has sent a packet: untracked ones are on `now`.
            let real = if slot.moved.is_some_and(spoken) { slot.now } else { slot.base };
            *bases.entry(real).or_default() += 1;
        }
        bases
    }

    /// Settles slots. `written` are the reals of tracked living flows, by slot. Returns whether anything
    /// changed.
    pub fn settle(&mut self, written: &BTreeMap<u32, BTreeSet<u32>>, clock: Clock) -> bool {
        let mut changed = false;
        for index in 0..self.table.len() {
            let old = self.get(index);
            if old.moved.is_none() {
                continue;
            }
            let reals = written.get(&(index as u32));
            let elsewhere = reals.is_some_and(|reals| reals.iter().any(|real| *real != old.now));
            let new = old.aged(clock.tick, clock.timeout, elsewhere);
            if new != old {
                self.set(index, new);
                changed = true;
            }
        }
        changed
    }
}

/// Returns the slots of a service whose table becomes `turns`. `old` are the slots in the maps and the
/// previous entry of the service; `None` if it is new.
#[must_use]
pub fn transition(
    old: Option<(Slots, &Service)>,
    turns: Vec<u32>,
    alive: &BTreeSet<u32>,
    clock: Clock,
) -> Slots {
    // Without slots there was no real, so there are no flows.
    let Some((slots, before)) = old.filter(|(slots, _)| !slots.table.is_empty()) else {
        return Slots::steady(turns);
    };
    let was_written_down = before.tracking == Tracking::Full as u32;
    if !Scheduler::hashes(before.scheduler) || !turns.len().is_multiple_of(slots.table.len()) {
        // All flows are tracked, and their reals are unrelated to the old table.
        let mut slots = Slots::steady(turns);
        slots.distrust(clock);
        return slots;
    }
    let mut slots = slots.stretched(turns.len());
    if was_written_down {
        slots.distrust(clock);
    }
    slots.move_to(&turns, alive, clock);
    slots
}

#[cfg(test)]
mod failures;
#[cfg(test)]
mod tests {
    use super::*;

    const T: u32 = 100;

    fn at(tick: u32) -> Clock {
        Clock { tick, timeout: T }
    }

    fn table(real: impl Fn(usize) -> u32) -> Vec<u32> {
        (0..4096).map(real).collect()
    }

    fn service(scheduler: Scheduler, tracking: Tracking) -> Service {
        Service {
            id: 1,
            first: 0,
            slots: 4096,
            scheduler: scheduler as u32,
            tracking: tracking as u32,
            persistent: 0,
            prefix: 128,
            flags: 0,
        }
    }

    #[test]
    fn a_new_service_stands_still() {
        let slots = transition(None, table(|_| 1), &[1].into(), at(5));
        assert_eq!(slots.moved(), 0);
    }

    #[test]
    fn only_slots_that_change_are_moved_and_they_settle() {
        let auto = service(Scheduler::Mh, Tracking::Auto);
        let old = Slots::steady(table(|_| 1));
        let turns = table(|index| if index < 10 { 2 } else { 1 });
        let mut slots = transition(Some((old, &auto)), turns, &[1, 2].into(), at(5));
        assert_eq!(slots.moved(), 10);
        assert_eq!(slots.get(3), Slot { now: 2, base: 1, moved: Some(5) });

        // A flow in slot 3 is still on real 1 after T.
        let written = BTreeMap::from([(3, BTreeSet::from([1])), (4, BTreeSet::from([2]))]);
        assert!(!slots.settle(&written, at(5 + T)), "too early");
        assert!(slots.settle(&written, at(6 + T)));
        assert_eq!(slots.moved(), 1);
        assert!(slots.settle(&BTreeMap::new(), at(7 + T)));
        assert_eq!(slots.moved(), 0);
        assert_eq!(slots.get(3), Slot::steady(2));
    }

    #[test]
    fn a_removed_real_is_nobodys_base() {
        let auto = service(Scheduler::Mh, Tracking::Auto);
        let old = Slots::steady(table(|index| 1 + (index % 2) as u32));
        let slots = transition(Some((old, &auto)), table(|_| 1), &[1].into(), at(5));
        assert_eq!(slots.get(1), Slot { now: 1, base: 1, moved: Some(5) });
        assert_eq!(slots.get(0), Slot::steady(1));
    }

    #[test]
    fn flows_that_were_written_down_are_believed_before_the_slot() {
        for before in [service(Scheduler::Rotate, Tracking::Full), service(Scheduler::Mh, Tracking::Full)] {
            let old = Slots::steady(table(|_| 1));
            let slots = transition(Some((old, &before)), table(|_| 2), &[1, 2].into(), at(5));
            assert_eq!(slots.moved(), 4096);
            assert_eq!(slots.get(0).now, 2);
        }
    }

    #[test]
    fn a_table_grows_without_moving_a_flow() {
        let auto = service(Scheduler::Mh, Tracking::Auto);
        let mut old = Slots::steady(table(|index| 1 + (index % 2) as u32));
        old.set(7, Slot { now: 2, base: 1, moved: Some(3) });
        let turns: Vec<u32> = (0..8192).map(|index| if index == 9 { 3 } else { 1 + index / 2 % 2 }).collect();
        let slots = transition(Some((old, &auto)), turns, &[1, 2, 3].into(), at(5));
        assert_eq!(slots.table.len(), 8192);
        assert_eq!(slots.get(8), Slot::steady(1), "half of slot 4");
        assert_eq!(slots.get(9), Slot { now: 3, base: 1, moved: Some(5) }, "the other half");
        assert_eq!((slots.get(14), slots.get(15)), (Slot { now: 2, base: 1, moved: Some(3) }, slots.get(14)));
        assert_eq!(slots.moved(), 3);
    }
}
