// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! `lc`, least connections: `ip_vs_lc.c`.

use super::Candidate;

/// Returns whether the candidate is better than the best so far. `best.exists()` may be false.
#[inline(always)]
#[must_use]
pub const fn better(best: &Candidate, candidate: &Candidate) -> bool {
    !best.exists() || candidate.overhead() < best.overhead()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::reference::*, *};

    proptest! {
        #[test]
        fn chooses_as_the_reference_does(pool in pools()) {
            let wanted = least(&pool, Candidate::overhead);
            prop_assert_eq!(walk(&pool, better), wanted);
        }
    }
}
