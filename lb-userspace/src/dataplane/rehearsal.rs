// SPDX-License-Identifier: MIT OR Apache-2.0
//! A data plane of its own, in which a change is tried before it is made.
#![forbid(unsafe_code)]

use lb_common::wire::Be128;

use super::{LoadError, Options, TableError, Tables, Tracer};
use crate::schedule::Span;

/// Programs that tell their steps, and maps that are nobody else's.
pub struct Rehearsal {
    /// The programs.
    pub tracer: Tracer,
    /// Their maps.
    pub tables: Tables,
}

impl Rehearsal {
    /// Loads it, with empty maps.
    ///
    /// # Errors
    /// [`LoadError`] if the kernel does not take it.
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let (tracer, tables) = Tracer::with_maps_of_its_own(options)?;
        Ok(Self { tracer, tables })
    }

    /// Makes the maps what others are: services, reals, their tables, connections and clients. Flows are not among them.
    ///
    /// # Errors
    /// [`TableError`] if a map cannot be read or written.
    pub fn copy(&mut self, live: &Tables, dips: [&[Be128]; 2]) -> Result<(), TableError> {
        let tables = &mut self.tables;
        for (id, real) in live.reals()? {
            tables.put_real(id, &real)?;
            tables.put_load(id, &live.load(id)?)?;
            // That a real was asked at all decides how its service's slots move.
            tables.put_counters(id, &live.counters(id)?)?;
            if real.reachable() {
                tables.put_device(real.ifindex)?;
            }
        }
        for (key, service) in live.services()? {
            let span = Span::from(&service);
            tables.put_moves(span.first, &live.moves(span.first, span.slots)?)?;
            tables.put_table(span.first, &live.table(span.first, span.slots)?)?;
            tables.put_position(service.id, live.position(service.id)?.next)?;
            tables.put_service(&key, &service)?;
        }
        let addresses = live.addresses()?;
        tables.put_marks(addresses.iter().map(|(address, _)| *address))?;
        for (address, used) in addresses {
            tables.put_address(address, used)?;
        }
        for (key, source) in live.sources()? {
            tables.put_source(&key, &source)?;
        }
        tables.put_dips(dips[0], dips[1])?;
        let mut clients = Vec::new();
        live.for_each_client(|key, client| clients.push((*key, *client)))?;
        clients.iter().try_for_each(|(key, client)| tables.put_client(key, client))
    }
}
