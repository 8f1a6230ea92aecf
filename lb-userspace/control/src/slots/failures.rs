// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rule of slots while reals fail, as a model of two directors. The slots of a failed real change with their base,
//! so that the real of a flow follows from the table alone: a director that has never seen the flow agrees. In slots
//! that a failure moves from one living real to another, a flow stays on its real. The check must also find rules that
//! were broken on purpose.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};

use lb_common::{
    ids::RealId,
    schema::Tracking,
    slot::{self, Slot},
    ticks::{Tick, Ticks},
};
use lb_model::Scheduler;
use lb_schedule::{Entry, Span, TableSpec};

use super::{Clock, Slots};

/// Idle timeout, in ticks of the model.
const T: Ticks = Ticks(50);
const REALS: u32 = 8;

/// A rule that was broken on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mutation {
    None,
    /// Slots of a failed real keep it as their base.
    FailedStaysBase,
    /// The flows of a failed real that are tracked stay in the flow table.
    FlowsAreNotForgotten,
    /// The slots of living reals lose their base too.
    EverySlotLosesItsBase,
}

/// Numbers that look random (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Returns the table for the reals that have not failed.
fn table(failed: &BTreeSet<RealId>) -> Vec<RealId> {
    let entry = |id: u32| Entry {
        id: RealId(id),
        address: ([10, 0, 0, id as u8], 80).into(),
        weight: u32::from(!failed.contains(&RealId(id))),
    };
    let spec = TableSpec {
        scheduler: Scheduler::Mh,
        tracking: Tracking::Auto,
        protocol: 6,
        pool: (1..=REALS).map(entry).collect(),
        cut: BTreeSet::new(),
        span: Span::default(),
    };
    spec.turns()
}

struct Director {
    slots: Slots,
    /// Tracked flows: real and tick of the last packet.
    entries: HashMap<usize, (RealId, Tick)>,
}

impl Director {
    fn fail(&mut self, failed: &BTreeSet<RealId>, now: Tick, mutation: Mutation) {
        let alive = match mutation {
            Mutation::FailedStaysBase => (1..=REALS).map(RealId).collect(),
            Mutation::EverySlotLosesItsBase => BTreeSet::new(),
            _ => (1..=REALS).map(RealId).filter(|real| !failed.contains(real)).collect(),
        };
        self.slots.move_to(&table(failed), &alive, Clock { now, timeout: T });
        if mutation != Mutation::FlowsAreNotForgotten {
            self.entries.retain(|_, (real, _)| !failed.contains(real));
        }
    }

    /// Returns the real of a packet, as the programs choose it. The number of a flow is its hash.
    fn packet(&mut self, flow: usize, opens: bool, now: Tick) -> RealId {
        self.entries.retain(|_, (_, seen)| seen.age(now) <= T);
        if let Some((real, seen)) = self.entries.get_mut(&flow) {
            *seen = now;
            return *real;
        }
        let Slot { current, base, moved } = self.slots.get(flow % self.slots.table.len());
        let Some(since) = moved else { return current };
        let choice = slot::choose(current, base, since, now, T, opens);
        if choice.record {
            self.entries.insert(flow, (choice.real, now));
        }
        choice.real
    }
}

/// Runs flows over two directors while reals fail one after the other. Returns the broken rule as an error.
fn run(seed: u64, mutation: Mutation) -> Result<(), String> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut failed, mut now) = (BTreeSet::new(), Tick(1));
    let mut turns = table(&failed);
    let new = || Director { slots: Slots::steady(&turns), entries: HashMap::new() };
    let mut directors = [new(), new()];
    // Slots that have moved between living reals: only the director that has a flow knows its real.
    let mut moved = BTreeSet::new();
    // Living flows: director, real, tick of the last packet.
    let mut flows: HashMap<usize, (usize, RealId, Tick)> = HashMap::new();
    for _ in 0..1500 {
        now = now.after(Ticks(1 + random.below(3) as u32));
        flows.retain(|_, (_, _, seen)| seen.age(now) <= T);
        if random.below(100) < 1 && failed.len() + 2 < REALS as usize {
            failed.insert(RealId(1 + random.below(REALS as usize) as u32));
            let after = table(&failed);
            let places = turns.iter().zip(&after).enumerate();
            moved.extend(
                places.filter(|(_, (old, new))| old != new && !failed.contains(*old)).map(|(at, _)| at),
            );
            turns = after;
            for director in &mut directors {
                director.fail(&failed, now, mutation);
            }
            continue;
        }
        let opens = random.below(4) == 0 || flows.is_empty();
        let flow = if opens {
            random.below(1 << 30)
        } else {
            let mut living: Vec<usize> = flows.keys().copied().collect();
            living.sort_unstable();
            living[random.below(living.len())]
        };
        let index = flow % turns.len();
        let (home, real, _) = flows.get(&flow).copied().unwrap_or((random.below(2), turns[index], Tick(0)));
        // Any director gets the next packet, unless the flow depends on its entry.
        let at = if moved.contains(&index) { home } else { random.below(2) };
        let got = directors[at].packet(flow, opens, now);
        let is_stateless = !moved.contains(&index);
        let want = if is_stateless || failed.contains(&real) { None } else { Some(real) };
        if let Some(want) = want.filter(|want| *want != got) {
            return Err(format!("seed {seed}, tick {}: a flow on {want} was sent to {got}", now.0));
        }
        if failed.contains(&got) || (is_stateless && got != turns[index]) {
            return Err(format!(
                "seed {seed}, tick {}: a flow was sent to {got}, not to {}",
                now.0, turns[index]
            ));
        }
        flows.insert(flow, (at, got, now));
    }
    Ok(())
}

#[test]
fn directors_agree_on_the_flows_of_failed_reals_without_state() {
    for seed in 0..60 {
        run(seed, Mutation::None).unwrap();
    }
}

#[test]
fn the_model_finds_rules_that_were_broken_on_purpose() {
    for mutation in
        [Mutation::FailedStaysBase, Mutation::FlowsAreNotForgotten, Mutation::EverySlotLosesItsBase]
    {
        assert!((0..60).any(|seed| run(seed, mutation).is_err()), "{mutation:?}");
    }
}

#[test]
fn a_failure_moves_few_slots_of_living_reals() {
    let before = table(&BTreeSet::new());
    for real in (1..=REALS).map(RealId) {
        let after = table(&BTreeSet::from([real]));
        let of_living = before.iter().zip(&after).filter(|(old, new)| old != new && **old != real).count();
        assert!(of_living * 10 < before.len(), "{of_living} of {}", before.len());
    }
}
