// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Entries: their key words, how a flow finds its entry, and changes of a live entry.

use super::{Key, PLACES, Pair, Value, Words};

/// The status of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u64)]
pub enum Status {
    /// The entry is free.
    Empty = 0,
    /// A CPU has claimed the entry and writes it. No other CPU writes its value.
    Busy = 1,
    /// The entry is in use; its value tells whether it is dead.
    Live = 2,
    /// Busy, and another CPU has inserted the same flow: the owner gives up.
    Killed = 3,
}

/// The first word of an entry.
///
/// | bits | narrow | wide |
/// |---|---|---|
/// | 0–7 | generation, which increases with each claim | the same |
/// | 8–9 | [`Status`] | the same |
/// | 10 | whether the entry is in the flow's second bucket | 0 |
/// | 11–63 | the lower 53 bits of the hash | 16–31 destination port, 32–47 service, 48–63 client's port |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyWord(
    /// The word.
    pub u64,
);

impl KeyWord {
    /// Number of the hash's upper bits that the word of a narrow key lacks.
    pub(super) const MISSING: u32 = 11;
    const STATUS: u32 = 8;
    const SECOND: u32 = 10;

    /// Creates the word of a live entry of generation 0, of key bits above bit 10.
    #[inline(always)]
    #[must_use]
    pub(super) const fn live(bits: u64, in_second: bool) -> Self {
        Self(bits | (in_second as u64) << Self::SECOND | (Status::Live as u64) << Self::STATUS)
    }

    /// Returns the word with another status and generation.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, status: Status, generation: u64) -> Self {
        let key = self.0 >> Self::SECOND << Self::SECOND;
        Self(key | (status as u64) << Self::STATUS | generation & Value::GENERATION)
    }

    /// Returns the word of a free entry.
    #[inline(always)]
    #[must_use]
    pub const fn empty(generation: u64) -> Self {
        Self(generation & Value::GENERATION)
    }

    /// Returns the generation.
    #[inline(always)]
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.0 & Value::GENERATION
    }

    /// Returns the number of the status.
    #[inline(always)]
    #[must_use]
    pub const fn status_number(self) -> u64 {
        self.0 >> Self::STATUS & 3
    }

    /// Returns whether the entry has this status.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, status: Status) -> bool {
        self.status_number() == status as u64
    }

    /// Returns whether the entry is in the second bucket of its flow; narrow entries only.
    #[inline(always)]
    #[must_use]
    pub const fn is_in_second(self) -> bool {
        self.0 >> Self::SECOND & 1 == 1
    }

    /// Returns the generation of the entry with this word if the entry is live and its key is that of `wanted`, a word
    /// of generation 0. One comparison tells both.
    #[inline(always)]
    #[must_use]
    pub const fn matched(self, wanted: Self) -> Option<u64> {
        let generation = self.0 ^ wanted.0;
        if generation <= Value::GENERATION { Some(generation) } else { None }
    }

    /// Returns the bits in which the keys of two words differ, regardless of status and generation.
    #[inline(always)]
    #[must_use]
    pub const fn difference(self, other: Self) -> u64 {
        (self.0 ^ other.0) >> Self::SECOND
    }
}

/// The live entry of a flow, as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Entry<B> {
    bucket: B,
    /// Index of the value word.
    at: usize,
    value: Value,
}

impl<B: Words> Entry<B> {
    /// Returns the entry that begins at a word of a bucket, and its key word, if it is live.
    #[inline(always)]
    pub fn at_place<K: Key>(bucket: B, place: usize) -> Option<(KeyWord, Self)> {
        let at = K::place(place);
        let word = KeyWord(bucket.load(at));
        if !word.is(Status::Live) {
            return None;
        }
        Some((word, Self::checked(bucket, K::value_at(at), word.generation())?))
    }

    /// Returns the entry whose value is the word `at`, if its value has the generation and is not dead.
    #[inline(always)]
    fn checked(bucket: B, at: usize, generation: u64) -> Option<Self> {
        let value = Value(bucket.load(at));
        if value.generation() != generation || value.is_dead() {
            return None;
        }
        Some(Self { bucket, at, value })
    }

    /// Returns the entry whose value, the word `at` of the bucket, was `value`.
    #[inline(always)]
    pub const fn with_value(bucket: B, at: usize, value: Value) -> Self {
        Self { bucket, at, value }
    }

    /// Returns the index of the value in the bucket.
    #[inline(always)]
    pub const fn at(&self) -> usize {
        self.at
    }

    /// Returns the value.
    #[inline(always)]
    pub const fn value(&self) -> Value {
        self.value
    }

    /// Replaces the value by one of any generation, and returns whether it did: another CPU may have changed or
    /// replaced the entry. The caller accounts for the change of the load.
    #[inline(always)]
    #[must_use = "the caller accounts for the change of the load"]
    pub fn replace(&self, new: Value) -> bool {
        let new = new.at_generation(self.value.generation());
        self.bucket.compare_exchange(self.at, self.value.0, new.0) == self.value.0
    }
}

/// Returns the entry of a flow in one of its buckets.
#[inline(always)]
pub fn find_in<B: Words, K: Key>(bucket: B, in_second: bool, key: &K) -> Option<Entry<B>> {
    let wanted = key.word(in_second);
    let line = key.line();
    for number in 0..PLACES {
        let at = K::variable_place(line ^ number);
        if let Some(generation) = KeyWord(bucket.load(at)).matched(wanted)
            && key.has_rest(bucket, at)
            && let Some(entry) = Entry::checked(bucket, K::value_at(at), generation)
        {
            return Some(entry);
        }
    }
    None
}

/// Returns the entry of a flow.
#[inline(always)]
pub fn find<B: Words, K: Key>(pair: Pair<B>, key: &K) -> Option<Entry<B>> {
    find_in(pair.first, false, key).or_else(|| find_in(pair.second, true, key))
}
