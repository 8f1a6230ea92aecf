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
    ids::RealId,
    schema::{FlowKey, MapName, SnatBinding, SnatLease},
    wire::Be32,
};

use super::{
    batch,
    flow_table::{FlowMemory, FlowTable, Numbers},
    tables::{Flow, TableError, batch_failed},
    versions::{Narrow as _, Versions},
};

/// Passes over the table in which flows are cut.
const PASSES: usize = 10;

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
        let leases = self.leases()?;
        Ok(self.flows.for_each(&self.numbers, |key, entry| {
            each(key, &of_value(entry.value(), leases.get(key).copied()));
        }))
    }

    /// Ends the flows that `selects` returns true for: the packets of TCP connections are answered with resets, and other
    /// flows begin anew. Returns the flows that have ended.
    ///
    /// # Errors
    /// If a map cannot be read; then no flow has ended.
    pub fn cut(
        &self,
        mut selects: impl FnMut(&FlowKey, &Flow) -> bool,
    ) -> Result<Vec<(FlowKey, Flow)>, TableError> {
        let leases = self.leases()?;
        let mut ended = Vec::new();
        // A packet may change the entry at the moment at which it is cut. Then it is still there afterwards.
        for _ in 0..PASSES {
            let mut missed = false;
            self.flows.for_each(&self.numbers, |key, entry| {
                let flow = of_value(entry.value(), leases.get(key).copied());
                if flow.real().is(RealId::CUT) || !selects(key, &flow) {
                    return;
                }
                if self.flows.cut(key, entry) {
                    ended.push((*key, flow));
                } else {
                    missed = true;
                }
            });
            if !missed {
                break;
            }
        }
        Ok(ended)
    }

    /// Returns the SNAT addresses and ports by request.
    fn leases(&self) -> Result<HashMap<FlowKey, SnatLease>, TableError> {
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
        Ok(leases)
    }
}

/// Returns the flow with this value, and the lease under its key.
pub(super) fn of_value(value: Value, lease: Option<SnatLease>) -> Flow {
    let snat = lease.filter(|lease| lease.real == value.real()).map_or(SnatBinding::NONE, |lease| lease.snat);
    Flow { value, snat }
}
