// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flow tables, to be read without the director: a walk over a million flows holds nothing up.
#![forbid(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use lb_common::{
    schema::{Flow, FlowKey},
    wire::Be32,
};

use super::{
    batch,
    tables::TableError,
    versions::{Narrow as _, Versions},
};

/// Both tables of flows, each of both versions of IP, by descriptors of its own.
#[derive(Debug)]
pub struct FlowReader {
    opening: [OwnedFd; 2],
    flows: [OwnedFd; 2],
}

/// Which table a flow is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kept {
    /// In the small table of connections that are opening.
    Opening,
    /// In the large one.
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
        // In this order: a connection that opens meanwhile goes from the one to the other, and is seen twice rather than never.
        for (name, [v4, v6], kept) in
            [("OPENING", &self.opening, Kept::Opening), ("FLOWS", &self.flows, Kept::Flows)]
        {
            let failed = |source| TableError::Batch { map: name, source };
            batch::for_each(v4.as_fd(), |key: &FlowKey<Be32>, flow: &Flow| {
                each(&FlowKey::widen(key), flow, kept);
            })
            .map_err(failed)?;
            batch::for_each(v6.as_fd(), |key: &FlowKey, flow: &Flow| each(key, flow, kept))
                .map_err(failed)?;
        }
        Ok(())
    }
}
