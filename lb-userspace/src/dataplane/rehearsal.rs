// SPDX-License-Identifier: MIT OR Apache-2.0
//! A data plane of its own, in which a change is tried before it is made.
#![forbid(unsafe_code)]

use lb_common::{
    schema::{ClientKey, FlowKey, Mode},
    wire::Be128,
};

use super::{Limits, LoadError, Options, TableError, Tables, Tracer};

/// Flows that fit into it.
const FEW: u32 = 1024;

/// Programs that tell their steps, and maps that are nobody else's.
pub struct Rehearsal {
    /// The programs.
    pub tracer: Tracer,
    /// Their maps.
    pub tables: Tables,
}

impl Rehearsal {
    /// Loads it, with empty maps that have room for a flow or two.
    ///
    /// # Errors
    /// [`LoadError`] if the kernel does not take it.
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let limits = Limits { flows: FEW, flows6: FEW, ..options.limits };
        Self::with_mode(&Options { limits, ..options.clone() }, Mode::DRY)
    }

    /// Loads it, with empty maps of the size that `options` say.
    pub(super) fn with_mode(options: &Options, mode: Mode) -> Result<Self, LoadError> {
        let (tracer, tables) = Tracer::with_maps_of_its_own(options, mode)?;
        Ok(Self { tracer, tables })
    }

    /// Makes the maps what others are; of flows and clients, only what is known of the packet of a `flow`, as the client
    /// sends it.
    ///
    /// # Errors
    /// [`TableError`] if a map cannot be read or written.
    pub fn copy(
        &mut self,
        live: &Tables,
        dips: [&[Be128]; 2],
        flow: Option<&FlowKey>,
    ) -> Result<(), TableError> {
        let tables = &mut self.tables;
        tables.copy_services(live)?;
        for (_, service) in live.services()? {
            let client = flow.map(|flow| ClientKey::new(&service, flow.source));
            if let Some((key, client)) = client.and_then(|key| Some((key, live.client(&key)?))) {
                tables.put_client(&key, &client)?;
            }
        }
        if let Some((key, flow)) = flow.and_then(|key| Some((key, live.flow(key)?))) {
            tables.put_flow(key, &flow)?;
        }
        tables.settle()?;
        tables.put_dips(dips[0], dips[1])
    }
}
