// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Two tables that are broken on purpose, as in the tests of `lb_common::flow_table`: the test must notice both.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use lb_common::flow_table::{Key, KeyWord, Mixing, NARROW_WORDS, Value, Wide, Words};
use lb_tests_ebpf::StormKey;

use crate::{
    flows::StormKeyed,
    table::{InMap, NarrowWords},
};

/// A bucket of a table without generations: each value passes for one of the entry's own generation, and an update
/// overwrites whatever is there.
#[derive(Clone, Copy)]
pub struct Careless(NarrowWords);

impl Words for Careless {
    #[inline(always)]
    fn load(self, index: usize) -> u64 {
        let word = self.0.load(index);
        if index & 1 == 0 { word } else { Value(word).at_generation(self.0.load(index - 1)).0 }
    }

    #[inline(always)]
    fn store(self, index: usize, value: u64) {
        self.0.store(index, value);
    }

    #[inline(always)]
    fn swap(self, index: usize, value: u64) -> u64 {
        self.0.swap(index, value)
    }

    #[inline(always)]
    fn compare_exchange(self, index: usize, expected: u64, new: u64) -> u64 {
        if index & 1 == 0 {
            return self.0.compare_exchange(index, expected, new);
        }
        self.0.store(index, new);
        expected
    }
}

impl InMap for Careless {
    type Memory = [u64; NARROW_WORDS];

    #[inline(always)]
    fn of(value: *mut [u64; NARROW_WORDS]) -> Self {
        Self(NarrowWords::new(value))
    }

    #[inline(always)]
    fn pointer(self) -> *mut [u64; NARROW_WORDS] {
        self.0.as_ptr()
    }
}

/// Takes a moment, so that a run of fewer packets shows the mistake.
#[inline(always)]
fn pause() {
    // SAFETY: the helper takes no arguments.
    let _now = unsafe { bpf_ktime_get_ns() };
}

/// A wide key whose entry gets its client before its value.
#[derive(Clone, Copy)]
pub struct Hasty(Wide);

impl StormKeyed for Hasty {
    #[inline(always)]
    fn of(mixing: &Mixing, key: &StormKey) -> Self {
        Self(Wide::of(mixing, key))
    }
}

impl Key for Hasty {
    const WORDS: usize = Wide::WORDS;
    const LINES: usize = Wide::LINES;

    #[inline(always)]
    fn hash(&self) -> u64 {
        self.0.hash()
    }

    #[inline(always)]
    fn word(&self, in_second: bool) -> KeyWord {
        self.0.word(in_second)
    }

    #[inline(always)]
    fn has_rest<B: Words>(&self, bucket: B, at: usize) -> bool {
        pause();
        self.0.has_rest(bucket, at)
    }

    #[inline(always)]
    fn publish<B: Words>(&self, bucket: B, at: usize, value: Value) -> Value {
        // As it is done rightly, with the previous value, and the new one afterwards.
        let previous = Value(bucket.load(Self::value_at(at)));
        self.0.publish(bucket, at, previous);
        pause();
        Value(bucket.swap(Self::value_at(at), value.0))
    }
}
