// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! `twos`, the power of two choices: `ip_vs_twos.c`. The programs draw two turns of a table in which the
//! frequency of each real follows its weight, and keep the less loaded real.

use super::{Candidate, wlc};

/// Returns whether the candidate is better than the best so far. `best.exists()` may be false.
#[inline(always)]
#[must_use]
pub const fn better(best: &Candidate, candidate: &Candidate) -> bool {
    wlc::better(best, candidate)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::reference::*, *};

    proptest! {
        #[test]
        fn chooses_as_the_reference_does(pool in pools()) {
            let wanted = least(&pool, |c| Fraction(c.overhead(), u64::from(c.weight)));
            prop_assert_eq!(walk(&pool, better), wanted);
        }
    }
}
