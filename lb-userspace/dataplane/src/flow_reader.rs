// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access to the flows without the director: reading a million of them delays nothing else.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};

use lb_common::{
    flow_table::Value,
    schema::{FlowKey, MapName, SnatBinding, SnatLease},
    wire::Be32,
};

use super::{
    batch,
    flow_table::{FlowMemory, FlowTable, Numbers},
    tables::{Flow, TableError, batch_failed},
    versions::{Narrow as _, Versions},
};

/// The flow table, and the SNAT addresses and ports of `fnat` flows, independent of [`super::Tables`].
#[derive(Debug)]
pub struct FlowReader {
    flows: FlowMemory,
    numbers: Arc<Numbers>,
    leases: [OwnedFd; 2],
}

/// SNAT addresses and ports of `fnat` flows.
pub(super) type Leases = Versions<FlowKey<Be32>, SnatLease, FlowKey, SnatLease>;

impl FlowReader {
    pub(super) fn new(flows: &FlowTable, leases: &Leases) -> io::Result<Self> {
        Ok(Self { flows: flows.memory(), numbers: flows.numbers(), leases: leases.descriptors()? })
    }

    /// Calls `each` with every tracked flow, and returns the number of flows whose services do not exist any more.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn for_each(&self, mut each: impl FnMut(&FlowKey, &Flow)) -> Result<usize, TableError> {
        let mut leases: HashMap<FlowKey, SnatLease> = HashMap::new();
        let [v4, v6] = &self.leases;
        batch::for_each(v4.as_fd(), |key: &FlowKey<Be32>, lease: &SnatLease| {
            leases.insert(FlowKey::widen(key), *lease);
        })
        .map_err(batch_failed("read", MapName::Bindings))?;
        batch::for_each(v6.as_fd(), |key: &FlowKey, lease: &SnatLease| {
            leases.insert(*key, *lease);
        })
        .map_err(batch_failed("read", MapName::Bindings6))?;
        Ok(self.flows.for_each(&self.numbers, |key, value| {
            each(key, &of_value(value, if leases.is_empty() { None } else { leases.get(key).copied() }));
        }))
    }
}

/// Returns the flow with this value, and the lease under its key.
pub(super) fn of_value(value: Value, lease: Option<SnatLease>) -> Flow {
    let snat = lease.filter(|lease| lease.real == value.real()).map_or(SnatBinding::NONE, |lease| lease.snat);
    Flow { value, snat }
}
