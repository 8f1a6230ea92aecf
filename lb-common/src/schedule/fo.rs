// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! `fo`, weighted failover: `ip_vs_fo.c`. The heaviest real gets all connections.

use super::Candidate;

/// Returns whether the candidate is better than the best so far. `best.exists()` may be false.
#[inline(always)]
#[must_use]
pub const fn better(best: &Candidate, candidate: &Candidate) -> bool {
    candidate.weight > best.weight
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::reference::*, *};

    proptest! {
        #[test]
        fn chooses_as_the_reference_does(pool in pools()) {
            let wanted = least(&pool, |c| core::cmp::Reverse(c.weight));
            prop_assert_eq!(walk(&pool, better), wanted);
        }
    }
}
