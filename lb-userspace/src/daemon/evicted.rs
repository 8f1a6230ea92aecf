// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the tables of flows forget flows that live: the kernel makes room by itself and counts nothing.
//!
//! Nobody but the daemon takes a flow out before its time. So some that live are noted at each sweep, and one that is not there
//! at the next was evicted.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use lb_common::schema::FlowKey;

use crate::{dataplane::Tables, model::evicted::Evicted};

/// How many flows of each table are noted.
const NOTED: usize = 1024;
/// How long an eviction is news.
const NEWS: Duration = Duration::from_mins(2);

/// Flows that were noted, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Evictions {
    noted: Vec<FlowKey>,
    /// Of the tables of IPv4 and of IPv6.
    seen: [Option<(Instant, Evicted)>; 2],
}

impl Evictions {
    /// Looks for those that were noted last. To be called before flows are forgotten.
    pub(super) fn look(&mut self, tables: &Tables) {
        for (six, seen) in [false, true].into_iter().zip(&mut self.seen) {
            let mine: Vec<_> = self.noted.iter().filter(|key| key.narrowed().is_none() == six).collect();
            let missing = mine.iter().filter(|key| tables.flow(key).is_none()).count();
            let evicted = Evicted { noted: mine.len(), missing };
            if evicted.matters() {
                *seen = Some((Instant::now(), evicted));
            }
        }
    }

    /// Notes some of the flows that are there. To be called after flows were forgotten.
    pub(super) fn note(&mut self, living: Vec<FlowKey>, tables: &Tables) {
        self.noted = living;
        self.noted.retain(|key| tables.flow(key).is_some());
    }

    /// The daemon itself has taken flows out, or the tables are others: what was noted says nothing.
    pub(super) fn forget(&mut self) {
        self.noted.clear();
    }

    /// What was seen lately in the tables of IPv4 and of IPv6.
    pub(super) fn news(&self) -> [Option<Evicted>; 2] {
        self.seen.map(|seen| seen.filter(|(when, _)| when.elapsed() < NEWS).map(|(_, evicted)| evicted))
    }
}

/// Some living flows of both tables, from a pass over all of them.
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
