// SPDX-License-Identifier: MIT OR Apache-2.0
//! Detection of evictions of living flows: a program that adds a flow may evict another one.
//!
//! Only the daemon removes entries of living flows. So each sweep notes some of them, and an entry that is
//! missing at the next sweep was evicted.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use lb_common::schema::FlowKey;

use lb_dataplane::Tables;
use lb_model::evicted::Evicted;

/// Number of flows of each table that are noted.
const NOTED: usize = 1024;
/// Time for which an eviction is reported.
const NEWS: Duration = Duration::from_mins(2);

/// Noted flows, and the evictions that were found.
#[derive(Debug, Default)]
pub(super) struct Evictions {
    noted: Vec<FlowKey>,
    /// For the IPv4 tables and the IPv6 tables.
    seen: [Option<(Instant, Evicted)>; 2],
    /// Number of noted flows that were evicted, since the start.
    total: u64,
}

impl Evictions {
    /// Checks whether the flows that were noted last still exist. Must be called before the sweep removes flows.
    pub(super) fn look(&mut self, tables: &Tables) {
        for (six, seen) in [false, true].into_iter().zip(&mut self.seen) {
            let mine: Vec<_> = self.noted.iter().filter(|key| key.narrowed().is_none() == six).collect();
            let missing = mine.iter().filter(|key| tables.flow(key).is_none()).count();
            let evicted = Evicted { noted: mine.len(), missing };
            self.total += missing as u64;
            if evicted.matters() {
                *seen = Some((Instant::now(), evicted));
            }
        }
    }

    /// Notes some of the existing flows. Must be called after the sweep has removed flows.
    pub(super) fn note(&mut self, living: Vec<FlowKey>, tables: &Tables) {
        self.noted = living;
        self.noted.retain(|key| tables.flow(key).is_some());
    }

    /// Forgets the noted flows, after the daemon itself has removed flows or replaced the tables.
    pub(super) fn forget(&mut self) {
        self.noted.clear();
    }

    /// Forgets the noted flows and recent evictions, after the tables were replaced by larger ones.
    pub(super) fn begin_again(&mut self) {
        self.noted.clear();
        self.seen = [None; 2];
    }

    /// Returns the number of noted flows that were evicted, since the start.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Returns recent evictions from the IPv4 tables and the IPv6 tables.
    pub(super) fn news(&self) -> [Option<Evicted>; 2] {
        self.seen.map(|seen| seen.filter(|(when, _)| when.elapsed() < NEWS).map(|(_, evicted)| evicted))
    }
}

/// Some living flows of both tables, from one pass over all flows.
#[derive(Default)]
pub(super) struct Sample([Vec<FlowKey>; 2]);

impl Sample {
    pub(super) fn add(&mut self, key: &FlowKey) {
        let mine = &mut self.0[usize::from(key.narrowed().is_none())];
        if mine.len() < NOTED {
            mine.push(*key);
        }
    }

    pub(super) fn take(self) -> Vec<FlowKey> {
        self.0.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_in_a_hundred_matters() {
        let matters = |noted, missing| Evicted { noted, missing }.matters();
        assert!(
            matters(1024, 11) && matters(10, 3) && !matters(1024, 10) && !matters(10, 2) && !matters(0, 0)
        );
    }
}
