// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Tables that replace each other while packets arrive.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use super::{
    super::{Entry, Event, Inserted, Narrow, Newcomer, PLACES, Phase, Seen, Table, Value},
    narrow,
    stress::narrow_identity,
    table::{AtRest, Memory, Store as _, View},
};
use crate::{ids::RealId, packet::tcp_flags::ACK, ticks::Tick};

const NOW: Seen = Seen::of(Tick(1 << 20));
const FLOWS: u32 = 8000;
const REALS: usize = 100;
/// A real that no flow has.
const NONE: RealId = RealId(99);

/// Returns the real of a flow.
const fn real(flow: u32) -> RealId {
    RealId(flow % 97 + 1)
}

/// Returns a table with all flows, half of them half-open.
fn filled() -> Memory {
    let memory = Memory::new::<Narrow>(REALS);
    for flow in 0..FLOWS {
        let phase = if flow % 2 == 0 { Phase::Established } else { Phase::SynReceived };
        let value = Value::new(real(flow), NOW, phase);
        assert_eq!(View(&memory).add(&narrow(flow), value, NOW, Newcomer::Unproven), Inserted::Added);
    }
    memory
}

/// Moves all entries into another table, as the daemon does, and returns how many of them found no place.
fn move_all(old: &Memory, new: &Memory) -> usize {
    let store = View(new);
    let mut full = 0;
    for (number, bucket) in old.buckets().enumerate() {
        for place in 0..PLACES {
            // An entry that changes meanwhile is read again.
            while let Some((word, entry)) = Entry::at_place::<Narrow>(bucket, place) {
                let Some(key) = Narrow::of_entry(word, number as u32, old.geometry()) else { continue };
                if store.take_over(store.pair(&key), &key, &entry, NOW) == Inserted::Full {
                    full += 1;
                    break;
                }
            }
        }
    }
    full
}

#[track_caller]
fn has_all_flows(memory: &Memory) {
    for flow in 0..FLOWS {
        let entry = View(memory).find(&narrow(flow)).expect("each flow has been moved");
        assert_eq!(entry.value().real(), real(flow));
    }
    let at_rest = AtRest::of::<Narrow>(memory, narrow_identity(memory));
    assert!(at_rest.is_clean() && at_rest.live == FLOWS as usize, "{at_rest:?}");
}

#[test]
fn a_table_doubles_and_halves_without_losing_a_flow() {
    let mut memory = filled();
    let smallest = memory.geometry().buckets();
    for factor in [2, 4, 32, 2, 1] {
        let next = memory.resized(smallest * factor);
        assert_eq!(move_all(&memory, &next), 0);
        has_all_flows(&next);
        assert_eq!(next.events(Event::Evicted), 0);
        memory = next;
    }
}

#[test]
fn a_table_that_is_too_small_keeps_the_flows_of_the_highest_rank() {
    let memory = Memory::new::<Narrow>(REALS).resized(4096);
    let add = |flow, phase| {
        let value = Value::new(real(flow), NOW, phase);
        View(&memory).add(&narrow(flow), value, NOW, Newcomer::Unproven)
    };
    // 24,000 flows for 16,384 places, and the proven ones fit.
    (0..8000).for_each(|flow| assert_eq!(add(flow, Phase::Established), Inserted::Added));
    (8000..24_000).for_each(|flow| assert_eq!(add(flow, Phase::SynReceived), Inserted::Added));
    let small = memory.resized(2048);
    move_all(&memory, &small);
    assert!((0..8000).all(|flow| View(&small).find(&narrow(flow)).is_some()));
}

#[test]
fn packets_find_their_flows_while_tables_replace_each_other() {
    let mut memory = filled();
    let smallest = memory.geometry().buckets();
    let packets = AtomicU64::new(0);
    for factor in [2, 1, 4, 1, 2, 1, 8, 1] {
        let next = memory.resized(smallest * factor);
        let end = AtomicBool::new(false);
        thread::scope(|scope| {
            for cpu in 0..2 {
                let (old, new, end, packets) = (View(&memory), View(&next), &end, &packets);
                scope.spawn(move || {
                    for turn in (0..).step_by(7 + cpu) {
                        if end.load(Ordering::Relaxed) {
                            break;
                        }
                        packet(turn % FLOWS, old, new);
                        packets.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let begun = packets.load(Ordering::Relaxed);
            while packets.load(Ordering::Relaxed) < begun + 100 {
                thread::yield_now();
            }
            assert_eq!(move_all(&memory, &next), 0);
            end.store(true, Ordering::Relaxed);
        });
        // Moves the entries that packets have changed in the old table behind the daemon.
        assert_eq!(move_all(&memory, &next), 0);
        assert_eq!(AtRest::of::<Narrow>(&memory, narrow_identity(&memory)).live, 0);
        has_all_flows(&next);
        memory = next;
    }
}

/// Handles a packet of a flow that is in one of the tables.
#[track_caller]
fn packet(flow: u32, old: View<'_>, new: View<'_>) {
    let key = narrow(flow);
    let value = if let Some(entry) = new.find(&key) {
        let value = entry.value();
        if value.after(ACK, NOW) != value {
            let _whether = Table::<Narrow>::replace(&new, &entry, value.after(ACK, NOW));
        }
        value
    } else {
        let inserted = match old.find(&key) {
            Some(entry) => match new.take_over(new.pair(&key), &key, &entry, NOW) {
                Inserted::Added => Inserted::Other(entry.value()),
                other @ (Inserted::Other(_) | Inserted::Full | Inserted::Unknown) => other,
            },
            // The flow has moved since the look into the new table.
            None => new.add(&key, Value::new(NONE, NOW, Phase::NewUdp), NOW, Newcomer::Unproven),
        };
        match inserted {
            Inserted::Other(value) => value,
            // Two CPUs move the flow at this moment.
            Inserted::Unknown => return,
            other @ (Inserted::Added | Inserted::Full) => panic!("flow {flow} was nowhere: {other:?}"),
        }
    };
    assert_eq!(value.real(), real(flow), "flow {flow}");
}
