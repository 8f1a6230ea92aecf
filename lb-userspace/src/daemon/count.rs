// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counting flows: from the flow table itself, so that the counts are right under eviction too.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};

use lb_common::{
    reason::Reason,
    schema::{Counters, ReasonCounts, Timeouts},
    track::{self, State as FlowState},
};

use super::{Director, director::maps_failed};
use crate::{
    daemon::Shared,
    dataplane::{
        clock,
        flow_reader::{FlowReader, Kept},
    },
    failure::Failure,
};

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
    /// In the table of IPv4.
    pub flows: u64,
    /// In the table of IPv6.
    pub flows6: u64,
    /// Connections of IPv4 that are opening, which have a smaller table.
    pub opening: u64,
    /// The same of IPv6.
    pub opening6: u64,
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

/// What it takes to count flows, without the director.
pub(super) struct Counter {
    reader: FlowReader,
    timeouts: Timeouts,
}

impl Counter {
    /// Counts the flows of each real.
    ///
    /// # Errors
    /// If the map cannot be read.
    fn count(&self) -> Result<FlowCounts, Failure> {
        let now = clock::tick();
        let mut counts = FlowCounts::default();
        self.reader
            .for_each(|key, flow, kept| {
                let state = FlowState::from_number(flow.state);
                if track::is_over(state, flow.seen, now, 0, &self.timeouts) {
                    return;
                }
                match (kept, key.narrowed().is_some()) {
                    (Kept::Flows, true) => counts.flows += 1,
                    (Kept::Flows, false) => counts.flows6 += 1,
                    (Kept::Opening, true) => counts.opening += 1,
                    (Kept::Opening, false) => counts.opening6 += 1,
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
}

/// Counts the flows of each real while the director is free for others.
///
/// # Errors
/// If the map cannot be read.
pub async fn count_flows(director: &Shared) -> Result<FlowCounts, Failure> {
    let counter = director.lock().await.counter()?;
    off_the_lock(move || counter.count()).await
}

/// Runs what takes long and waits for nothing on a thread of its own.
///
/// # Errors
/// What `task` fails with.
pub(super) async fn off_the_lock<T: Send + 'static>(
    task: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(task)
        .await
        .unwrap_or_else(|error| Err(Failure::failed(format!("internal error: {error}"))))
}

impl Director {
    fn counter(&mut self) -> Result<Counter, Failure> {
        Ok(Counter { reader: self.flow_reader()?, timeouts: self.timeouts })
    }

    /// What reads the flows without the director.
    pub(super) fn flow_reader(&mut self) -> Result<FlowReader, Failure> {
        self.plane
            .tables()
            .flow_reader()
            .map_err(|error| Failure::failed(format!("cannot read the flow tables: {error}")))
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
