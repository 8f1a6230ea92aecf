// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Keys of the flow table, and the buckets in which a flow may be.

use super::{Limits, Mixing, PLACES, Value, Words, entry::KeyWord, opaque::opaque};
use crate::{
    layout::layout,
    wire::{Be16, Be32, Be128},
};

/// Words of a bucket of narrow entries: 128 bytes.
pub const NARROW_WORDS: usize = PLACES * Narrow::WORDS;
/// Words of a bucket of wide entries: 256 bytes.
pub const WIDE_WORDS: usize = PLACES * Wide::WORDS;

/// The number of buckets of a table, and the choice of two of them for a hash.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Geometry {
    /// 64 less the binary logarithm of the number of buckets.
    shift: u32,
    /// The number of buckets less one.
    mask: u32,
}

impl Geometry {
    /// The smallest number of buckets: key words of narrow entries lack the bits that the number of the first bucket
    /// has then.
    pub const MIN_BUCKETS: u32 = 1 << KeyWord::MISSING;

    /// Returns the geometry of a table, if the number of buckets is a power of two and large enough.
    #[must_use]
    pub const fn new(buckets: u32) -> Option<Self> {
        if !buckets.is_power_of_two() || buckets < Self::MIN_BUCKETS {
            return None;
        }
        Some(Self { shift: 64 - buckets.trailing_zeros(), mask: buckets - 1 })
    }

    /// Returns whether this is the geometry of no table, which is the default.
    #[inline(always)]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.mask == 0
    }

    /// Returns the number of buckets.
    #[must_use]
    pub const fn buckets(self) -> u32 {
        self.mask + 1
    }

    /// Returns the first bucket of a hash.
    #[inline(always)]
    #[must_use]
    pub const fn first(self, hash: u64) -> u32 {
        (hash >> (self.shift & 63)) as u32
    }

    /// Returns the second bucket of a hash, which differs from the first one.
    #[inline(always)]
    #[must_use]
    pub const fn second(self, hash: u64) -> u32 {
        self.first(hash) ^ (hash as u32 & self.mask | 1)
    }
}

/// Parameters of a table, which the programs and the daemon share.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// The secret of the table.
    pub mixing: Mixing,
    /// The number of buckets.
    pub geometry: Geometry,
    /// The ages at which flows expire.
    pub limits: Limits,
    /// The number of buckets of the table that this one replaces, which has the same secret, while flows move from there;
    /// otherwise that of no table.
    pub replaced: Geometry,
}
layout!(Shape, size: 72, align: 8);

impl Shape {
    /// Returns whether flows may be in the table that this one replaces.
    #[inline(always)]
    #[must_use]
    pub const fn takes_over(&self) -> bool {
        !self.replaced.is_none()
    }
}

/// The two buckets of a flow, and the index of the place in them where the search begins: that of a cache line, so that
/// entries of a bucket are spread over its lines.
#[derive(Clone, Copy, Debug)]
pub struct Pair<B> {
    /// The bucket that is preferred.
    pub first: B,
    /// The other bucket.
    pub second: B,
    /// Index of the first place, see [`Key::line`].
    pub line: usize,
}

impl<B: Words> Pair<B> {
    /// Returns the bucket of a position, out of twice [`PLACES`].
    #[inline(always)]
    pub(super) fn bucket(self, position: usize) -> B {
        if position < PLACES { self.first } else { self.second }
    }
}

/// A key of the flow table.
pub trait Key: Copy {
    /// Words of an entry.
    const WORDS: usize;
    /// Bits of the index of a place that name its cache line.
    const LINES: usize;

    /// Returns the hash, which determines the buckets.
    fn hash(&self) -> u64;

    /// Returns the key word of a live entry of generation 0 in the first or in the second bucket.
    fn word(&self, in_second: bool) -> KeyWord;

    /// Returns whether the rest of the key is that of the entry which begins at word `at`.
    fn has_rest<B: Words>(&self, bucket: B, at: usize) -> bool;

    /// Writes value and rest of the key of a claimed entry, and returns the previous value. A reader of the new rest
    /// also reads the new value afterwards, and sees by its generation that it does not belong to the key word that
    /// it read before. A full barrier follows the last write.
    fn publish<B: Words>(&self, bucket: B, at: usize, value: Value) -> Value;

    /// Returns the index of the place at which a search begins.
    #[inline(always)]
    fn line(&self) -> usize {
        (self.hash() >> 30) as usize & Self::LINES
    }

    /// Returns the index of the value word of the entry which begins at word `at`.
    #[inline(always)]
    #[must_use]
    fn value_at(at: usize) -> usize {
        at + Self::WORDS - 1
    }

    /// Returns the index of the first word of a place, of which the lower three bits count.
    #[inline(always)]
    #[must_use]
    fn place(number: usize) -> usize {
        (number & (PLACES - 1)) * Self::WORDS
    }

    /// Returns the same for a number that is no constant. LLVM would omit the mask, where it knows the number to be low
    /// enough; the verifier of Linux 6.1 does not know it of numbers that `|` and `^` make.
    #[inline(always)]
    #[must_use]
    fn variable_place(number: usize) -> usize {
        Self::place(opaque(number as u64) as usize)
    }
}

/// Key of an entry of 16 bytes: an IPv4 client and one VIP, port and protocol, by number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Narrow {
    hash: u64,
}

impl Narrow {
    /// Creates the key of a client's flow.
    #[inline(always)]
    #[must_use]
    pub const fn new(mixing: &Mixing, client: Be32, port: Be16, service: u16) -> Self {
        let key = (client.0 as u64) << 32 | (port.0 as u64) << 16 | service as u64;
        Self { hash: mixing.mix(key) }
    }

    /// Returns the key of the entry with this key word in a bucket. Returns nothing if the word and the bucket do not
    /// belong together, as while the entry is replaced.
    #[must_use]
    pub const fn of_entry(word: KeyWord, bucket: u32, geometry: Geometry) -> Option<Self> {
        let low = word.0 >> KeyWord::MISSING;
        let first = if word.is_in_second() { bucket ^ (low as u32 & geometry.mask | 1) } else { bucket };
        let hash = (first as u64) << (geometry.shift & 63) & !(u64::MAX >> KeyWord::MISSING) | low;
        if geometry.first(hash) == first { Some(Self { hash }) } else { None }
    }

    /// Returns the client, its port and the number of the service.
    #[must_use]
    pub const fn parts(self, mixing: &Mixing) -> (Be32, Be16, u16) {
        let key = mixing.undo(self.hash);
        (Be32((key >> 32) as u32), Be16((key >> 16) as u16), key as u16)
    }
}

impl Key for Narrow {
    const WORDS: usize = 2;
    const LINES: usize = 0b100;

    #[inline(always)]
    fn hash(&self) -> u64 {
        self.hash
    }

    #[inline(always)]
    fn word(&self, in_second: bool) -> KeyWord {
        KeyWord::live(self.hash << KeyWord::MISSING, in_second)
    }

    #[inline(always)]
    fn has_rest<B: Words>(&self, _: B, _: usize) -> bool {
        true
    }

    #[inline(always)]
    fn publish<B: Words>(&self, bucket: B, at: usize, value: Value) -> Value {
        Value(bucket.swap(Self::value_at(at), value.0))
    }
}

/// Key of an entry of 32 bytes: a client of either IP version, the id of a service, and the destination port, which
/// differs from that of the service if that is 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wide {
    /// Client's port, service and destination port, from the upper bits down; the lower 16 bits are 0.
    word: u64,
    client: [u64; 2],
    hash: u64,
}

impl Wide {
    /// Creates the key of a client's flow.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        mixing: &Mixing,
        client: Be128,
        port: Be16,
        service: u16,
        destination_port: Be16,
    ) -> Self {
        let word = (port.0 as u64) << 48 | (service as u64) << 32 | (destination_port.0 as u64) << 16;
        Self::of_words(mixing, word, client.0)
    }

    #[inline(always)]
    const fn of_words(mixing: &Mixing, word: u64, client: [u64; 2]) -> Self {
        Self { word, client, hash: mixing.hash([client[0], client[1], word]) }
    }

    /// Returns the key of the entry which begins at word `at` of a bucket, if its key word is `word`.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn of_entry<B: Words>(word: KeyWord, bucket: B, at: usize, mixing: &Mixing) -> Self {
        Self::of_words(mixing, word.0 >> 16 << 16, [bucket.load(at + 1), bucket.load(at + 2)])
    }

    /// Returns the client, its port, the id of the service and the destination port.
    #[must_use]
    pub const fn parts(self) -> (Be128, Be16, u16, Be16) {
        let Self { word, client, .. } = self;
        (Be128(client), Be16((word >> 48) as u16), (word >> 32) as u16, Be16((word >> 16) as u16))
    }
}

impl Key for Wide {
    const WORDS: usize = 4;
    const LINES: usize = 0b110;

    #[inline(always)]
    fn hash(&self) -> u64 {
        self.hash
    }

    #[inline(always)]
    fn word(&self, _: bool) -> KeyWord {
        // Both buckets are possible for the key as it is: no bit names the bucket.
        KeyWord::live(self.word, false)
    }

    #[inline(always)]
    fn has_rest<B: Words>(&self, bucket: B, at: usize) -> bool {
        bucket.load(at + 1) == self.client[0] && bucket.load(at + 2) == self.client[1]
    }

    #[inline(always)]
    fn publish<B: Words>(&self, bucket: B, at: usize, value: Value) -> Value {
        // The value first: see the trait.
        let previous = bucket.swap(Self::value_at(at), value.0);
        bucket.store(at + 1, self.client[0]);
        bucket.swap(at + 2, self.client[1]);
        Value(previous)
    }
}
