// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! A table in memory.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::super::{
    Entry, Event, Geometry, Inserted, Key, Limits, Newcomer, PLACES, Pair, Seen, Shape, Table, Value,
    Words as _, find,
};
use crate::{ids::RealId, schema::Timeouts};

/// A table of [`Geometry::MIN_BUCKETS`] buckets in memory, with the loads of its reals.
pub struct Memory {
    words: Vec<AtomicU64>,
    words_per_bucket: usize,
    geometry: Geometry,
    limits: Limits,
    loads: Arc<[AtomicU64]>,
    events: [AtomicU64; Event::COUNT],
}

impl Memory {
    /// Creates an empty table for keys of this type, and for reals with ids below `reals`.
    pub fn new<K: Key>(reals: usize) -> Self {
        let loads = (0..reals).map(|_| AtomicU64::new(0)).collect();
        Self::with_loads(Geometry::MIN_BUCKETS, PLACES * K::WORDS, loads)
    }

    /// Creates an empty table of another size, for the same keys and with the same loads.
    pub fn resized(&self, buckets: u32) -> Self {
        Self::with_loads(buckets, self.words_per_bucket, Arc::clone(&self.loads))
    }

    fn with_loads(buckets: u32, words_per_bucket: usize, loads: Arc<[AtomicU64]>) -> Self {
        let words = buckets as usize * words_per_bucket;
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            words_per_bucket,
            geometry: Geometry::new(buckets).unwrap(),
            limits: Limits::of(&Timeouts::DEFAULT),
            loads,
            events: Default::default(),
        }
    }

    pub fn shape(&self) -> Shape {
        Shape {
            mixing: super::MIXING,
            geometry: self.geometry,
            limits: self.limits,
            replaced: Geometry::default(),
        }
    }

    pub fn words(&self) -> &[AtomicU64] {
        &self.words
    }

    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn buckets(&self) -> impl Iterator<Item = &[AtomicU64]> {
        self.words.chunks(self.words_per_bucket)
    }

    pub fn bucket(&self, number: u32) -> &[AtomicU64] {
        let first = number as usize * self.words_per_bucket;
        &self.words[first..first + self.words_per_bucket]
    }

    pub fn events(&self, event: Event) -> u64 {
        self.events[event as usize].load(Ordering::Relaxed)
    }

    pub fn loads(&self) -> impl Iterator<Item = u64> {
        self.loads.iter().map(|load| load.load(Ordering::Relaxed))
    }

    /// Adds to the load of a real.
    pub fn change(&self, real: RealId, change: u64) {
        self.loads[real.0 as usize].fetch_add(change, Ordering::Relaxed);
    }

    pub fn happened(&self, event: Event) {
        self.events[event as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// A table whose buckets are found by number.
pub trait Store<K: Key>: Table<K> + Copy {
    fn memory(&self) -> &Memory;

    fn bucket(&self, number: u32) -> Self::Bucket;

    /// Returns the buckets of a flow.
    fn pair(&self, key: &K) -> Pair<Self::Bucket> {
        let (hash, geometry) = (key.hash(), self.memory().geometry());
        Pair {
            first: self.bucket(geometry.first(hash)),
            second: self.bucket(geometry.second(hash)),
            line: key.line(),
        }
    }

    fn find(&self, key: &K) -> Option<Entry<Self::Bucket>> {
        find(self.pair(key), key)
    }

    fn add(&self, key: &K, value: Value, now: Seen, newcomer: Newcomer) -> Inserted {
        self.insert(self.pair(key), key, value, now, newcomer)
    }
}

/// The table as it is used.
#[derive(Clone, Copy)]
pub struct View<'a>(pub &'a Memory);

impl<'a, K: Key> Table<K> for View<'a> {
    type Bucket = &'a [AtomicU64];

    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    fn add_load(&self, real: RealId, change: u64) {
        self.0.change(real, change);
    }

    fn count(&self, event: Event) {
        self.0.happened(event);
    }
}

impl<K: Key> Store<K> for View<'_> {
    fn memory(&self) -> &Memory {
        self.0
    }

    fn bucket(&self, number: u32) -> Self::Bucket {
        self.0.bucket(number)
    }
}

/// The entries of a table at rest, compared with its loads.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct AtRest {
    /// Live entries.
    pub live: usize,
    /// Keys with more than one live entry.
    pub twice: usize,
    /// Entries that a CPU claimed and did not finish.
    pub busy: usize,
    /// Live entries whose value has another generation.
    pub torn: usize,
    /// Reals whose load is not that of their entries.
    pub off: usize,
}

impl AtRest {
    /// Examines a table. `identity` returns what distinguishes an entry: its key word, bucket and first word.
    pub fn of<K: Key>(memory: &Memory, identity: impl Fn(u64, u32, usize) -> Vec<u64>) -> Self {
        use super::super::{KeyWord, Status};
        let mut found = Self::default();
        let mut expected = vec![0_u64; memory.loads.len()];
        let mut keys = std::collections::HashSet::new();
        for (number, bucket) in memory.buckets().enumerate() {
            for place in 0..PLACES {
                let at = K::place(place);
                let (word, value) = (KeyWord(bucket.load(at)), Value(bucket.load(K::value_at(at))));
                if word.is(Status::Busy) || word.is(Status::Killed) {
                    found.busy += 1;
                }
                if !word.is(Status::Live) {
                    continue;
                }
                if word.generation() != value.generation() {
                    found.torn += 1;
                } else if !value.is_dead() {
                    found.live += 1;
                    let load = &mut expected[value.real().0 as usize];
                    *load = load.wrapping_add(value.load());
                    if !keys.insert(identity(word.0, number as u32, at)) {
                        found.twice += 1;
                    }
                }
            }
        }
        found.off = memory.loads().zip(expected).filter(|(load, expected)| load != expected).count();
        found
    }

    /// Returns whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.twice + self.busy + self.torn + self.off == 0
    }
}
