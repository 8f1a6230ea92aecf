// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! `sed`, shortest expected delay: `ip_vs_sed.c`. The load includes the new connection.

use super::{Candidate, lighter};

/// Returns whether the candidate is better than the best so far. `best.exists()` may be false.
#[inline(always)]
#[must_use]
pub const fn better(best: &Candidate, candidate: &Candidate) -> bool {
    !best.exists()
        || lighter(candidate.active as u64 + 1, candidate.weight, best.active as u64 + 1, best.weight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::reference::*, *};

    proptest! {
        #[test]
        fn chooses_as_the_reference_does(pool in pools()) {
            let wanted = least(&pool, |c| Fraction(u64::from(c.active) + 1, u64::from(c.weight)));
            prop_assert_eq!(walk(&pool, better), wanted);
        }
    }
}
