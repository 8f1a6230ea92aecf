// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tracked connections, for `xvs connections`. A million of them are read and sorted without the lock on the
//! director.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
};

use lb_common::{
    ids::{RealId, ServiceId as ServiceNumber},
    schema::{Client, ClientKey, FlowKey, Timeouts},
    ticks::{Tick, Ticks},
    wire::Be16,
};

use super::{Director, count::off_the_lock, maps::maps_failed};
use crate::{api::types::Connection, daemon::Shared};
use lb_control::image::{real_address, socket_address};
use lb_dataplane::{Flow, clock};
use lb_model::failure::Failure;
use lb_model::{Protocol, ServiceId};

/// Returns every tracked flow that has not ended, and every persistence entry of a client.
///
/// # Errors
/// If a map cannot be read.
pub async fn connections(director: &Shared) -> Result<Vec<Connection>, Failure> {
    let (reader, reals, mut connections, timeouts) = {
        let mut director = director.lock().await;
        let tables = director.maps.tables();
        let reals = tables.reals().map_err(|e| maps_failed(&e))?;
        let reals: HashMap<RealId, SocketAddr> =
            reals.iter().map(|(id, real)| (*id, real_address(real))).collect();
        let templates = director.templates(&reals, clock::now())?;
        (director.maps.flow_reader()?, reals, templates, director.maps.timeouts())
    };
    off_the_lock(move || {
        let now = clock::now();
        reader
            .for_each(|key, flow| connections.extend(connection(key, flow, &reals, &timeouts, now)))
            .map_err(|e| maps_failed(&e))?;
        connections.sort_by_key(|c| (c.protocol, c.service, c.client));
        Ok(connections)
    })
    .await
}

/// Returns the view of a tracked flow, unless the flow has ended or its real was removed.
fn connection(
    key: &FlowKey,
    flow: &Flow,
    reals: &HashMap<RealId, SocketAddr>,
    timeouts: &Timeouts,
    now: Tick,
) -> Option<Connection> {
    let (state, idle) = (flow.state(), flow.idle(now));
    let left = Ticks(state.timeout(timeouts).0.checked_sub(idle.0)?);
    let service = socket_address(key.destination, key.destination_port);
    let mut real = *reals.get(&flow.real())?;
    if real.port() == 0 {
        real.set_port(service.port());
    }
    Some(Connection {
        protocol: Protocol::from_number(u8::try_from(key.protocol).ok()?)?,
        client: socket_address(key.source, key.source_port),
        service,
        group: None,
        real,
        state: state.as_str().to_owned(),
        idle_seconds: idle.milliseconds() / 1000,
        expires_seconds: left.milliseconds() / 1000,
    })
}

impl Director {
    /// Returns the persistence entries as IPVS shows its templates: without a port, and in state ASSURED,
    /// which IPVS templates have from the first established connection on. For a group, the address is the
    /// group's number, as it is the firewall mark in IPVS.
    fn templates(
        &mut self,
        reals: &HashMap<RealId, SocketAddr>,
        now: Tick,
    ) -> Result<Vec<Connection>, Failure> {
        let services: HashMap<ServiceNumber, ServiceId> =
            self.maps.ids().services.iter().map(|(id, n)| (*n, *id)).collect();
        let mut templates = Vec::new();
        let each = |key: &ClientKey, client: &Client| {
            let (Some(id), Some(real)) = (services.get(&key.service), reals.get(&client.real)) else {
                return;
            };
            let left = now.age(client.expires);
            if client.expires.age(now) > Ticks::ZERO {
                return;
            }
            let (protocol, service, group) = match id {
                ServiceId::Endpoint(endpoint) => (endpoint.protocol, endpoint.address, None),
                ServiceId::Group { group, .. } => {
                    (Protocol::Tcp, (Ipv4Addr::from_bits(*group), 0).into(), Some(*group))
                }
            };
            templates.push(Connection {
                protocol,
                client: socket_address(key.address, Be16::ZERO),
                service,
                group,
                real: *real,
                state: "ASSURED".to_owned(),
                idle_seconds: 0,
                expires_seconds: left.milliseconds() / 1000,
            });
        };
        self.maps.tables().for_each_client(each).map_err(|e| maps_failed(&e))?;
        Ok(templates)
    }
}
