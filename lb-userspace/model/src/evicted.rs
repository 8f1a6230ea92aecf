// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flows that the kernel evicted from a full flow table.
#![forbid(unsafe_code)]

/// Number of evictions in a sample of flows between two sweeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Evicted {
    /// Number of flows in the sample.
    pub noted: usize,
    /// Number of flows in the sample that were missing.
    pub missing: usize,
}

impl Evicted {
    /// Returns whether the table is too small. A few evictions are normal: a flow has two buckets only.
    #[must_use]
    pub const fn matters(self) -> bool {
        self.missing > 2 && self.missing * 100 >= self.noted
    }
}
