// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Two tables that are broken on purpose: the stress test must notice both.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{Event, Key, KeyWord, Limits, Narrow, Table, Value, Wide, Words},
    narrow,
    stress::{Outcome, REALS, crowded, narrow_identity, run, wide, wide_identity},
    table::{AtRest, Memory, Store, View},
};
use crate::ids::RealId;

/// The longest run: a broken table fails much earlier.
const LONGEST: Duration = Duration::from_mins(1);

/// A bucket of a table without generations: each value passes for one of the entry's own generation, and an update
/// overwrites whatever is there.
#[derive(Clone, Copy)]
struct Careless<'a> {
    words: &'a [AtomicU64],
    /// The last key word that was read.
    last: &'a Cell<u64>,
}

impl Words for Careless<'_> {
    fn load(self, index: usize) -> u64 {
        let word = self.words.load(index);
        if index.is_multiple_of(2) {
            self.last.set(word);
            return word;
        }
        Value(word).at_generation(self.last.get()).0
    }

    fn store(self, index: usize, value: u64) {
        self.words.store(index, value);
    }

    fn swap(self, index: usize, value: u64) -> u64 {
        self.words.swap(index, value)
    }

    fn compare_exchange(self, index: usize, expected: u64, new: u64) -> u64 {
        if index.is_multiple_of(2) {
            return self.words.compare_exchange(index, expected, new);
        }
        // A longer moment, so that a run of a few packets suffices.
        thread::yield_now();
        self.words.store(index, new);
        expected
    }
}

#[derive(Clone, Copy)]
struct CarelessTable<'a> {
    memory: &'a Memory,
    last: &'a Cell<u64>,
}

impl<'a> Table<Narrow> for CarelessTable<'a> {
    type Bucket = Careless<'a>;

    fn limits(&self) -> &Limits {
        self.memory.limits()
    }

    fn add_load(&self, real: RealId, change: u64) {
        self.memory.change(real, change);
    }

    fn count(&self, event: Event) {
        self.memory.happened(event);
    }
}

impl Store<Narrow> for CarelessTable<'_> {
    fn memory(&self) -> &Memory {
        self.memory
    }

    fn bucket(&self, number: u32) -> Self::Bucket {
        Careless { words: self.memory.bucket(number), last: self.last }
    }
}

/// Comparisons of clients by [`Hasty`]: a longer moment before some of them shows the mistake earlier.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// A wide key whose entry gets its client before its value.
#[derive(Clone, Copy)]
struct Hasty(Wide);

impl Key for Hasty {
    const WORDS: usize = Wide::WORDS;
    const LINES: usize = Wide::LINES;

    fn hash(&self) -> u64 {
        self.0.hash()
    }

    fn word(&self, in_second: bool) -> KeyWord {
        self.0.word(in_second)
    }

    fn has_rest<B: Words>(&self, bucket: B, at: usize) -> bool {
        if CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(16) {
            thread::yield_now();
        }
        self.0.has_rest(bucket, at)
    }

    fn publish<B: Words>(&self, bucket: B, at: usize, value: Value) -> Value {
        // As it is done rightly, with the previous value, and the new one afterwards.
        let previous = Value(bucket.load(Self::value_at(at)));
        self.0.publish(bucket, at, previous);
        // A longer moment, so that a run of a few packets suffices.
        thread::yield_now();
        Value(bucket.swap(Self::value_at(at), value.0))
    }
}

#[track_caller]
fn is_noticed(outcome: &Outcome) {
    println!("{outcome:?}");
    assert!(outcome.wrong > 0, "the stress test does not notice a broken table: {outcome:?}");
}

#[test]
fn the_stress_test_notices_values_without_generations() {
    let memory = Memory::new::<Narrow>(REALS);
    let keys = crowded(&memory, narrow);
    let began = Instant::now();
    let view = || CarelessTable { memory: &memory, last: Box::leak(Box::new(Cell::new(0))) };
    let mut outcome = run(&memory, &keys, view, |wrong| wrong > 0 || began.elapsed() > LONGEST);
    outcome.at_rest = AtRest::of::<Narrow>(&memory, narrow_identity(&memory));
    is_noticed(&outcome);
}

#[test]
fn the_stress_test_notices_a_client_that_is_written_before_the_value() {
    let memory = Memory::new::<Wide>(REALS);
    let keys: Vec<_> = crowded(&memory, wide).into_iter().map(Hasty).collect();
    let began = Instant::now();
    let mut outcome = run(&memory, &keys, || View(&memory), |wrong| wrong > 0 || began.elapsed() > LONGEST);
    outcome.at_rest = AtRest::of::<Wide>(&memory, wide_identity(&memory));
    is_noticed(&outcome);
}
