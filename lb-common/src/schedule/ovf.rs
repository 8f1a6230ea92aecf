// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! `ovf`, weighted overflow: `ip_vs_ovf.c`. The heaviest real that has no more active connections than its
//! weight.

use super::Candidate;

/// Returns whether the candidate is better than the best so far. `best.exists()` may be false.
#[inline(always)]
#[must_use]
pub const fn better(best: &Candidate, candidate: &Candidate) -> bool {
    candidate.active <= candidate.weight && candidate.weight > best.weight
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::reference::*, *};

    proptest! {
        #[test]
        fn chooses_as_the_reference_does(pool in pools()) {
            let wanted = (0..pool.len())
                .filter(|&i| pool[i].exists() && pool[i].active <= pool[i].weight)
                .min_by_key(|&i| core::cmp::Reverse(pool[i].weight));
            prop_assert_eq!(walk(&pool, better), wanted);
        }
    }
}
