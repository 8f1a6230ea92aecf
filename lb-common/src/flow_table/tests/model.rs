// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! One CPU: a table beside a map, the rank of flows in a flood, and recovered keys.

use std::{collections::HashMap, sync::atomic::AtomicU64};

use proptest::prelude::*;

use super::{
    super::{Entry, Event, Inserted, Key, Narrow, Newcomer, PLACES, Phase, Seen, Table, Value, Wide, scan},
    MIXING, narrow,
    stress::{narrow_identity, wide, wide_identity},
    table::{AtRest, Memory, Store, View},
};
use crate::ids::RealId;

const NOW: Seen = Seen::of(crate::ticks::Tick(1 << 20));

/// An event of a flow.
#[derive(Clone, Copy, Debug)]
enum Act {
    Add(u32),
    Move(u32),
    Delete(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let flow = 0_u32..400;
    prop_oneof![
        3 => flow.clone().prop_map(Act::Add),
        1 => flow.clone().prop_map(Act::Move),
        1 => flow.prop_map(Act::Delete),
    ]
}

/// Runs acts beside a map, in which nothing is evicted: the table has room for all flows.
fn beside_a_map<K: Key>(acts: &[Act], key: impl Fn(u32) -> K) -> Memory
where
    for<'a> View<'a>: Store<K>,
{
    let memory = Memory::new::<K>(1000);
    let (store, mut map) = (View(&memory), HashMap::new());
    for (turn, act) in acts.iter().enumerate() {
        let real = RealId(turn as u32 % 999 + 1);
        let value = Value::new(real, NOW, Phase::NewEstablished);
        match *act {
            Act::Add(flow) => {
                if let Some(entry) = store.find(&key(flow)) {
                    assert_eq!(map.get(&flow), Some(&entry.value().real()));
                } else {
                    let added = store.add(&key(flow), value, NOW, Newcomer::Unproven);
                    assert_eq!((added, map.insert(flow, real)), (Inserted::Added, None));
                }
            }
            Act::Move(flow) => match store.find(&key(flow)) {
                Some(entry) => {
                    assert!(store.replace(&entry, value));
                    assert!(map.insert(flow, real).is_some());
                }
                None => assert!(!map.contains_key(&flow)),
            },
            Act::Delete(flow) => match store.find(&key(flow)) {
                Some(entry) => {
                    assert!(store.replace(&entry, Value::dead(0)));
                    assert!(map.remove(&flow).is_some());
                }
                None => assert!(!map.contains_key(&flow)),
            },
        }
    }
    for (&flow, &real) in &map {
        assert_eq!(store.find(&key(flow)).map(|entry| entry.value().real()), Some(real));
    }
    assert_eq!(memory.events(Event::Evicted), 0);
    memory
}

proptest! {
    #[test]
    fn a_table_is_a_map(acts in prop::collection::vec(act(), 1..600)) {
        let memory = beside_a_map(&acts, narrow);
        assert!(AtRest::of::<Narrow>(&memory, narrow_identity(&memory)).is_clean());
    }

    #[test]
    fn a_wide_table_is_a_map(acts in prop::collection::vec(act(), 1..600)) {
        let memory = beside_a_map(&acts, wide);
        assert!(AtRest::of::<Wide>(&memory, wide_identity(&memory)).is_clean());
    }
}

/// Fills a table with flows of a phase, and returns how many got an entry.
fn fill(store: View<'_>, flows: std::ops::Range<u32>, phase: Phase, now: Seen) -> usize {
    let add = |&flow: &u32| {
        store.add(&narrow(flow), Value::new(RealId(1), now, phase), now, Newcomer::Unproven)
            == Inserted::Added
    };
    flows.filter(add).count()
}

fn present(store: View<'_>, flows: std::ops::Range<u32>) -> usize {
    flows.filter(|&flow| store.find(&narrow(flow)).is_some()).count()
}

#[test]
fn a_flood_evicts_no_proven_flow() {
    let memory = Memory::new::<Narrow>(2);
    let store = View(&memory);
    assert_eq!(fill(store, 0..8000, Phase::Established, NOW), 8000);
    for (flood, phase) in [Phase::SynReceived, Phase::NewEstablished, Phase::NewUdp].into_iter().enumerate() {
        let first = 1_000_000 * (flood as u32 + 1);
        assert!(fill(store, first..first + 100_000, phase, NOW) > 90_000);
        assert_eq!(present(store, 0..8000), 8000, "{phase:?}");
    }
    let at_rest = AtRest::of::<Narrow>(&memory, narrow_identity(&memory));
    assert!(at_rest.is_clean(), "{at_rest:?}");
}

#[test]
fn half_open_flows_go_before_unproven_ones_and_the_oldest_first() {
    let memory = Memory::new::<Narrow>(2);
    let store = View(&memory);
    let later = |units: u64| Seen::from_number(NOW.number() + units);
    // All places are in use.
    fill(store, 0..200_000, Phase::SynReceived, NOW);
    let old = present(store, 0..200_000);
    assert_eq!(old, 8 * memory.geometry().buckets() as usize);
    assert!(fill(store, 300_000..302_000, Phase::NewEstablished, later(2)) == 2000);
    // A flood of as many SYNs as there are places: the old half-open flows go, and the established ones stay.
    fill(store, 400_000..420_000, Phase::SynReceived, later(3));
    assert_eq!(present(store, 300_000..302_000), 2000);
    assert!(present(store, 0..200_000) < old / 10, "{}", present(store, 0..200_000));
}

#[test]
fn expired_flows_make_room_even_if_they_were_proven() {
    let memory = Memory::new::<Narrow>(2);
    let store = View(&memory);
    fill(store, 0..200_000, Phase::Established, NOW);
    assert_eq!(present(store, 0..200_000), 8 * memory.geometry().buckets() as usize);
    assert_eq!(fill(store, 300_000..300_100, Phase::SynReceived, NOW), 0, "proven flows stay");
    assert_eq!(memory.events(Event::Full), 200_000 - 8 * 2048 + 100);
    // 16 minutes later, a second after the timeout.
    let later = Seen::from_number(NOW.number() + 16 * 60 * 15);
    assert_eq!(fill(store, 300_000..300_100, Phase::SynReceived, later), 100);
    assert_eq!(memory.events(Event::Evicted), 0);
}

#[test]
fn a_proven_newcomer_takes_the_place_of_the_oldest_proven_flow() {
    let memory = Memory::new::<Narrow>(2);
    let store = View(&memory);
    fill(store, 0..200_000, Phase::Established, NOW);
    let value = Value::new(RealId(1), NOW, Phase::Established);
    assert_eq!(store.add(&narrow(900_000), value, NOW, Newcomer::Unproven), Inserted::Full);
    assert_eq!(store.add(&narrow(900_000), value, NOW, Newcomer::Proven), Inserted::Added);
    assert_eq!(memory.events(Event::Evicted), 1);
}

#[test]
fn half_the_places_hold_flows_without_losing_one() {
    let memory = Memory::new::<Narrow>(2);
    let store = View(&memory);
    let half = 4 * memory.geometry().buckets();
    assert_eq!(fill(store, 0..half, Phase::SynReceived, NOW), half as usize);
    assert_eq!(present(store, 0..half), half as usize);
}

#[test]
fn keys_come_back_from_the_entries() {
    let memory = Memory::new::<Narrow>(2);
    fill(View(&memory), 0..10_000, Phase::Established, NOW);
    let shape = memory.shape();
    let mut found: Vec<_> =
        scan::<Narrow>(memory.words(), &shape).map(|(key, _)| key.parts(&MIXING)).collect();
    let mut expected: Vec<_> = (0..10_000).map(|flow| narrow(flow).parts(&MIXING)).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert!(found == expected);
    let is_second = |bucket: &&[AtomicU64]| {
        (0..PLACES).any(|place| {
            Entry::at_place::<Narrow>(*bucket, place).is_some_and(|(word, _)| word.is_in_second())
        })
    };
    assert!(memory.buckets().filter(is_second).count() > 100, "hardly a flow is in its second bucket");
}

#[test]
fn wide_keys_come_back_from_the_entries() {
    let memory = Memory::new::<Wide>(2);
    let store = View(&memory);
    let mut expected = Vec::new();
    for flow in 0..5000 {
        let value = Value::new(RealId(1), NOW, Phase::Established);
        assert_eq!(store.add(&wide(flow), value, NOW, Newcomer::Unproven), Inserted::Added);
        expected.push(wide(flow).parts());
    }
    let shape = memory.shape();
    let mut found = Vec::new();
    for (key, entry) in scan::<Wide>(memory.words(), &shape) {
        assert_eq!(store.find(&key).map(|entry| entry.value()), Some(entry.value()));
        found.push(key.parts());
    }
    found.sort_unstable();
    expected.sort_unstable();
    assert!(found == expected);
}

#[test]
fn a_sweep_deletes_what_has_expired_and_nothing_else() {
    let memory = Memory::new::<Narrow>(2);
    let store = View(&memory);
    fill(store, 0..1000, Phase::SynReceived, NOW);
    fill(store, 1000..3000, Phase::Established, NOW);
    // 61 s later: half-open flows live for 60 s.
    let later = Seen::from_number(NOW.number() + 61 * 15);
    let (shape, mut deleted) = (memory.shape(), 0);
    for (_, entry) in scan::<Narrow>(memory.words(), &shape) {
        if entry.value().is_over(&shape.limits, later, 0) {
            deleted += usize::from(Table::<Narrow>::replace(&store, &entry, Value::dead(0)));
        }
    }
    assert_eq!((deleted, present(store, 0..1000), present(store, 1000..3000)), (1000, 0, 2000));
    assert!(AtRest::of::<Narrow>(&memory, narrow_identity(&memory)).is_clean());
}
