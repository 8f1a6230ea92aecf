// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Insertion of a flow.

use super::{
    Best, Entry, Key, KeyWord, Limits, Newcomer, PLACES, Pair, Seen, Status, Value, Words, find,
    opaque::opaque, rank,
};
use crate::ids::RealId;

/// Something that happened in a table, for its counters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Event {
    /// A flow was added.
    Added = 0,
    /// A flow that had not expired was evicted.
    Evicted = 1,
    /// No place: proven flows hold all of them.
    Full = 2,
    /// Another CPU took the place first.
    Contended = 3,
    /// Another CPU added the same flow at the same time.
    Raced = 4,
}

impl Event {
    /// Number of events.
    pub const COUNT: usize = 5;

    /// All events, by number.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Added, Self::Evicted, Self::Full, Self::Contended, Self::Raced];

    /// Returns the name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Evicted => "evicted",
            Self::Full => "full",
            Self::Contended => "contended",
            Self::Raced => "raced",
        }
    }
}

/// The result of an insertion.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Inserted {
    /// The flow has an entry.
    Added,
    /// The table has no place for it.
    Full,
    /// Another CPU has added the flow at the same time: its value counts.
    Other(Value),
    /// Another CPU has added the flow at the same time, and its value is not known yet. The packet must not be
    /// forwarded: its sender repeats it.
    Unknown,
}

impl Inserted {
    const ADDED: u64 = 0;
    const FULL: u64 = 1;
    const UNKNOWN: u64 = 2;
    /// A number that stands for no result.
    pub const NONE: u64 = 3;

    /// Packs the result into one number. No value of a real has such a low number.
    #[inline(always)]
    #[must_use]
    pub const fn packed(self) -> u64 {
        match self {
            Self::Added => Self::ADDED,
            Self::Full => Self::FULL,
            Self::Unknown => Self::UNKNOWN,
            Self::Other(value) => value.0,
        }
    }

    /// Unpacks a result of [`Self::packed`].
    #[inline(always)]
    #[must_use]
    pub const fn unpacked(packed: u64) -> Self {
        match packed {
            Self::ADDED => Self::Added,
            Self::FULL => Self::Full,
            Self::UNKNOWN => Self::Unknown,
            value => Self::Other(Value(value)),
        }
    }
}

/// No other CPU inserts the flow; a result of [`settle`].
const ALONE: u64 = 0;
/// Another CPU inserts the flow and goes first; a result of [`settle`].
const YIELD: u64 = 1;

/// Attempts to claim a place. Each failure means that another CPU has succeeded.
pub const ATTEMPTS: usize = 3;

/// A flow table, and what surrounds it.
///
/// The methods with a body are the steps of [`Self::insert`]. A BPF program calls global functions instead, which the
/// verifier checks once each.
pub trait Table<K: Key> {
    /// A bucket.
    type Bucket: Words;

    /// Returns the ages at which flows have expired.
    fn limits(&self) -> &Limits;

    /// Adds to the load of a real, modulo 2^64.
    fn add_load(&self, real: RealId, change: u64);

    /// Counts an event.
    fn count(&self, event: Event);

    /// Returns the best place of a bucket, see [`rank::best`].
    #[inline(always)]
    fn best(&self, bucket: Self::Bucket, line: usize, now: Seen, newcomer: Newcomer) -> Best {
        rank::best::<_, K>(bucket, line, now, newcomer, self.limits())
    }

    /// Returns the number of entries with the key of a flow, see [`count_rivals`].
    #[inline(always)]
    fn count_rivals(&self, pair: Pair<Self::Bucket>, key: &K) -> u64 {
        count_rivals(pair, key)
    }

    /// Decides between CPUs that insert the same flow, see [`settle`].
    #[inline(always)]
    fn settle(&self, pair: Pair<Self::Bucket>, key: &K, mine: usize) -> u64 {
        settle(pair, key, mine)
    }

    /// Returns the value of a flow.
    #[inline(always)]
    fn value(&self, pair: Pair<Self::Bucket>, key: &K) -> Option<Value> {
        find(pair, key).as_ref().map(Entry::value)
    }

    /// Replaces the value of an entry, and returns whether it did: another CPU may have changed or replaced the entry.
    /// The loads of both reals are accounted for. A new value without a load, such as [`Value::dead`], deletes the entry.
    #[inline(always)]
    fn replace(&self, entry: &Entry<Self::Bucket>, new: Value) -> bool {
        let old = entry.value();
        if !entry.replace(new) {
            return false;
        }
        if old.real() != new.real() {
            self.add_load(old.real(), old.load().wrapping_neg());
            if new.load() != 0 {
                self.add_load(new.real(), new.load());
            }
        } else if old.load() != new.load() {
            self.add_load(old.real(), new.load().wrapping_sub(old.load()));
        }
        true
    }

    /// Adds the entry of a flow that has none. The load of the real, and that of an evicted flow, are accounted for.
    #[inline(always)]
    fn insert(
        &self,
        pair: Pair<Self::Bucket>,
        key: &K,
        value: Value,
        now: Seen,
        newcomer: Newcomer,
    ) -> Inserted {
        for _ in 0..ATTEMPTS {
            if let Some(inserted) = self.attempt(pair, key, value, now, newcomer) {
                return inserted;
            }
        }
        self.count(Event::Full);
        Inserted::Full
    }

    /// Tries once to add the entry of a flow. Returns nothing if another CPU has taken the place.
    #[inline(always)]
    fn attempt(
        &self,
        pair: Pair<Self::Bucket>,
        key: &K,
        value: Value,
        now: Seen,
        newcomer: Newcomer,
    ) -> Option<Inserted> {
        let (position, rank) = choose(self, pair, now, newcomer);
        if rank == 0 {
            self.count(Event::Full);
            return Some(Inserted::Full);
        }
        let (bucket, at) = (pair.bucket(position), K::variable_place(position));
        let found = KeyWord(bucket.load(at));
        let previous = Value(bucket.load(K::value_at(at)));
        // Another CPU may have taken the place since the choice.
        let (now_rank, _) = rank::rank_and_age(found, previous, now, newcomer, self.limits());
        let generation = found.generation() + 1;
        let mine = key.word(position >= PLACES).with(Status::Busy, generation);
        if now_rank < rank || bucket.compare_exchange(at, found.0, mine.0) != found.0 {
            self.count(Event::Contended);
            return None;
        }
        Some(self.fill(pair, key, value, now, (position, found, mine)))
    }

    /// Moves the entry of a flow from another table into this one, which replaces the other: a larger or a smaller one with
    /// the same mixing. Programs call this for a flow that only the other table has, and the daemon for all of its
    /// entries. The flow has an entry at any time, and two for a moment. Both are counted meanwhile.
    ///
    /// A search must look into this table, then into the other one, and then insert: a flow that moves in between is
    /// found by the insertion.
    #[inline(always)]
    fn take_over(&self, pair: Pair<Self::Bucket>, key: &K, old: &Entry<Self::Bucket>, now: Seen) -> Inserted {
        let inserted = self.insert(pair, key, old.value(), now, Newcomer::Proven);
        // Another CPU may have changed or deleted the entry: then that one has counted the change, and the entry is moved
        // again, or is gone.
        if !matches!(inserted, Inserted::Full | Inserted::Unknown) {
            let _whether = self.replace(old, Value::dead(0));
        }
        inserted
    }

    /// Writes a claimed entry: its position, and the key words before and since the claim.
    #[inline(always)]
    fn fill(
        &self,
        pair: Pair<Self::Bucket>,
        key: &K,
        value: Value,
        now: Seen,
        (position, found, mine): (usize, KeyWord, KeyWord),
    ) -> Inserted {
        let (bucket, at) = (pair.bucket(position), K::variable_place(position));
        let evicted = key.publish(bucket, at, value.at_generation(mine.generation()));
        if found.is(Status::Live) && !evicted.is_dead() {
            self.add_load(evicted.real(), evicted.load().wrapping_neg());
            if evicted.seen().age(now) <= self.limits().of_phase(evicted.phase_number()) {
                self.count(Event::Evicted);
            }
        }
        let theirs = if self.count_rivals(pair, key) > 1 { self.settle(pair, key, position) } else { ALONE };
        let live = mine.with(Status::Live, mine.generation());
        if theirs == ALONE && bucket.compare_exchange(at, mine.0, live.0) == mine.0 {
            self.add_load(value.real(), value.load());
            self.count(Event::Added);
            return Inserted::Added;
        }
        self.count(Event::Raced);
        bucket.store(K::value_at(at), Value::dead(mine.generation()).0);
        bucket.swap(at, KeyWord::empty(mine.generation()).0);
        if theirs > YIELD {
            return Inserted::Other(Value(theirs));
        }
        for _ in 0..ATTEMPTS {
            if let Some(value) = self.value(pair, key) {
                return Inserted::Other(value);
            }
        }
        Inserted::Unknown
    }
}

/// Returns the position of the best place in both buckets for a new flow, and its rank.
#[inline(always)]
fn choose<K: Key, T: Table<K> + ?Sized>(
    table: &T,
    pair: Pair<T::Bucket>,
    now: Seen,
    newcomer: Newcomer,
) -> (usize, u64) {
    let mut best = table.best(pair.first, pair.line, now, newcomer);
    let mut bucket = 0;
    if !best.suffices() {
        let second = table.best(pair.second, pair.line, now, newcomer);
        if best.is_worse_than(second) {
            best = second;
            bucket = PLACES;
        }
    }
    ((pair.line ^ best.place()) & (PLACES - 1) | bucket, best.rank())
}

/// Returns the number of entries with the key word of a flow in both buckets, regardless of their status. No branches:
/// most insertions have no rival.
#[inline(always)]
pub fn count_rivals<B: Words, K: Key>(pair: Pair<B>, key: &K) -> u64 {
    let mut rivals = 0;
    for position in 0..2 * PLACES {
        let word = KeyWord(pair.bucket(position).load(K::place(position)));
        let difference = opaque(word.difference(key.word(position >= PLACES)));
        rivals += opaque(difference.wrapping_sub(1) >> 63);
    }
    rivals
}

/// Decides between CPUs that insert the same flow. The one with the lowest position wins, unless another one is done.
/// Returns [`ALONE`] if the caller goes on, [`YIELD`] if it gives up, else the value of the other entry.
///
/// Narrow keys that differ have a word or a bucket that differs. Of wide keys, the client may differ. It is compared
/// after each reading of the key word: a word that is newer than the client may be that of another key.
#[inline(always)]
pub fn settle<B: Words, K: Key>(pair: Pair<B>, key: &K, mine: usize) -> u64 {
    for position in 0..2 * PLACES {
        let (bucket, at) = (pair.bucket(position), K::place(position));
        let wanted = key.word(position >= PLACES);
        let mut word = KeyWord(bucket.load(at));
        // The verifier must not learn from a comparison what `mine` is: it would walk on once for each position.
        let behind = opaque((position as u64).wrapping_sub(mine as u64));
        if behind == 0 || word.difference(wanted) != 0 || !key.has_rest(bucket, at) {
            continue;
        }
        if word.is(Status::Busy) {
            if behind >> 63 != 0 {
                return YIELD;
            }
            let killed = word.with(Status::Killed, word.generation());
            let seen = KeyWord(bucket.compare_exchange(at, word.0, killed.0));
            if seen == word {
                continue;
            }
            word = seen;
        }
        if let Some(generation) = word.matched(wanted)
            && key.has_rest(bucket, at)
        {
            let value = Value(bucket.load(K::value_at(at)));
            if value.generation() == generation && !value.is_dead() {
                return value.0;
            }
        }
    }
    ALONE
}
