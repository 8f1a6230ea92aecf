// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Schedulers that compare the loads of the reals when a connection begins: the rules of IPVS, one file each.
//!
//! Each rule is a comparison: whether a candidate is better than the best so far. The programs walk over the
//! pool in the order of IPVS, the most recently added real first, and keep the best; among equals, the first
//! one wins.

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

/// The facts of a real that a scheduler compares. Schedulers get no reals with weight 0, and no overloaded
/// ones.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Candidate {
    /// Weight, 1 to 2^31 - 1; 0 stands for "no real yet". The product of the weight and the load of as many
    /// flows as a table can hold fits 64 bits.
    pub weight: u32,
    /// Number of connections that are opening or established.
    pub active: u32,
    /// Number of connections that are closing, and of UDP flows.
    pub inactive: u32,
}

impl Candidate {
    /// Returns whether this is a real.
    #[inline(always)]
    #[must_use]
    pub const fn exists(&self) -> bool {
        self.weight != 0
    }

    /// Returns the load in units of an inactive connection, of which an active one has 256
    /// (`ip_vs_dest_conn_overhead`).
    #[inline(always)]
    #[must_use]
    pub const fn overhead(&self) -> u64 {
        ((self.active as u64) << 8) + self.inactive as u64
    }
}

/// Returns whether `load` for `weight` is less than `best_load` for `best_weight`, without a division.
#[inline(always)]
const fn lighter(load: u64, weight: u32, best_load: u64, best_weight: u32) -> bool {
    best_load * weight as u64 > load * best_weight as u64
}

#[cfg(test)]
mod reference {
    //! The rules again, over the whole pool: by exact fractions and a sort.

    use super::Candidate;

    /// Returns the index of the real with the least `key`; among equals the first.
    pub fn least<K: Ord>(pool: &[Candidate], key: impl Fn(&Candidate) -> K) -> Option<usize> {
        (0..pool.len()).filter(|&i| pool[i].exists()).min_by_key(|&i| key(&pool[i]))
    }

    /// Returns the choice of a walk over the pool with a comparison.
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
