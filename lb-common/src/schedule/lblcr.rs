// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! `lblcr`, locality-based least connections with replication: `ip_vs_lblcr.c`. A destination has a set of
//! reals. The least loaded real of the set gets the connection. If that real is full, another real is added;
//! a set that has not grown for long loses its most loaded real.

use super::{Candidate, lighter};

/// Size of the largest set that the programs keep. A set of IPVS has no bound.
pub const LARGEST_SET: usize = 8;
/// Seconds without growth after which a set loses its most loaded real (`sysctl_lblcr_expiration`).
pub const SHRINK_SECONDS: u64 = 24 * 60 * 60;

/// Returns whether the candidate is more loaded than the most loaded real so far.
#[inline(always)]
#[must_use]
pub const fn worse(worst: &Candidate, candidate: &Candidate) -> bool {
    !worst.exists() || lighter(worst.overhead(), worst.weight, candidate.overhead(), candidate.weight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::reference::*, *};

    proptest! {
        #[test]
        fn the_most_loaded_leaves(pool in pools()) {
            let wanted = least(&pool, |c| core::cmp::Reverse(Fraction(c.overhead(), u64::from(c.weight))));
            prop_assert_eq!(walk(&pool, worse), wanted);
        }
    }
}
