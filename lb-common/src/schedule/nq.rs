// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! `nq`, never queue: `ip_vs_nq.c`. The first idle real, regardless of its weight; if none is idle, as `sed`.

use super::{Candidate, sed};

/// Returns whether the candidate is better than the best so far. `best.exists()` may be false.
#[inline(always)]
#[must_use]
pub const fn better(best: &Candidate, candidate: &Candidate) -> bool {
    let idle = best.exists() && best.active == 0;
    !idle && (candidate.active == 0 || sed::better(best, candidate))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::reference::*, *};

    proptest! {
        #[test]
        fn chooses_as_the_reference_does(pool in pools()) {
            let wanted = (0..pool.len())
                .find(|&i| pool[i].exists() && pool[i].active == 0)
                .or_else(|| least(&pool, |c| Fraction(u64::from(c.active) + 1, u64::from(c.weight))));
            prop_assert_eq!(walk(&pool, better), wanted);
        }
    }
}
