// SPDX-License-Identifier: MIT OR Apache-2.0
//! Passive signs of the programs, read without a system call and without the director.
#![forbid(unsafe_code)]

use std::{io, os::fd::AsFd, sync::atomic::Ordering};

use lb_common::{ids::RealId, schema::Signs};

use super::mapped::MappedArray;

/// Places in a word of the mapping.
const PER_WORD: usize = 2;

/// Reader of the passive signs. A sign is at the place of its real; a few reals of a very large set-up share a place.
#[derive(Debug)]
pub struct SignReader {
    mapped: MappedArray,
    /// The words when they were last read.
    seen: Vec<u64>,
}

impl SignReader {
    /// Creates a reader for which all signs until now are old.
    pub(super) fn new(map: impl AsFd) -> io::Result<Self> {
        let words = Signs::PLACES as usize / PER_WORD;
        let mut this = Self { mapped: MappedArray::new(map, words)?, seen: vec![0; words] };
        this.new_signs();
        Ok(this)
    }

    /// Returns the place of a real.
    #[must_use]
    pub const fn place(real: RealId) -> u32 {
        Signs::place(real)
    }

    /// Returns the places of the signs since the last call.
    pub fn new_signs(&mut self) -> Vec<u32> {
        let mut places = Vec::new();
        for (index, (word, seen)) in (0..).zip(self.mapped.words().iter().zip(&mut self.seen)) {
            let now = word.load(Ordering::Relaxed);
            if now == *seen {
                continue;
            }
            let changed = (now ^ *seen).to_ne_bytes();
            let is_new = |half: &[u8]| half.iter().any(|byte| *byte != 0);
            let halves = (PER_WORD as u32 * index..).zip(changed.chunks(size_of::<u32>()));
            places.extend(halves.filter(|(_, half)| is_new(half)).map(|(place, _)| place));
            *seen = now;
        }
        places
    }
}
