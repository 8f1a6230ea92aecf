// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The rule as a model: flows open, send packets, fall silent and end, the pool changes and reals are
//! removed. No living flow of a living real may ever move to another real. The check must also find rules
//! that were broken on purpose.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Idle timeout, in ticks of the model.
const T: Ticks = Ticks(50);
const REALS: u32 = 5;

/// The next event.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A pool change: new flows go to this real.
    Move(RealId),
    /// A real is removed: its flows end, and other flows are not affected.
    Remove(RealId),
    /// A client opens a flow.
    Open,
    /// The flow at this place among the living ones sends a packet.
    Speak(usize),
    /// The sweep checks whether the slot has settled.
    Sweep,
}

/// A rule that was broken on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mutation {
    None,
    SettleBlindly,
    KeepBaseWhenOld,
    BackToBaseIsSteady,
    NewFlowsAreNotRecorded,
    OldFlowsAreNotRecorded,
}

#[derive(Debug)]
struct Model {
    mutation: Mutation,
    now: Tick,
    slot: Slot,
    /// Tracked flows: real and tick of the last packet.
    entries: HashMap<u32, (RealId, Tick)>,
    /// Every living flow: real and tick of the last packet.
    flows: HashMap<u32, (RealId, Tick)>,
    next_flow: u32,
}

impl Model {
    fn new(mutation: Mutation) -> Self {
        Self {
            mutation,
            // The clock wraps during the run.
            now: Tick(u32::MAX - 500),
            slot: Slot::steady(RealId(1)),
            entries: HashMap::new(),
            flows: HashMap::new(),
            next_flow: 0,
        }
    }

    /// Runs one event, and returns the broken rule as an error.
    fn step(&mut self, pause: Ticks, event: Event) -> Result<(), String> {
        self.now = self.now.after(pause);
        let now = self.now;
        let lives = |(_, seen): &(RealId, Tick)| seen.age(now) <= T;
        self.entries.retain(|_, entry| lives(entry));
        self.flows.retain(|_, flow| lives(flow));
        match event {
            Event::Move(real) => self.move_to(real),
            Event::Remove(real) => {
                if self.slot.current == real {
                    self.move_to(RealId(real.0 % REALS + 1));
                }
                if self.slot.base == real {
                    self.slot = self.slot.without_base();
                }
                self.entries.retain(|_, (on, _)| *on != real);
                self.flows.retain(|_, (on, _)| *on != real);
            }
            Event::Open => {
                let flow = self.next_flow;
                self.next_flow += 1;
                let real = self.packet(flow, true);
                self.flows.insert(flow, (real, now));
            }
            Event::Speak(place) => {
                let mut living: Vec<u32> = self.flows.keys().copied().collect();
                living.sort_unstable();
                let Some(&flow) = living.get(place % living.len().max(1)) else { return Ok(()) };
                let (on, _) = self.flows[&flow];
                let real = self.packet(flow, false);
                if real != on {
                    return Err(format!("flow {flow} on {on} was sent to {real}: {:?}", self.slot));
                }
                self.flows.insert(flow, (on, now));
            }
            Event::Sweep => {
                let elsewhere = self.mutation != Mutation::SettleBlindly
                    && self.entries.values().any(|(real, _)| *real != self.slot.current);
                self.slot = self.slot.aged(now, T, elsewhere);
                if self.slot.moved.is_none() {
                    self.entries.clear();
                }
            }
        }
        if self.slot.moved.is_none() && !self.entries.is_empty() {
            return Err("a steady slot has entries".to_owned());
        }
        Ok(())
    }

    fn move_to(&mut self, real: RealId) {
        let before = self.slot;
        self.slot = before.moved_to(real, self.now, T);
        if self.slot == before {
            return;
        }
        if self.mutation == Mutation::KeepBaseWhenOld && before.moved.is_some() {
            self.slot.base = before.base;
        }
        if self.mutation == Mutation::BackToBaseIsSteady && self.slot.current == self.slot.base {
            self.slot.moved = None;
            self.entries.clear();
        }
    }

    /// Handles a packet as the program does, and returns its real.
    fn packet(&mut self, flow: u32, opens: bool) -> RealId {
        let Slot { current, base, moved } = self.slot;
        let Some(since) = moved else { return current };
        if let Some((real, seen)) = self.entries.get_mut(&flow) {
            *seen = self.now;
            return *real;
        }
        let Choice { real, record } = choose(current, base, since, self.now, T, opens);
        let forgotten = match self.mutation {
            Mutation::NewFlowsAreNotRecorded => opens,
            Mutation::OldFlowsAreNotRecorded => !opens,
            Mutation::None
            | Mutation::SettleBlindly
            | Mutation::KeepBaseWhenOld
            | Mutation::BackToBaseIsSteady => false,
        };
        if record && !forgotten {
            self.entries.insert(flow, (real, self.now));
        }
        real
    }
}

fn any_real() -> impl Strategy<Value = RealId> {
    (1..=REALS).prop_map(RealId)
}

fn any_event() -> impl Strategy<Value = (Ticks, Event)> {
    let event = prop_oneof![
        2 => any_real().prop_map(Event::Move),
        1 => any_real().prop_map(Event::Remove),
        8 => Just(Event::Open),
        20 => any::<usize>().prop_map(Event::Speak),
        5 => Just(Event::Sweep),
    ];
    ((1u32..5).prop_map(Ticks), event)
}

fn run(mutation: Mutation, events: &[(Ticks, Event)]) -> Result<(), String> {
    let mut model = Model::new(mutation);
    events.iter().try_for_each(|(pause, event)| model.step(*pause, *event))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_living_flow_of_a_living_real_ever_moves(
        events in proptest::collection::vec(any_event(), 1..600)
    ) {
        run(Mutation::None, &events).map_err(TestCaseError::fail)?;
    }
}

#[rstest::rstest]
#[case(Mutation::SettleBlindly)]
#[case(Mutation::KeepBaseWhenOld)]
#[case(Mutation::BackToBaseIsSteady)]
#[case(Mutation::NewFlowsAreNotRecorded)]
#[case(Mutation::OldFlowsAreNotRecorded)]
fn a_broken_rule_is_caught(#[case] mutation: Mutation) {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};

    let mut runner = TestRunner::deterministic();
    let histories = proptest::collection::vec(any_event(), 600..601);
    let caught = (0..200).any(|_| {
        let history = histories.new_tree(&mut runner).expect("a history").current();
        run(mutation, &history).is_err()
    });
    assert!(caught, "{mutation:?} went unnoticed in 200 histories");
}
