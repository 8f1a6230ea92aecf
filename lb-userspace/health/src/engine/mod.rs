// SPDX-License-Identifier: MIT OR Apache-2.0
//! The engine: a state machine that decides when to probe and what follows from results. It does no I/O, and
//! time is a parameter.
#![forbid(unsafe_code)]

mod freeze; //   signs of a sick checker
mod machine; //  state of one target
mod removed; //  targets whose check has got another name
mod schedule; // times of the probes of one target
mod sickness; // begin and end of frozen states
#[cfg(test)]
mod tests;
mod view; //     states, events, counts

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use lb_model::health::{Health, LastResult};

pub use freeze::{Cause, Frozen};
pub use view::{Event, EventKind};

use crate::{
    target::{Saved, Suspect, Target, TargetKey},
    totals::Totals,
};
use freeze::{Census, Majority, Part};
use machine::{Effect, Machine};
use removed::Removed;
use schedule::Schedule;

/// Delay of a start after which it counts as late, in milliseconds.
const LATE: u64 = 100;
/// Number of events that wait for their reader; older ones are dropped.
const EVENTS: usize = 100_000;
/// Default time for which a failure of nearly all targets does not count, in milliseconds.
pub const FREEZE_FOR: u64 = 10_000;

/// The time by two clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// Milliseconds of a clock that never jumps, from any origin.
    pub mono_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
}

/// A probe to start.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Number, for [`Engine::ended`].
    pub id: u64,
    /// Target.
    pub target: Arc<Target>,
}

/// Probes to start now, and the time of the next one.
#[derive(Clone, Debug, Default)]
pub struct Next {
    /// Probes to start now.
    pub start: Vec<Probe>,
    /// Time of the next start, by the monotonic clock; `None`: only after a probe ends or the plan changes.
    pub at: Option<u64>,
}

#[derive(Debug)]
struct Slot {
    key: Arc<TargetKey>,
    target: Arc<Target>,
    machine: Machine,
    schedule: Schedule,
    part: Part,
    /// Time of the latest fall.
    fell_at: u64,
    /// End of the time in which a fall counts as recent.
    fell_until: u64,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    by_key: BTreeMap<Arc<TargetKey>, usize>,
    by_host: HashMap<IpAddr, Vec<usize>>,
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    tickets: u64,
    in_flight: HashMap<u64, usize>,
    most_in_flight: usize,
    saved: HashMap<TargetKey, Saved>,
    census: Census,
    /// Targets that fell, with the time at which that no longer counts.
    fallen: VecDeque<(u64, usize)>,
    majority: Option<Majority>,
    /// A freeze has ended although its cause lasts: the failures count.
    is_accepted: bool,
    /// Time for which states are frozen after the first target would have gone down, in milliseconds.
    freeze_for: u64,
    canary: Option<Frozen>,
    /// Time at which the director last reached itself.
    canary_at: Option<u64>,
    events: VecDeque<Event>,
    has_changed: bool,
    totals: Totals,
    random: u64,
}

impl Engine {
    /// Creates an engine without targets that has at most `most_in_flight` probes in flight. `seed` determines
    /// the jitter.
    #[must_use]
    pub fn new(most_in_flight: usize, seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: BTreeMap::new(),
            by_host: HashMap::new(),
            heap: BinaryHeap::new(),
            tickets: 0,
            in_flight: HashMap::new(),
            most_in_flight: most_in_flight.max(1),
            saved: HashMap::new(),
            census: Census::default(),
            fallen: VecDeque::new(),
            majority: None,
            is_accepted: false,
            freeze_for: FREEZE_FOR,
            canary: None,
            canary_at: None,
            events: VecDeque::new(),
            has_changed: false,
            totals: Totals::default(),
            random: seed,
        }
    }

    /// Keeps states from before a restart for the targets of the next plan.
    pub fn restore(&mut self, saved: Vec<Saved>) {
        self.saved.extend(saved.into_iter().map(|saved| (saved.key.clone(), saved)));
    }

    /// Replaces the targets. Targets that were there keep their state, also under a new name of their check; if the
    /// definition changed, their counts begin again. Targets with the same key become one.
    pub fn plan(&mut self, targets: Vec<Target>, now: Now) {
        let mut wanted: BTreeMap<TargetKey, Target> = BTreeMap::new();
        for target in targets {
            match wanted.get_mut(&target.key) {
                Some(known) => {
                    known.hold_down = known.hold_down.max(target.hold_down);
                    known.services.extend(target.services);
                }
                None => {
                    wanted.insert(target.key.clone(), target);
                }
            }
        }
        let gone: Vec<_> = self.by_key.keys().filter(|key| !wanted.contains_key(&***key)).cloned().collect();
        let mut removed = Removed::default();
        for key in gone {
            if let Some(slot) = self.remove(&key) {
                removed.insert(slot);
            }
        }
        for (key, target) in wanted {
            if let Some(&index) = self.by_key.get(&key) {
                self.update(index, target, now);
            } else {
                let renamed = removed.take(&target);
                self.add(target, renamed, now);
            }
        }
        // A target that a later plan adds is new: what it was long ago tells nothing.
        self.saved.clear();
        self.has_changed = true;
        self.review(now);
    }

    fn add(&mut self, target: Target, renamed: Option<Machine>, now: Now) {
        let key = Arc::new(target.key.clone());
        let saved = self.saved.remove(&target.key);
        let machine = renamed.unwrap_or_else(|| Machine::new(saved.as_ref(), &target.check, now));
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.by_host.entry(key.host()).or_default().push(index);
        self.by_key.insert(Arc::clone(&key), index);
        self.slots[index] = Some(Slot {
            machine,
            schedule: Schedule::new(&key, &target.check, now.mono_ms),
            part: Part::None,
            fell_at: 0,
            fell_until: 0,
            key,
            target: Arc::new(target),
        });
        self.assign_part(index, false);
        self.enqueue(index);
    }

    fn update(&mut self, index: usize, target: Target, now: Now) {
        let Some(slot) = &mut self.slots[index] else { return };
        if *slot.target == target {
            return;
        }
        let is_redefined = slot.target.check != target.check;
        let has_other_id = slot.target.real_id != target.real_id;
        let part = slot.part;
        // The services of a part are counted: those of the old target leave it, and those of the new one enter.
        self.set_part(index, Part::None);
        let Some(slot) = &mut self.slots[index] else { return };
        slot.target = Arc::new(target);
        self.set_part(index, part);
        let Some(slot) = &mut self.slots[index] else { return };
        if is_redefined {
            slot.machine.reset_counts();
        }
        if is_redefined || has_other_id {
            // The result of a probe in flight is that of the old definition, or of another real with the old id.
            slot.schedule.flight = None;
            slot.schedule.restart(&slot.target.check, now.mono_ms);
            self.assign_part(index, false);
            self.enqueue(index);
        }
    }

    fn remove(&mut self, key: &TargetKey) -> Option<Slot> {
        let index = self.by_key.remove(key)?;
        self.set_part(index, Part::None);
        let slot = self.slots[index].take();
        if let Some(indices) = self.by_host.get_mut(&key.host()) {
            indices.retain(|one| *one != index);
            if indices.is_empty() {
                self.by_host.remove(&key.host());
            }
        }
        self.free.push(index);
        slot
    }

    /// Puts the target into the heap, in place of its earlier entry.
    fn enqueue(&mut self, index: usize) {
        let Some(slot) = &mut self.slots[index] else { return };
        self.tickets += 1;
        slot.schedule.ticket = self.tickets;
        if slot.schedule.flight.is_none() {
            self.heap.push(Reverse((slot.schedule.due, self.tickets, index)));
        }
    }

    /// Returns the probes to start now, and records them as started.
    pub fn next(&mut self, now: Now) -> Next {
        self.accept(now);
        let mut next = Next { at: self.freeze_ends(), ..Next::default() };
        while let Some(&Reverse((due, ticket, index))) = self.heap.peek() {
            let slot = match &mut self.slots[index] {
                Some(slot) if slot.schedule.ticket == ticket => slot,
                _ => {
                    self.heap.pop();
                    continue;
                }
            };
            if due > now.mono_ms {
                next.at = Some(next.at.map_or(due, |at| at.min(due)));
                break;
            }
            if self.in_flight.len() >= self.most_in_flight {
                break;
            }
            self.heap.pop();
            let delay = now.mono_ms - due;
            self.totals.late += u64::from(delay > LATE);
            self.totals.missed += u64::from(delay > u64::from(slot.target.check.timing.interval.millis()));
            slot.schedule.start(ticket, now.mono_ms);
            self.in_flight.insert(ticket, index);
            next.start.push(Probe { id: ticket, target: Arc::clone(&slot.target) });
        }
        next
    }

    /// Takes the result of a probe, and the weight that it sets, in percent. The result of a target that is
    /// gone is dropped.
    pub fn ended(&mut self, id: u64, result: LastResult, weight_percent: Option<u8>, now: Now) {
        let Some(index) = self.in_flight.remove(&id) else { return };
        let Some(slot) = self.slots[index].as_mut().filter(|slot| slot.schedule.flight == Some(id)) else {
            return;
        };
        self.totals.count(&slot.key.name, &result);
        let (code, before) = (result.code, slot.machine.essence());
        let from = slot.machine.effective();
        let effect = slot.machine.count(result, &slot.target.check, now);
        if code.verdict() == Some(true) {
            slot.machine.weight_percent = weight_percent;
        }
        self.has_changed |= slot.machine.essence() != before;
        self.assign_part(index, false);
        match effect {
            Effect::Up | Effect::Down => self.announce(index, from, now),
            Effect::None | Effect::WantsDown => (),
        }
        if code.verdict() == Some(false) && (effect == Effect::WantsDown || self.census.has_fallen()) {
            self.suspect(now);
        }
        self.review(now);
        if effect == Effect::WantsDown {
            if self.is_frozen(index) {
                self.hold_back(now);
            } else {
                self.fell(index, from, now);
            }
        }
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let random = scramble(self.random);
        if let Some(slot) = &mut self.slots[index] {
            slot.schedule.end(&slot.machine, &slot.target.check, now.mono_ms, random);
        }
        self.enqueue(index);
    }

    /// Takes a passive sign that a host or a real may have failed: the next probes start at once, and further ones at
    /// the fast interval until one succeeds or the target is down.
    pub fn hint(&mut self, suspect: Suspect, now: Now) {
        for index in self.by_host.get(&suspect.host()).cloned().unwrap_or_default() {
            if let Some(slot) = &mut self.slots[index]
                && suspect.concerns(&slot.key)
                && slot.schedule.hint(&slot.machine, &slot.target.check, now.mono_ms)
            {
                self.enqueue(index);
            }
        }
    }

    /// Returns why states are frozen, if they are.
    #[must_use]
    pub fn frozen(&self) -> Option<&Frozen> {
        self.canary.as_ref().or(self.majority.as_ref().map(|majority| &majority.frozen))
    }

    /// Updates the part of a target in the decision about freezing.
    fn assign_part(&mut self, index: usize, has_fallen: bool) {
        let Some(slot) = &self.slots[index] else { return };
        let part = match (slot.machine.effective(), slot.part) {
            (Health::Up, _) if slot.machine.is_failing() => Part::Failing,
            (Health::Up, _) => Part::Healthy,
            (Health::Down, Part::Fell) => Part::Fell,
            (Health::Down, _) if has_fallen => Part::Fell,
            _ => Part::None,
        };
        self.set_part(index, part);
    }

    fn set_part(&mut self, index: usize, part: Part) {
        let Some(slot) = &mut self.slots[index] else { return };
        self.census.change(slot.key.host(), &slot.target.services, slot.part, part);
        slot.part = part;
    }

    /// Takes a target down.
    fn fell(&mut self, index: usize, from: Health, now: Now) {
        let Some(slot) = &mut self.slots[index] else { return };
        slot.machine.go_down(slot.target.hold_down, self.is_accepted, now);
        let timing = &slot.target.check.timing;
        let window = u64::from(timing.interval.millis()) + u64::from(timing.timeout.millis());
        (slot.fell_at, slot.fell_until) = (now.mono_ms, now.mono_ms + window);
        self.fallen.push_back((slot.fell_until, index));
        self.assign_part(index, true);
        self.announce(index, from, now);
    }

    fn announce(&mut self, index: usize, from: Health, now: Now) {
        let Some(slot) = &self.slots[index] else { return };
        self.has_changed = true;
        let (key, to, last) = (Arc::clone(&slot.key), slot.machine.health, slot.machine.last.clone());
        if from != to {
            self.push_event(EventKind::Turned { key, from, to, last }, now);
        }
    }

    fn push_event(&mut self, kind: EventKind, now: Now) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Event { at_ms: now.wall_ms, kind });
    }
}

/// Returns a random number for a count (`SplitMix64`).
const fn scramble(count: u64) -> u64 {
    let mixed = (count ^ (count >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
