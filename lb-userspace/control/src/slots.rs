// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moves of the slots of a hashing scheduler that keep living flows in place: [`lb_common::slot`] for a whole
//! table. These functions are pure.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use lb_common::{
    ids::RealId,
    schema::{Move, Scheduler, Service, Tracking},
    slot::{self, MOVED, Slot},
    ticks::{Tick, Ticks},
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
    /// Current tick.
    pub now: Tick,
    /// Longest timeout of a flow.
    pub timeout: Ticks,
}

impl Slots {
    /// Creates slots that are not in transition.
    #[must_use]
    pub fn steady(turns: &[RealId]) -> Self {
        Self { table: turns.iter().map(|real| real.0).collect(), moves: vec![Move::default(); turns.len()] }
    }

    /// Creates slots from the entries of a table, none of which is in transition.
    #[must_use]
    pub(crate) fn of_entries(table: Vec<u32>) -> Self {
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
        let current = RealId(entry & !MOVED);
        if entry & MOVED == 0 {
            return Slot::steady(current);
        }
        Slot { current, base: moved.base, moved: Some(moved.since) }
    }

    fn set(&mut self, index: usize, slot: Slot) {
        let Slot { current, base, moved } = slot;
        self.table[index] = current.0 | if moved.is_some() { MOVED } else { 0 };
        self.moves[index] = Move { base, since: moved.unwrap_or(slot::LONG_AGO) };
    }

    /// Returns the number of slots in transition.
    #[must_use]
    pub fn moved(&self) -> u32 {
        self.table.iter().filter(|entry| **entry & MOVED != 0).count() as u32
    }

    /// Moves the slots to the reals in `turns`. `alive` are the reals of the pool: flows of other reals have
    /// been removed.
    pub fn move_to(&mut self, turns: &[RealId], alive: &BTreeSet<RealId>, clock: Clock) {
        for (index, turn) in turns.iter().enumerate() {
            let old = self.get(index);
            let mut new = old.moved_to(*turn, clock.now, clock.timeout);
            if !alive.contains(&new.base) {
                new = new.without_base();
            }
            if new != old {
                self.set(index, new);
            }
        }
    }

    /// Notes that another director has announced a flow of a slot on a real. Returns whether the flow needs an entry in the
    /// flow table, and whether the slot has changed.
    pub fn announce(&mut self, index: usize, real: RealId) -> (bool, bool) {
        let old = self.get(index);
        let new = old.announced(real);
        if new != old {
            self.set(index, new);
        }
        (new.moved.is_some(), new != old)
    }

    /// Marks every slot as moved just now, because some of its tracked flows may be on other reals.
    pub fn distrust(&mut self, clock: Clock) {
        for index in 0..self.table.len() {
            let Slot { current, .. } = self.get(index);
            self.set(index, Slot { current, base: current, moved: Some(slot::since(clock.now)) });
        }
    }

    /// Returns the number of slots in which untracked flows may be on a real, by real.
    #[must_use]
    pub fn bases(&self, clock: Clock) -> BTreeMap<RealId, u32> {
        let mut bases = BTreeMap::new();
        for slot in (0..self.table.len()).map(|index| self.get(index)) {
            let spoken = |at: Tick| at == slot::LONG_AGO || at.age(clock.now) > clock.timeout;
            // After the timeout, each living flow has sent a packet: untracked ones are on `current`.
            let real = if slot.moved.is_some_and(spoken) { slot.current } else { slot.base };
            *bases.entry(real).or_default() += 1;
        }
        bases
    }

    /// Settles slots. `written` are the reals of tracked living flows, by slot. Returns whether anything
    /// changed.
    pub fn settle(&mut self, written: &BTreeMap<u32, BTreeSet<RealId>>, clock: Clock) -> bool {
        let mut changed = false;
        for index in 0..self.table.len() {
            let old = self.get(index);
            if old.moved.is_none() {
                continue;
            }
            let reals = written.get(&(index as u32));
            let elsewhere = reals.is_some_and(|reals| reals.iter().any(|real| *real != old.current));
            let new = old.aged(clock.now, clock.timeout, elsewhere);
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
    turns: &[RealId],
    alive: &BTreeSet<RealId>,
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
    slots.move_to(turns, alive, clock);
    slots
}

#[cfg(test)]
mod failures;
#[cfg(test)]
mod tests {
    use lb_common::ids::ServiceId;

    use super::*;

    const T: Ticks = Ticks(100);

    fn at(tick: u32) -> Clock {
        Clock { now: Tick(tick), timeout: T }
    }

    fn table(real: impl Fn(usize) -> u32) -> Vec<RealId> {
        (0..4096).map(real).map(RealId).collect()
    }

    fn alive<const N: usize>(reals: [u32; N]) -> BTreeSet<RealId> {
        reals.map(RealId).into()
    }

    /// Returns a slot in transition since a tick.
    fn moved(current: u32, base: u32, since: u32) -> Slot {
        Slot { current: RealId(current), base: RealId(base), moved: Some(Tick(since)) }
    }

    fn service(scheduler: Scheduler, tracking: Tracking) -> Service {
        Service {
            id: ServiceId(1),
            first: 0,
            slots: 4096,
            scheduler: scheduler as u32,
            tracking: tracking as u32,
            persistent: Ticks::ZERO,
            prefix: 128,
            number: 0,
            flags: 0,
        }
    }

    #[test]
    fn a_new_service_stands_still() {
        let slots = transition(None, &table(|_| 1), &alive([1]), at(5));
        assert_eq!(slots.moved(), 0);
    }

    #[test]
    fn only_slots_that_change_are_moved_and_they_settle() {
        let auto = service(Scheduler::Mh, Tracking::Auto);
        let old = Slots::steady(&table(|_| 1));
        let turns = table(|index| if index < 10 { 2 } else { 1 });
        let mut slots = transition(Some((old, &auto)), &turns, &alive([1, 2]), at(5));
        assert_eq!(slots.moved(), 10);
        assert_eq!(slots.get(3), moved(2, 1, 5));

        // A flow in slot 3 is still on real 1 after T.
        let written = BTreeMap::from([(3, alive([1])), (4, alive([2]))]);
        assert!(!slots.settle(&written, at(5 + T.0)), "too early");
        assert!(slots.settle(&written, at(6 + T.0)));
        assert_eq!(slots.moved(), 1);
        assert!(slots.settle(&BTreeMap::new(), at(7 + T.0)));
        assert_eq!(slots.moved(), 0);
        assert_eq!(slots.get(3), Slot::steady(RealId(2)));
    }

    #[test]
    fn an_announced_flow_on_another_real_marks_its_steady_slot() {
        let mut slots = Slots::steady(&table(|_| 1));
        assert_eq!(slots.announce(3, RealId(1)), (false, false), "found by the slot");
        assert_eq!(slots.announce(3, RealId(2)), (true, true));
        assert_eq!(slots.announce(3, RealId(1)), (true, false), "the slot may settle otherwise");
        assert_eq!(slots.get(3), moved(1, 1, slot::LONG_AGO.0));
        // Untracked flows stay on real 1, and the sweep keeps the mark while the announced flow lives.
        assert!(!slots.settle(&BTreeMap::from([(3, alive([2]))]), at(5)));
        assert!(slots.settle(&BTreeMap::new(), at(5)));
        assert_eq!(slots.get(3), Slot::steady(RealId(1)));
    }

    #[test]
    fn a_removed_real_is_nobodys_base() {
        let auto = service(Scheduler::Mh, Tracking::Auto);
        let old = Slots::steady(&table(|index| 1 + (index % 2) as u32));
        let slots = transition(Some((old, &auto)), &table(|_| 1), &alive([1]), at(5));
        assert_eq!(slots.get(1), moved(1, 1, 5));
        assert_eq!(slots.get(0), Slot::steady(RealId(1)));
    }

    #[test]
    fn flows_that_were_written_down_are_believed_before_the_slot() {
        for before in [service(Scheduler::Rotate, Tracking::Full), service(Scheduler::Mh, Tracking::Full)] {
            let old = Slots::steady(&table(|_| 1));
            let slots = transition(Some((old, &before)), &table(|_| 2), &alive([1, 2]), at(5));
            assert_eq!(slots.moved(), 4096);
            assert_eq!(slots.get(0).current, RealId(2));
        }
    }

    #[test]
    fn a_table_grows_without_moving_a_flow() {
        let auto = service(Scheduler::Mh, Tracking::Auto);
        let mut old = Slots::steady(&table(|index| 1 + (index % 2) as u32));
        old.set(7, moved(2, 1, 3));
        let turn = |index: u32| if index == 9 { 3 } else { 1 + index / 2 % 2 };
        let turns: Vec<RealId> = (0..8192).map(turn).map(RealId).collect();
        let slots = transition(Some((old, &auto)), &turns, &alive([1, 2, 3]), at(5));
        assert_eq!(slots.table.len(), 8192);
        assert_eq!(slots.get(8), Slot::steady(RealId(1)), "half of slot 4");
        assert_eq!(slots.get(9), moved(3, 1, 5), "the other half");
        assert_eq!((slots.get(14), slots.get(15)), (moved(2, 1, 3), slots.get(14)));
        assert_eq!(slots.moved(), 3);
    }
}
