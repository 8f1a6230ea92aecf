// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counting flows: from the flow table itself, so that the counts are right under eviction too.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};

use lb_common::{
    reason::Reason,
    schema::{Counters, ReasonCounts},
    track::{self, State as FlowState},
};

use super::{Director, director::maps_failed};
use crate::{dataplane::clock, failure::Failure};

/// How many flows of a real are tracked, and how far they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowCount {
    /// Opening or established.
    pub active: u64,
    /// Closing, and UDP, as IPVS counts them.
    pub inactive: u64,
}

/// How many flows are tracked.
#[derive(Clone, Debug, Default)]
pub struct FlowCounts {
    /// By the real's id.
    pub by_real: HashMap<u32, FlowCount>,
    /// All of IPv4.
    pub flows: u64,
    /// All of IPv6, which have a table of their own.
    pub flows6: u64,
}

/// What the programs have counted, of all reals and services.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// By the real's id.
    pub reals: Vec<Counters>,
    /// By the service's id.
    pub reasons: Vec<ReasonCounts>,
}

impl Counted {
    /// The counters of a real.
    pub fn real(&self, id: u32) -> Counters {
        self.reals.get(id as usize).copied().unwrap_or_default()
    }

    /// How often a service's packets ended for each reason; service 0 is "none in particular".
    pub fn reasons(&self, service: u32) -> BTreeMap<Reason, u64> {
        self.reasons.get(service as usize).map(|counts| counts.iter().collect()).unwrap_or_default()
    }
}

impl Director {
    /// Counts the flows of each real.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(super) fn count_flows(&mut self) -> Result<FlowCounts, Failure> {
        let (now, timeouts) = (clock::tick(), self.timeouts);
        let mut counts = FlowCounts::default();
        self.plane
            .tables()
            .for_each_flow(|key, flow| {
                let state = FlowState::from_number(flow.state);
                if track::is_over(state, flow.seen, now, 0, &timeouts) {
                    return;
                }
                if key.narrowed().is_some() {
                    counts.flows += 1;
                } else {
                    counts.flows6 += 1;
                }
                let count = counts.by_real.entry(flow.real).or_default();
                if state.is_active() {
                    count.active += 1;
                } else {
                    count.inactive += 1;
                }
            })
            .map_err(|e| maps_failed(&e))?;
        Ok(counts)
    }

    /// Counts the clients that persistence keeps on each real.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(super) fn count_clients(&mut self) -> Result<HashMap<u32, u64>, Failure> {
        let now = clock::tick();
        let mut counts: HashMap<u32, u64> = HashMap::new();
        let tables = self.plane.tables();
        tables
            .for_each_client(|_, client| {
                if track::age(client.expires, now) == 0 {
                    *counts.entry(client.real).or_default() += 1;
                }
            })
            .map_err(|e| maps_failed(&e))?;
        Ok(counts)
    }
}
