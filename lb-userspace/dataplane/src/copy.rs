// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies of tables into new maps.
#![forbid(unsafe_code)]

use lb_common::schema::{Client, ClientKey, FlowKey, SnatLease, Source};

use super::{TableError, Tables, tables::Flow};
use lb_schedule::Span;

impl Tables {
    /// Copies services, reals, their slot tables and their counters.
    ///
    /// # Errors
    /// [`TableError`] if a map cannot be read or written.
    pub fn copy_services(&mut self, live: &Self) -> Result<(), TableError> {
        for (id, real) in live.reals()? {
            self.put_real(id, &real)?;
            self.put_load(id, &live.load(id)?)?;
            // The moves of a service's slots depend on whether a real ever got a packet.
            self.put_counters(id, &live.counters(id)?)?;
            if real.reachable() {
                self.put_device(real.ifindex)?;
            }
        }
        for (key, service) in live.services()? {
            let span = Span::from(&service);
            self.put_moves(span.first, &live.moves(span.first, span.slots)?)?;
            self.put_table(span.first, &live.table(span.first, span.slots)?)?;
            self.put_position(service.id, live.position(service.id)?.next)?;
            self.put_service(&key, &service)?;
        }
        let addresses = live.addresses()?;
        self.put_marks(addresses.iter().copied())?;
        for (address, used) in addresses {
            self.put_address(address, used)?;
        }
        for (key, source) in live.sources()? {
            self.put_source(&key, &source)?;
        }
        self.settle()
    }

    /// Copies connections, and the other state that the programs learn from packets: flows, reply entries, SNAT
    /// ports, persistence entries, return paths, direct contacts of `nat` reals, fragments and localities. Existing
    /// entries are newer and stay. Entries that exceed the size of a map are lost.
    ///
    /// # Errors
    /// [`TableError`] if a map cannot be read or written.
    pub fn copy_connections(&mut self, live: &Self) -> Result<(), TableError> {
        let mut flows: Vec<(FlowKey, Flow)> = Vec::new();
        live.for_each_flow(|key, flow| flows.push((*key, *flow)))?;
        for (key, flow) in flows.iter().filter(|(key, _)| self.flow(key).is_none()).collect::<Vec<_>>() {
            self.put_flow(key, flow)?;
        }
        // The flow table may be the same one, and the leases not.
        let mut leases: Vec<(FlowKey, SnatLease)> = Vec::new();
        live.for_each_lease(|request, lease| leases.push((*request, *lease)))?;
        for (request, lease) in &leases {
            if self.lease(request).is_none() {
                self.put_lease(request, lease)?;
            }
        }
        let mut replies: Vec<(FlowKey, Source)> = Vec::new();
        live.for_each_reply(|key, source| replies.push((*key, *source)))?;
        for (key, source) in &replies {
            if self.reply(key).is_none() {
                self.put_reply(key, source)?;
            }
        }
        let mut translations: Vec<(FlowKey, FlowKey)> = Vec::new();
        live.for_each_translation(|reply, flow| translations.push((*reply, *flow)))?;
        for (reply, flow) in &translations {
            if self.translation(reply).is_none() {
                self.put_translation(reply, flow)?;
            }
        }
        let mut clients: Vec<(ClientKey, Client)> = Vec::new();
        live.for_each_client(|key, client| clients.push((*key, *client)))?;
        for (key, client) in &clients {
            if self.client(key).is_none() {
                self.put_client(key, client)?;
            }
        }
        self.copy_learned(live)
    }
}
