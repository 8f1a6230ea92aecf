// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flow table.
#![forbid(unsafe_code)]

use std::io;

use lb_common::{
    flow_table::{Seen, Value},
    ids::RealId,
    schema::{FlowKey, MapName, ServiceKey, SnatBinding, SnatLease},
    ticks::{Tick, Ticks},
    track::State,
};

use super::{TableError, Tables, batch_failed};
use crate::{
    flow_load::FlowLoad,
    flow_reader::{FlowReader, of_value},
    flow_scan::FlowScan,
    flow_table::Announced,
};

/// The entry of a tracked flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Flow {
    /// Real, state, time and gateway.
    pub value: Value,
    /// SNAT address and port of the flow's packets at the real; [`SnatBinding::NONE`] except with `fnat`.
    pub snat: SnatBinding,
}

impl Flow {
    /// Returns the id of the real.
    #[must_use]
    pub const fn real(&self) -> RealId {
        self.value.real()
    }

    /// Returns the state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.value.phase().state()
    }

    /// Returns the time since the last recorded packet, with the resolution of [`Seen`].
    #[must_use]
    pub const fn idle(&self, now: Tick) -> Ticks {
        Ticks(self.value.seen().age(Seen::of(now)) << 6)
    }
}

/// A tracked flow.
#[derive(Clone, Copy, Debug)]
pub struct FlowRecord {
    /// Key of the flow.
    pub key: FlowKey,
    /// Entry of the flow.
    pub flow: Flow,
}

impl Tables {
    /// Returns every tracked flow. Flows that change meanwhile may be missing.
    pub fn flows(&self) -> Result<Vec<FlowRecord>, TableError> {
        let mut flows = Vec::new();
        self.for_each_flow(|key, flow| flows.push(FlowRecord { key: *key, flow: *flow }))?;
        Ok(flows)
    }

    /// Returns the number of flows for which the flow table has places.
    #[must_use]
    pub fn flow_places(&self) -> u32 {
        self.flows.places()
    }

    /// Returns a reader of the flows that is independent of these tables.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn flow_reader(&self) -> io::Result<FlowReader> {
        FlowReader::new(&self.flows, &self.leases)
    }

    /// Returns the places of the flow table, independent of these tables.
    #[must_use]
    pub fn flow_scan(&self) -> FlowScan {
        FlowScan::new(&self.flows)
    }

    /// Makes the flow table, which is new, the one that replaces that of `old`, see [`crate::Beside::NewFlowTable`]. Its
    /// programs may be attached afterwards. Flows are in either table until [`FlowLoad::take_over`] has moved them.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub fn replace_flows(&mut self, old: &Self) -> Result<(), TableError> {
        self.flows.replace(&old.flows)
    }

    /// Takes over what only the daemon knows of the flow table from `other`, whose maps are the same.
    pub fn share_numbers(&mut self, other: &Self) {
        self.flows.share_numbers(&other.flows);
    }

    /// Returns whether flows move here from the table that this one replaces.
    #[must_use]
    pub fn takes_over(&self) -> bool {
        self.flows.takes_over()
    }

    /// Ends the search in the table that this one replaces.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub fn end_take_over(&mut self) -> Result<(), TableError> {
        self.flows.end_take_over()
    }

    /// Returns the load of the flow table, independent of these tables.
    #[must_use]
    pub fn flow_load(&self) -> FlowLoad {
        FlowLoad::new(&self.flows)
    }

    /// Calls `each` with every tracked flow, and returns the number of flows whose services do not exist any more.
    pub fn for_each_flow(&self, each: impl FnMut(&FlowKey, &Flow)) -> Result<usize, TableError> {
        self.flow_reader().map_err(batch_failed("read", MapName::Bindings))?.for_each(each)
    }

    /// Returns a flow, if it is tracked.
    #[must_use]
    pub fn flow(&self, key: &FlowKey) -> Option<Flow> {
        Some(of_value(self.flows.value(key)?, self.leases.get(key)))
    }

    /// Adds or replaces a flow, without a change of the connection counts. A flow for which there is no place is lost.
    pub fn put_flow(&mut self, key: &FlowKey, flow: &Flow) -> Result<(), TableError> {
        if !flow.snat.is_none() {
            self.leases.put(key, &SnatLease { real: flow.real(), snat: flow.snat })?;
        }
        self.flows.put(key, flow.value);
        Ok(())
    }

    /// Adds a flow of a service that another director has announced, or replaces its announced entry. An entry that packets
    /// at this director have renewed stays as it is.
    pub fn put_announced_flow(
        &mut self,
        key: &FlowKey,
        service: &ServiceKey,
        value: Value,
        now: Tick,
    ) -> Announced {
        self.flows.put_announced(key, service, value, Seen::of(now))
    }

    /// Removes a flow, unless a packet has changed its entry since it was `flow`. Returns whether it did.
    pub fn remove_flow(&mut self, key: &FlowKey, flow: &Flow) -> Result<bool, TableError> {
        let removed = self.flows.remove(key, flow.value);
        if removed && !flow.snat.is_none() {
            self.leases.remove(key)?;
        }
        Ok(removed)
    }

    /// Removes the flows of services that do not exist any more.
    pub fn remove_orphaned_flows(&mut self) {
        self.flows.remove_orphans();
    }

    /// Returns the SNAT address and port of a `fnat` flow.
    #[must_use]
    pub fn lease(&self, key: &FlowKey) -> Option<SnatLease> {
        self.leases.get(key)
    }

    /// Calls `each` with the request and the SNAT address and port of every `fnat` flow.
    pub fn for_each_lease(&self, each: impl FnMut(&FlowKey, &SnatLease)) -> Result<(), TableError> {
        self.leases.for_each(each)
    }

    /// Records the SNAT address and port of a `fnat` flow.
    pub fn put_lease(&mut self, key: &FlowKey, lease: &SnatLease) -> Result<(), TableError> {
        self.leases.put(key, lease)
    }

    /// Forgets the SNAT address and port of a `fnat` flow.
    pub fn remove_lease(&mut self, key: &FlowKey) -> Result<(), TableError> {
        self.leases.remove(key)
    }
}
