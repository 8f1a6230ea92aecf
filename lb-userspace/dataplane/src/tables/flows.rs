// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flow table and half-open table.
#![forbid(unsafe_code)]

use std::io;

use lb_common::{
    schema::{Flow, FlowKey},
    track::State,
};

use super::{TableError, Tables};
use crate::flow_reader::FlowReader;

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

    /// Returns a reader of the flows that is independent of these tables.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn flow_reader(&self) -> io::Result<FlowReader> {
        FlowReader::new(&self.opening, &self.flows)
    }

    /// Calls `each` with every tracked flow.
    pub fn for_each_flow(&self, mut each: impl FnMut(&FlowKey, &Flow)) -> Result<(), TableError> {
        // The order matters: a connection that becomes established meanwhile moves from the first table to
        // the second, and is then seen twice rather than not at all.
        self.opening.for_each(&mut each)?;
        self.flows.for_each(each)
    }

    /// Returns a flow, if it is tracked.
    #[must_use]
    pub fn flow(&self, key: &FlowKey) -> Option<Flow> {
        // The order matters, as in `for_each_flow`.
        let opening = self.opening.get(key);
        self.flows.get(key).or(opening)
    }

    /// Adds or replaces a flow.
    pub fn put_flow(&mut self, key: &FlowKey, flow: &Flow) -> Result<(), TableError> {
        let opens = State::from_number(flow.state) == State::SynReceived;
        if opens { self.opening.put(key, flow) } else { self.flows.put(key, flow) }
    }

    /// Removes a flow.
    pub fn remove_flow(&mut self, key: &FlowKey) -> Result<(), TableError> {
        self.opening.remove(key)?;
        self.flows.remove(key)
    }
}
