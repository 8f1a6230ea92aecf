// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The secret mixing of keys.

/// A secret permutation of 64-bit numbers, and a keyed hash of wide keys.
///
/// A permutation can be undone: the key of an entry follows from its bits, so that no entry needs to keep the key
/// beside its hash. Without the secret, an attacker cannot choose keys that share a bucket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mixing {
    seed: u64,
    /// Two odd factors.
    factors: [u64; 2],
}

impl Mixing {
    /// Creates the mixing from three random numbers.
    #[must_use]
    pub const fn new(random: [u64; 3]) -> Self {
        Self { seed: random[0], factors: [random[1] | 1, random[2] | 1] }
    }

    /// Mixes a number.
    #[inline(always)]
    #[must_use]
    pub const fn mix(&self, number: u64) -> u64 {
        let mut x = (number ^ self.seed).wrapping_mul(self.factors[0]);
        x ^= x >> 32;
        x = x.wrapping_mul(self.factors[1]);
        x ^ x >> 32
    }

    /// Returns the number of which [`Self::mix`] makes `mixed`.
    #[must_use]
    pub const fn undo(&self, mixed: u64) -> u64 {
        let mut x = mixed ^ mixed >> 32;
        x = x.wrapping_mul(inverse(self.factors[1]));
        x ^= x >> 32;
        x.wrapping_mul(inverse(self.factors[0])) ^ self.seed
    }

    /// Hashes three words. The first two do not depend on each other: a CPU computes both at a time.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self, words: [u64; 3]) -> u64 {
        let [one, two] = self.factors;
        let mut a = (words[0] ^ self.seed).wrapping_mul(one);
        a ^= a >> 32;
        // Another factor, or halves that are exchanged would have the same sum.
        let mut b = (words[1] ^ two).wrapping_mul(one ^ crate::mix::SOURCE[0] & !1);
        b ^= b >> 29;
        let mut x = (a.wrapping_add(b) ^ words[2]).wrapping_mul(two);
        x ^= x >> 32;
        x = x.wrapping_mul(one);
        x ^ x >> 32
    }
}

/// Returns the inverse of an odd factor modulo 2^64, by Newton's method: each round doubles the number of right bits,
/// of which the factor itself has three.
const fn inverse(factor: u64) -> u64 {
    let mut x = factor;
    let mut round = 0;
    while round < 5 {
        x = x.wrapping_mul(2_u64.wrapping_sub(factor.wrapping_mul(x)));
        round += 1;
    }
    x
}
