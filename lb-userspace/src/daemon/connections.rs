// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tracked connections, for `xvs connections`. A million of them are read and sorted without the lock on the
//! director.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    mem,
    net::{Ipv4Addr, SocketAddr},
};

use lb_common::{
    ids::{RealId, ServiceId as ServiceNumber},
    schema::{Client, ClientKey, FlowKey, Timeouts},
    ticks::{Tick, Ticks},
    wire::Be16,
};

use super::{Director, count::off_the_lock, maps::maps_failed};
use crate::{
    api::{
        connections::Selection,
        types::{Connection, Done},
    },
    daemon::Shared,
};
use lb_control::image::{real_address, socket_address};
use lb_dataplane::{Flow, clock, flow_reader::FlowReader};
use lb_model::{Protocol, ServiceId};
use lb_model::{
    failure::{ErrorCode, Failure},
    text::count,
};

/// Number of ended flows whose leases and replies are forgotten under one lock.
const AT_ONCE: usize = 1000;

/// The reals that connections may have, with their services.
type Reals = HashMap<RealId, (SocketAddr, ServiceNumber)>;

/// Flows, persistence entries and reals, as they were read.
struct Source {
    reader: FlowReader,
    reals: Reals,
    templates: Vec<Connection>,
    timeouts: Timeouts,
    /// The service to which connections must belong.
    service: Option<ServiceNumber>,
}

impl Source {
    async fn read(director: &Shared, selection: &Selection) -> Result<Self, Failure> {
        let mut director = director.lock().await;
        let service = selection.service.map(|id| director.number_of(&id)).transpose()?;
        let reals = director.maps.tables().reals().map_err(|e| maps_failed(&e))?;
        let reals = reals.iter().map(|(id, real)| (*id, (real_address(real), real.service))).collect();
        let templates = director.templates(&reals, service, clock::now())?;
        let (reader, timeouts) = (director.maps.flow_reader()?, director.maps.timeouts());
        Ok(Self { reader, reals, templates, timeouts, service })
    }

    /// Returns the view of a flow, if it is selected.
    fn selected(&self, key: &FlowKey, flow: &Flow, selection: &Selection, now: Tick) -> Option<Connection> {
        let (connection, service) = connection(key, flow, &self.reals, &self.timeouts, now)?;
        let is_of_service = self.service.is_none_or(|wanted| wanted == service);
        (is_of_service && selection.has_ends_of(&connection)).then_some(connection)
    }
}

/// Returns every selected tracked flow that has not ended, and every selected persistence entry of a client.
///
/// # Errors
/// Wrong input if the service does not exist. If a map cannot be read.
pub async fn connections(director: &Shared, selection: Selection) -> Result<Vec<Connection>, Failure> {
    let mut source = Source::read(director, &selection).await?;
    off_the_lock(move || {
        let now = clock::now();
        let mut connections = mem::take(&mut source.templates);
        connections.retain(|template| selection.has_ends_of(template));
        source
            .reader
            .for_each(|key, flow| connections.extend(source.selected(key, flow, &selection, now)))
            .map_err(|e| maps_failed(&e))?;
        connections.sort_by_key(|c| (c.protocol, c.service, c.client));
        Ok(connections)
    })
    .await
}

/// Ends the selected tracked connections. Returns what was done.
///
/// # Errors
/// Wrong input if everything is selected, or the service does not exist. If a map cannot be read or written.
pub async fn cut(director: &Shared, selection: Selection) -> Result<Done, Failure> {
    if selection.is_all() {
        return Err(Failure::wrong_input("which connections?")
            .hint("select them by --service, --client or --real; `xvs connections` lists them"));
    }
    let source = Source::read(director, &selection).await?;
    let ended = off_the_lock(move || {
        let now = clock::now();
        source
            .reader
            .cut(|key, flow| source.selected(key, flow, &selection, now).is_some())
            .map_err(|e| maps_failed(&e))
    })
    .await?;
    for some in ended.chunks(AT_ONCE) {
        director.lock().await.maps.forget_ended(some)?;
    }
    let line = format!("{} cut", count(ended.len(), "connection"));
    tracing::info!("{line}");
    Ok(Done { changes: vec![line], warnings: Vec::new() })
}

/// Returns the view of a tracked flow and its service, unless the flow has ended or its real was removed.
fn connection(
    key: &FlowKey,
    flow: &Flow,
    reals: &Reals,
    timeouts: &Timeouts,
    now: Tick,
) -> Option<(Connection, ServiceNumber)> {
    let (state, idle) = (flow.state(), flow.idle(now));
    let left = Ticks(state.timeout(timeouts).0.checked_sub(idle.0)?);
    let service = socket_address(key.destination, key.destination_port);
    let (mut real, number) = *reals.get(&flow.real())?;
    if real.port() == 0 {
        real.set_port(service.port());
    }
    let connection = Connection {
        protocol: Protocol::from_number(u8::try_from(key.protocol).ok()?)?,
        client: socket_address(key.source, key.source_port),
        service,
        group: None,
        real,
        state: state.as_str().to_owned(),
        idle_seconds: idle.milliseconds() / 1000,
        expires_seconds: left.milliseconds() / 1000,
    };
    Some((connection, number))
}

impl Director {
    /// Returns the number of a service in the maps.
    fn number_of(&self, id: &ServiceId) -> Result<ServiceNumber, Failure> {
        self.maps.ids().services.get(id).copied().ok_or_else(|| {
            Failure::wrong_input(format!("there is no service {id}"))
                .hint("`xvs service list` lists the services")
                .because(ErrorCode::NoService)
        })
    }

    /// Returns the persistence entries as IPVS shows its templates: without a port, and in state ASSURED,
    /// which IPVS templates have from the first established connection on. For a group, the address is the
    /// group's number, as it is the firewall mark in IPVS.
    fn templates(
        &mut self,
        reals: &Reals,
        wanted: Option<ServiceNumber>,
        now: Tick,
    ) -> Result<Vec<Connection>, Failure> {
        let services: HashMap<ServiceNumber, ServiceId> =
            self.maps.ids().services.iter().map(|(id, n)| (*n, *id)).collect();
        let mut templates = Vec::new();
        let each = |key: &ClientKey, client: &Client| {
            let (Some(id), Some((real, _))) = (services.get(&key.service), reals.get(&client.real)) else {
                return;
            };
            if wanted.is_some_and(|wanted| wanted != key.service) {
                return;
            }
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
