// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! `wlc`, weighted least connections: `ip_vs_wlc.c`.

use super::{Candidate, lighter};

/// Returns whether the candidate is better than the best so far. `best.exists()` may be false.
#[inline(always)]
#[must_use]
pub const fn better(best: &Candidate, candidate: &Candidate) -> bool {
    !best.exists() || lighter(candidate.overhead(), candidate.weight, best.overhead(), best.weight)
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
