// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Two threads run packets of more flows than the table has room for, while a third one deletes entries at random.
//! Each flow has its own four reals, so that an answer with a real of another flow is noticed.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{Entry, Event, Inserted, Key, Narrow, Newcomer, PLACES, Phase, Seen, Value, Wide},
    MIXING, narrow,
    table::{AtRest, Memory, Store, View},
};
use crate::{
    ids::RealId,
    packet::tcp_flags::{ACK, FIN, RST, SYN},
    protocol,
    wire::{Be16, Be128},
};

/// Flows of a run.
pub const FLOWS: u32 = 64;
/// Buckets that the flows use: 32 places for 64 flows.
const BUCKETS: u32 = 4;
/// Reals of the flows: four each, from id 1 on.
pub const REALS: usize = 4 * FLOWS as usize + 1;

/// The results of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    pub packets: u64,
    /// Packets that were answered with a real of another flow.
    pub wrong: u64,
    /// Packets that were not answered.
    pub unknown: u64,
    pub added: u64,
    pub raced: u64,
    pub at_rest: AtRest,
}

impl Outcome {
    /// Returns whether the table made no mistake.
    pub fn is_right(&self) -> bool {
        self.wrong == 0 && self.at_rest.is_clean()
    }
}

/// Returns the flows whose buckets are among the first ones.
pub fn crowded<K: Key>(memory: &Memory, key: impl Fn(u32) -> K) -> Vec<K> {
    let geometry = memory.geometry();
    let is_near = |key: &K| geometry.first(key.hash()) < BUCKETS && geometry.second(key.hash()) < BUCKETS;
    (0..).map(key).filter(is_near).take(FLOWS as usize).collect()
}

/// Returns the key of an IPv6 client by number. The flows differ in the client only, so that all key words are the same.
pub fn wide(number: u32) -> Wide {
    Wide::new(&MIXING, Be128([0x20, u64::from(number)]), Be16(1024), 5, Be16(443))
}

/// Handles a packet of a flow. Returns its real, if it is known.
fn step<K: Key, S: Store<K>>(store: &S, flow: u32, key: &K, random: u64, now: Seen) -> Option<RealId> {
    let flags = match random >> 20 & 15 {
        0..=3 => SYN,
        4..=12 => ACK,
        13 | 14 => FIN | ACK,
        _ => RST,
    };
    let chosen = RealId(4 * flow + (random >> 30 & 3) as u32 + 1);
    let first = Value::new(chosen, now, Phase::first(protocol::TCP, flags));
    if let Some(entry) = store.find(key) {
        let value = entry.value();
        if !value.is_over(store.limits(), now, flags) {
            let next = value.after(flags, now);
            if next != value {
                let _whether = store.replace(&entry, next);
            }
            return Some(value.real());
        }
        if store.replace(&entry, first) {
            return Some(chosen);
        }
        return store.find(key).map(|entry| entry.value().real());
    }
    match store.add(key, first, now, Newcomer::Proven) {
        Inserted::Added | Inserted::Full => Some(chosen),
        Inserted::Other(value) => Some(value.real()),
        Inserted::Unknown => None,
    }
}

/// Runs packets on two threads until `is_enough`, with a sweeper.
pub fn run<K: Key + Sync, S: Store<K>>(
    memory: &Memory,
    keys: &[K],
    view: impl Fn() -> S + Sync,
    is_enough: impl Fn(u64) -> bool,
) -> Outcome {
    let end = AtomicBool::new(false);
    let [packets, wrong, unknown] = [const { AtomicU64::new(0) }; 3];
    thread::scope(|scope| {
        for cpu in 1..=2_u64 {
            let (end, packets, wrong, unknown, view) = (&end, &packets, &wrong, &unknown, &view);
            scope.spawn(move || {
                let store = view();
                let mut random = cpu;
                while !end.load(Ordering::Relaxed) {
                    for _ in 0..1000 {
                        random = next(random);
                        let flow = random as u32 % FLOWS;
                        // The clock: a tick of an entry in 8,000 packets.
                        let now = Seen::from_number(packets.load(Ordering::Relaxed) / 8000);
                        match step(&store, flow, &keys[flow as usize], random, now) {
                            Some(real) if (real.0 - 1) / 4 != flow => {
                                wrong.fetch_add(1, Ordering::Relaxed);
                            }
                            Some(_) => {}
                            None => {
                                unknown.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                    packets.fetch_add(1000, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            let store = view();
            let mut random = 3;
            while !end.load(Ordering::Relaxed) {
                for bucket in 0..BUCKETS {
                    for place in 0..PLACES {
                        random = next(random);
                        if random >> 60 == 0
                            && let Some((_, entry)) = Entry::at_place::<K>(store.bucket(bucket), place)
                        {
                            let _whether = store.replace(&entry, Value::dead(0));
                        }
                    }
                }
            }
        });
        while !is_enough(wrong.load(Ordering::Relaxed)) {
            thread::sleep(Duration::from_millis(10));
        }
        end.store(true, Ordering::Relaxed);
    });
    Outcome {
        packets: packets.into_inner(),
        wrong: wrong.into_inner(),
        unknown: unknown.into_inner(),
        added: memory.events(Event::Added),
        raced: memory.events(Event::Raced),
        at_rest: AtRest::default(),
    }
}

/// Returns the next number of a xorshift generator (Marsaglia).
const fn next(mut random: u64) -> u64 {
    random ^= random << 13;
    random ^= random >> 7;
    random ^ random << 17
}

/// Returns what distinguishes a narrow entry: its flow, from its key word and its bucket.
pub fn narrow_identity(memory: &Memory) -> impl Fn(u64, u32, usize) -> Vec<u64> {
    let geometry = memory.geometry();
    move |word, bucket, _| {
        let key = Narrow::of_entry(super::super::KeyWord(word), bucket, geometry);
        vec![key.expect("an entry is in a bucket of its flow").hash()]
    }
}

/// Returns what distinguishes a wide entry: its words without status and generation.
pub fn wide_identity(memory: &Memory) -> impl Fn(u64, u32, usize) -> Vec<u64> {
    move |word, bucket, at| {
        let words = memory.bucket(bucket);
        vec![word >> 16, words[at + 1].load(Ordering::Relaxed), words[at + 2].load(Ordering::Relaxed)]
    }
}

fn duration() -> Duration {
    Duration::from_secs(if std::env::var_os("XVS_FULL").is_some() { 60 } else { 2 })
}

#[track_caller]
fn is_right(outcome: &Outcome) {
    println!("{outcome:?}");
    assert!(outcome.is_right(), "{outcome:?}");
    assert!(outcome.added > 1000 && outcome.raced > 0, "the run was not much of a test: {outcome:?}");
    // The scheduler suspends threads between the steps of an insertion, which no program of the kernel is.
    assert!(outcome.unknown * 50 < outcome.packets, "{outcome:?}");
}

#[test]
fn no_packet_gets_the_real_of_another_flow() {
    let memory = Memory::new::<Narrow>(REALS);
    let keys = crowded(&memory, narrow);
    let began = Instant::now();
    let mut outcome = run(&memory, &keys, || View(&memory), |_| began.elapsed() > duration());
    outcome.at_rest = AtRest::of::<Narrow>(&memory, narrow_identity(&memory));
    is_right(&outcome);
}

#[test]
fn no_packet_gets_the_real_of_another_wide_flow() {
    let memory = Memory::new::<Wide>(REALS);
    let keys = crowded(&memory, wide);
    let began = Instant::now();
    let mut outcome = run(&memory, &keys, || View(&memory), |_| began.elapsed() > duration());
    outcome.at_rest = AtRest::of::<Wide>(&memory, wide_identity(&memory));
    is_right(&outcome);
}
