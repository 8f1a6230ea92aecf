// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access to the flow tables without the director: reading a million flows delays nothing else.
#![forbid(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use lb_common::{
    schema::{Flow, FlowKey, MapName},
    wire::Be32,
};

use super::{
    batch,
    tables::{TableError, batch_failed},
    versions::{Narrow as _, Versions},
};

/// Half-open table and flow table, each for both IP versions, with file descriptors of its own.
#[derive(Debug)]
pub struct FlowReader {
    opening: [OwnedFd; 2],
    flows: [OwnedFd; 2],
}

/// Table that holds a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kept {
    /// Half-open table.
    Opening,
    /// Flow table.
    Flows,
}

type Flows = Versions<FlowKey<Be32>, Flow, FlowKey, Flow>;

impl FlowReader {
    pub(super) fn new(opening: &Flows, flows: &Flows) -> io::Result<Self> {
        Ok(Self { opening: opening.descriptors()?, flows: flows.descriptors()? })
    }

    /// Calls `each` with every tracked flow.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn for_each(&self, mut each: impl FnMut(&FlowKey, &Flow, Kept)) -> Result<(), TableError> {
        // The order matters: a connection that becomes established meanwhile moves from the first table to
        // the second, and is then seen twice rather than not at all.
        for (name, [v4, v6], kept) in
            [(MapName::HalfOpen, &self.opening, Kept::Opening), (MapName::Flows, &self.flows, Kept::Flows)]
        {
            let failed = batch_failed("read", name);
            batch::for_each(v4.as_fd(), |key: &FlowKey<Be32>, flow: &Flow| {
                each(&FlowKey::widen(key), flow, kept);
            })
            .map_err(&failed)?;
            batch::for_each(v6.as_fd(), |key: &FlowKey, flow: &Flow| each(key, flow, kept))
                .map_err(failed)?;
        }
        Ok(())
    }
}
