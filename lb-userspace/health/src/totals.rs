// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts of results and starts, for metrics.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use lb_model::{
    check::CheckName,
    health::{LastResult, ResultCode},
};

/// Upper bounds of the buckets of durations, in microseconds; one more bucket has the longer ones.
pub const BUCKETS: [u64; 8] = [500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000];

/// Counts of all probes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Counts by check.
    pub checks: BTreeMap<CheckName, CheckTotals>,
    /// Probes that started more than 100 ms after their time.
    pub late: u64,
    /// Probes that started more than an interval after their time.
    pub missed: u64,
}

/// Counts of the probes of a check.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CheckTotals {
    /// Probes by result.
    pub runs: BTreeMap<ResultCode, u64>,
    /// Probes by duration: the buckets are not cumulative.
    pub buckets: [u64; BUCKETS.len() + 1],
    /// Sum of the durations, in microseconds.
    pub sum_us: u64,
}

impl CheckTotals {
    /// Returns the number of probes.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Totals {
    /// Counts a result.
    pub(crate) fn count(&mut self, name: &CheckName, result: &LastResult) {
        if !self.checks.contains_key(name) {
            self.checks.insert(name.clone(), CheckTotals::default());
        }
        let Some(check) = self.checks.get_mut(name) else { return };
        *check.runs.entry(result.code).or_default() += 1;
        check.buckets[BUCKETS.partition_point(|bound| *bound < result.duration_us)] += 1;
        check.sum_us += result.duration_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_in_the_bucket_of_its_duration() {
        let mut totals = Totals::default();
        let name: CheckName = "web".parse().unwrap();
        for (code, duration_us) in
            [(ResultCode::L4Ok, 500), (ResultCode::L4Ok, 501), (ResultCode::L4Timeout, 2_000_000)]
        {
            totals.count(&name, &LastResult { code, text: String::new(), duration_us, at_ms: 0 });
        }
        let check = &totals.checks[&name];
        assert_eq!(check.buckets, [1, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((check.runs[&ResultCode::L4Ok], check.count(), check.sum_us), (2, 3, 2_001_001));
    }
}
