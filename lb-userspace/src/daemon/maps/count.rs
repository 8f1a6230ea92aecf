// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flow counts, taken from the flow tables themselves, so that they are right under eviction too.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};

use lb_common::{
    flow_table::{Limits, Seen},
    ids::{RealId, ServiceId as ServiceNumber},
    reason::Reason,
    schema::{Counters, ReasonCounts, Timeouts},
    ticks::Ticks,
    track::State as FlowState,
};

use super::{Maps, maps_failed};
use lb_dataplane::{TableError, clock, flow_reader::FlowReader};
use lb_model::failure::{Failure, chain};

/// Number of tracked flows of a real, by state.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowCount {
    /// Opening or established flows.
    pub active: u64,
    /// Closing flows and UDP flows, as IPVS counts them.
    pub inactive: u64,
}

/// Numbers of tracked flows.
#[derive(Clone, Debug, Default)]
pub struct FlowCounts {
    /// Counts by id of the real.
    pub by_real: HashMap<RealId, FlowCount>,
    /// IPv4 flows other than opening connections.
    pub flows: u64,
    /// IPv6 flows other than opening connections.
    pub flows6: u64,
    /// Opening IPv4 connections.
    pub opening: u64,
    /// Opening IPv6 connections.
    pub opening6: u64,
}

/// Counters of the programs, for all reals and services.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Counters by id of the real.
    pub reals: Vec<Counters>,
    /// Counters by id of the service.
    pub reasons: Vec<ReasonCounts>,
}

impl Counted {
    /// Returns the counters of a real.
    pub fn real(&self, id: RealId) -> Counters {
        self.reals.get(id.0 as usize).copied().unwrap_or_default()
    }

    /// Returns the packets of a service by reason; service 0 stands for packets of no particular service.
    pub fn reasons(&self, service: ServiceNumber) -> BTreeMap<Reason, u64> {
        self.reasons.get(service.0 as usize).map(|counts| counts.iter().collect()).unwrap_or_default()
    }
}

/// Input of a flow count, which does not need the director.
pub struct FlowCounter {
    reader: FlowReader,
    timeouts: Timeouts,
}

impl FlowCounter {
    /// Counts the flows of each real.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(in super::super) fn count(&self) -> Result<FlowCounts, Failure> {
        let (now, limits) = (Seen::of(clock::now()), Limits::of(&self.timeouts));
        let mut counts = FlowCounts::default();
        self.reader
            .for_each(|key, flow| {
                if flow.real().is(RealId::CUT) || flow.value.is_over(&limits, now, 0) {
                    return;
                }
                let state = flow.state();
                match (state == FlowState::SynReceived, key.narrowed().is_some()) {
                    (false, true) => counts.flows += 1,
                    (false, false) => counts.flows6 += 1,
                    (true, true) => counts.opening += 1,
                    (true, false) => counts.opening6 += 1,
                }
                let count = counts.by_real.entry(flow.real()).or_default();
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

impl Maps {
    /// Returns the input of a flow count.
    ///
    /// # Errors
    /// If the maps cannot be opened.
    pub(in super::super) fn flow_counter(&mut self) -> Result<FlowCounter, Failure> {
        Ok(FlowCounter { reader: self.flow_reader()?, timeouts: self.timeouts })
    }

    /// Returns a reader of the flows that does not need the director.
    ///
    /// # Errors
    /// If the maps cannot be opened.
    pub(in super::super) fn flow_reader(&mut self) -> Result<FlowReader, Failure> {
        self.plane
            .tables()
            .flow_reader()
            .map_err(|error| Failure::failed(format!("cannot read the flow tables: {error}")))
    }

    /// Reads all counters of the programs at once.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(in super::super) fn counted(&mut self) -> Result<Counted, Failure> {
        let reals = self.ids.reals.values().max().map_or(1, |last| last.0 + 1);
        let services = self.ids.services.values().max().map_or(1, |last| last.0 + 1);
        let failed = |error: TableError| Failure::failed(chain(&error));
        let tables = self.plane.tables();
        Ok(Counted {
            reals: tables.all_counters(reals).map_err(failed)?,
            reasons: tables.all_reasons(services).map_err(failed)?,
        })
    }

    /// Counts the persistence entries of each real.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(in super::super) fn count_clients(&mut self) -> Result<HashMap<RealId, u64>, Failure> {
        let now = clock::now();
        let mut counts: HashMap<RealId, u64> = HashMap::new();
        let tables = self.plane.tables();
        tables
            .for_each_client(|_, client| {
                if client.expires.age(now) == Ticks::ZERO {
                    *counts.entry(client.real).or_default() += 1;
                }
            })
            .map_err(|e| maps_failed(&e))?;
        Ok(counts)
    }
}
