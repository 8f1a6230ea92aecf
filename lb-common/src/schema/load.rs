// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Connection counts of a real.

use super::layout;
use crate::schedule::Candidate;

/// Value of `LOADS`, an array by real id. The programs adjust the counts when a tracked flow begins, changes
/// its state or is replaced. The daemon corrects the counts for flows that the programs cannot see (flows
/// that timed out or were evicted) by a recount.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Load {
    /// Active connections in the upper half, inactive ones in the lower half, so that one atomic addition
    /// moves a connection from one to the other.
    pub counts: u64,
    /// 1 while the real is above its thresholds, see [`crate::schedule::threshold`].
    pub overloaded: u64,
}
layout!(Load, size: 16, align: 8);

impl Load {
    /// One active connection in [`Load::counts`].
    pub const ACTIVE: u64 = 1 << 32;
    /// One inactive connection in [`Load::counts`].
    pub const INACTIVE: u64 = 1;

    /// Packs the numbers of connections into counts.
    #[must_use]
    pub const fn counts(active: u32, inactive: u32) -> u64 {
        (active as u64) << 32 | inactive as u64
    }

    /// Returns the number of active connections. A count that is below zero for a moment counts as none.
    #[inline(always)]
    #[must_use]
    pub const fn active(counts: u64) -> u32 {
        positive((counts >> 32) as u32)
    }

    /// Returns the number of inactive connections.
    #[inline(always)]
    #[must_use]
    pub const fn inactive(counts: u64) -> u32 {
        positive(counts as u32)
    }

    /// Returns the counts and weight of a real, for comparison by a scheduler.
    #[inline(always)]
    #[must_use]
    pub const fn candidate(counts: u64, weight: u32) -> Candidate {
        Candidate { weight, active: Self::active(counts), inactive: Self::inactive(counts) }
    }
}

#[inline(always)]
const fn positive(count: u32) -> u32 {
    if count > u32::MAX / 2 { 0 } else { count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_moves_by_one_addition() {
        let counts = Load::counts(3, 5);
        let closed = counts.wrapping_add(Load::INACTIVE).wrapping_sub(Load::ACTIVE);
        assert_eq!((Load::active(closed), Load::inactive(closed)), (2, 6));
        assert_eq!(Load::inactive(0u64.wrapping_sub(1)), 0);
    }
}
