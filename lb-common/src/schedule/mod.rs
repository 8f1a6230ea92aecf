// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Schedulers that look at the load of each real when a connection begins: the rules of IPVS, one file each.
//!
//! Each rule is a comparison: whether a candidate is better than the best so far. The programs walk the pool in
//! IPVS's order, the real that was added last first, and keep the best; of equals the first one wins.

pub mod fo;
pub mod lblc;
pub mod lblcr;
pub mod lc;
pub mod nq;
pub mod ovf;
pub mod sed;
pub mod threshold;
pub mod twos;
pub mod wlc;

/// A real as a scheduler sees it. Reals with weight 0 and overloaded ones are never shown to it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Candidate {
    /// Its weight, 1 to 2^31 - 1; 0 stands for "no real yet". Times the load of as many flows as a table can hold, it
    /// fits 64 bits.
    pub weight: u32,
    /// Connections that are opening or established.
    pub active: u32,
    /// Connections that are closing, and those of UDP.
    pub inactive: u32,
}

impl Candidate {
    /// Whether this is a real at all.
    #[inline(always)]
    #[must_use]
    pub const fn exists(&self) -> bool {
        self.weight != 0
    }

    /// What an inactive connection weighs is a 256th of an active one (`ip_vs_dest_conn_overhead`).
    #[inline(always)]
    #[must_use]
    pub const fn overhead(&self) -> u64 {
        ((self.active as u64) << 8) + self.inactive as u64
    }
}

/// Whether `load` for `weight` is less than `best_load` for `best_weight`, without a division.
#[inline(always)]
const fn lighter(load: u64, weight: u32, best_load: u64, best_weight: u32) -> bool {
    best_load * weight as u64 > load * best_weight as u64
}

#[cfg(test)]
mod reference {
    //! The rules once more, as plainly as a whole pool allows: by exact fractions and a sort.

    use super::Candidate;

    /// The place of the real with the least `key`; of equals the first.
    pub fn least<K: Ord>(pool: &[Candidate], key: impl Fn(&Candidate) -> K) -> Option<usize> {
        (0..pool.len()).filter(|&i| pool[i].exists()).min_by_key(|&i| key(&pool[i]))
    }

    /// What a walk over the pool with a comparison chooses.
    pub fn walk(pool: &[Candidate], better: impl Fn(&Candidate, &Candidate) -> bool) -> Option<usize> {
        let (mut best, mut place) = (Candidate::default(), None);
        for (i, candidate) in pool.iter().enumerate().filter(|(_, candidate)| candidate.exists()) {
            if better(&best, candidate) {
                (best, place) = (*candidate, Some(i));
            }
        }
        place
    }

    /// An exact fraction, ordered.
    #[derive(Debug, Eq, PartialEq)]
    pub struct Fraction(pub u64, pub u64);

    impl Ord for Fraction {
        fn cmp(&self, other: &Self) -> core::cmp::Ordering {
            (u128::from(self.0) * u128::from(other.1)).cmp(&(u128::from(other.0) * u128::from(self.1)))
        }
    }

    impl PartialOrd for Fraction {
        fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }

    /// Pools in which ties are frequent and extremes occur.
    pub fn pools() -> impl proptest::strategy::Strategy<Value = Vec<Candidate>> {
        use proptest::prelude::*;
        let weight = prop_oneof![4 => 0u32..4, 1 => Just(65535u32), 1 => Just(i32::MAX as u32)];
        let count = || prop_oneof![4 => 0u32..4, 1 => 0u32..=1_000_000];
        let real = (weight, count(), count());
        let real = real.prop_map(|(weight, active, inactive)| Candidate { weight, active, inactive });
        proptest::collection::vec(real, 0..12)
    }
}
