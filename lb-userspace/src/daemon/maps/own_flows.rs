// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flows and persistence entries of this director as announcements.
#![forbid(unsafe_code)]

use std::{collections::HashMap, net::SocketAddr};

use lb_common::{
    flow_table::Value,
    ids::{RealId, ServiceId as ServiceNumber},
    schema::{ClientKey, FlowKey, Method},
    sync::Connection,
    ticks::{Tick, Ticks},
};
use lb_control::{image::socket_address, sync::Index};
use lb_model::failure::Failure;

use super::{Maps, maps_failed};

/// An announcement of a flow of this director, with the SNAT address and port of a `fnat` flow.
pub(in super::super) type OwnFlow = (Connection, Option<SocketAddr>);

impl Maps {
    /// Returns the announcements of flows; flows of removed reals have none, and flows whose addresses have different IP
    /// versions, which messages cannot contain.
    pub(in super::super) fn announcements(&mut self, flows: &[(FlowKey, Value)]) -> Vec<OwnFlow> {
        let index = self.announced.index.take().unwrap_or_else(|| Index::of(&self.image, &self.ids));
        let mut own = Vec::with_capacity(flows.len());
        for (key, value) in flows {
            let flow = (value.real(), value.phase());
            let connection = index.announcement(&self.image, key, flow, &self.timeouts);
            let Some(connection) = connection.filter(|c| c.client.is_ipv4() == c.real.is_ipv4()) else {
                continue;
            };
            let real = self.image.reals.get(&value.real());
            let real = real.filter(|real| Method::from_number(real.method) == Some(Method::Fnat));
            let tables = self.plane.tables();
            let snat = real.and_then(|real| {
                let lease = tables.lease(key).filter(|lease| lease.real == value.real())?;
                let address = tables.snat_address(lease.snat, real).ok()?;
                Some(socket_address(address, lease.snat.port))
            });
            own.push((connection, snat));
        }
        self.announced.index = Some(index);
        own
    }

    /// Returns the persistence entries that connections of this director have made or prolonged: key, real, timeout of the
    /// service, and announcement.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(in super::super) fn own_templates(
        &mut self,
        now: Tick,
    ) -> Result<Vec<(ClientKey, RealId, Ticks, Connection)>, Failure> {
        let timeouts: HashMap<ServiceNumber, Ticks> = self
            .image
            .services
            .values()
            .filter(|service| service.persistent != Ticks::ZERO)
            .map(|service| (service.id, service.persistent))
            .collect();
        if timeouts.is_empty() {
            return Ok(Vec::new());
        }
        let index = self.announced.index.take().unwrap_or_else(|| Index::of(&self.image, &self.ids));
        let mut own = Vec::new();
        let (image, clients) = (&self.image, &self.announced.clients);
        let read = self.plane.tables().for_each_client(|key, client| {
            if clients.get(key) == Some(&client.expires) {
                return;
            }
            let template = index.template(image, key, client, now);
            let template = template.filter(|c| c.client.is_ipv4() == c.real.is_ipv4());
            if let (Some(template), Some(timeout)) = (template, timeouts.get(&key.service)) {
                own.push((*key, client.real, *timeout, template));
            }
        });
        self.announced.index = Some(index);
        read.map_err(|error| maps_failed(&error))?;
        Ok(own)
    }
}
