// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! A pass over a whole table, for the daemon. It takes no lock, and delays no program.

use core::sync::atomic::AtomicU64;

use super::{Entry, Key, KeyWord, Narrow, PLACES, Shape, Value, Wide};

/// A key that follows from its entry.
pub trait Recovered: Key {
    /// Returns the key of the entry that begins at word `at` of a bucket. Returns nothing if the key word does not belong
    /// into the bucket, as while the entry is replaced.
    fn of(word: KeyWord, number: u32, bucket: &[AtomicU64], at: usize, shape: &Shape) -> Option<Self>;
}

impl Recovered for Narrow {
    fn of(word: KeyWord, number: u32, _: &[AtomicU64], _: usize, shape: &Shape) -> Option<Self> {
        Self::of_entry(word, number, shape.geometry)
    }
}

impl Recovered for Wide {
    fn of(word: KeyWord, _: u32, bucket: &[AtomicU64], at: usize, shape: &Shape) -> Option<Self> {
        Some(Self::of_entry(word, bucket, at, &shape.mixing))
    }
}

/// Returns the live entries of a table with their keys, by bucket. An entry that a program replaces meanwhile occurs as it
/// was, as it is, or not at all. The entry may have another key than the result if it was replaced while it was read; a
/// change of it fails then.
pub fn scan<'a, K: Recovered>(
    words: &'a [AtomicU64],
    shape: &'a Shape,
) -> impl Iterator<Item = (K, Entry<&'a [AtomicU64]>)> {
    words.chunks_exact(PLACES * K::WORDS).zip(0..).flat_map(move |(bucket, number)| {
        (0..PLACES).filter_map(move |place| {
            let (word, entry) = Entry::at_place::<K>(bucket, place)?;
            Some((K::of(word, number, bucket, K::place(place), shape)?, entry))
        })
    })
}

/// Calls `each` with the number and the value of every place with a live entry, and `selected` with the keys of those for
/// which `each` returns true. A key takes longer to read than a value.
pub fn scan_some<K: Recovered>(
    words: &[AtomicU64],
    shape: &Shape,
    mut each: impl FnMut(usize, Value) -> bool,
    mut selected: impl FnMut(usize, K, Value),
) {
    for (bucket, number) in words.chunks_exact(PLACES * K::WORDS).zip(0_u32..) {
        for place in 0..PLACES {
            let Some((word, entry)) = Entry::at_place::<K>(bucket, place) else { continue };
            let at = number as usize * PLACES + place;
            if each(at, entry.value())
                && let Some(key) = K::of(word, number, bucket, K::place(place), shape)
            {
                selected(at, key, entry.value());
            }
        }
    }
}
