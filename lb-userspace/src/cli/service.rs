// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs service`.
#![forbid(unsafe_code)]

use std::{fmt::Write as _, net::SocketAddr};

use clap::{Args, Subcommand};
use lb_common::schema::TABLE_SIZE;

use super::{
    real,
    ui::{Ui, table},
};
use crate::{
    api::{
        client::Api,
        types::{Change, ServiceView, Stats},
    },
    control::model::{Protocol, Scheduler, ServiceId, Tracking},
    failure::Failure,
};

/// Add, change, remove and show services
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Add a service
    Add(AddArgs),
    /// Change a service; its connections stay where they are
    Edit(EditArgs),
    /// Remove a service and its reals
    Remove(ServiceArgs),
    /// Show a service and its reals
    Show(ServiceArgs),
    /// List all services
    List,
}

/// What names a service.
#[derive(Args, Clone, Copy, Debug)]
pub struct ServiceArgs {
    /// tcp or udp
    #[arg(value_name = "PROTO")]
    protocol: Protocol,
    /// VIP and port; port 0 means every port
    #[arg(value_name = "VIP:PORT", value_parser = address)]
    address: SocketAddr,
}

impl ServiceArgs {
    /// The service's name.
    #[must_use]
    pub const fn id(self) -> ServiceId {
        ServiceId { protocol: self.protocol, address: self.address }
    }
}

/// Reads VIP and port.
///
/// # Errors
/// In words that show how it is written.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "not an address with a port; write 10.0.0.100:80 or [2001:db8::100]:80, with port 0 for every port".to_owned()
    })
}

/// Arguments of `xvs service add`.
#[derive(Args, Debug)]
pub struct AddArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// How a new connection picks a real
    #[arg(long, value_name = "NAME", default_value = "mh")]
    scheduler: Scheduler,
    /// Which flows are written down
    #[arg(long, value_name = "WHICH", default_value = "full")]
    tracking: Tracking,
}

/// Arguments of `xvs service edit`.
#[derive(Args, Debug)]
pub struct EditArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// How a new connection picks a real
    #[arg(long, value_name = "NAME")]
    scheduler: Option<Scheduler>,
    /// Which flows are written down
    #[arg(long, value_name = "WHICH")]
    tracking: Option<Tracking>,
}

/// Carries the command out.
///
/// # Errors
/// What the daemon said.
pub async fn run(command: ServiceCommand, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let change = match command {
        ServiceCommand::Add(AddArgs { service, scheduler, tracking }) => {
            Change::AddService { service: service.id(), scheduler, tracking }
        }
        ServiceCommand::Edit(EditArgs { service, scheduler, tracking }) => {
            Change::EditService { service: service.id(), scheduler, tracking }
        }
        ServiceCommand::Remove(service) => Change::RemoveService { service: service.id() },
        ServiceCommand::Show(service) => {
            let view = find(api, service.id()).await?;
            return ui.show(&view, show);
        }
        ServiceCommand::List => {
            let stats: Stats = api.get("/v1/stats").await?;
            return ui.show(&stats.services, |services| list(services));
        }
    };
    ui.done(&api.post("/v1/changes", &change).await?)
}

/// A service as the daemon has it.
///
/// # Errors
/// Wrong input if there is none.
pub async fn find(api: &Api, id: ServiceId) -> Result<ServiceView, Failure> {
    let stats: Stats = api.get("/v1/stats").await?;
    stats
        .services
        .into_iter()
        .find(|view| view.protocol == id.protocol && view.address == id.address)
        .ok_or_else(|| {
            Failure::wrong_input(format!("there is no service {id}"))
                .hint("`xvs service list` shows what there is")
        })
}

fn list(services: &[ServiceView]) -> String {
    let row = |service: &ServiceView| {
        vec![
            service.protocol.to_string(),
            service.address.to_string(),
            service.scheduler.as_str().to_owned(),
            service.tracking.as_str().to_owned(),
            service.reals.len().to_string(),
            service.active_flows.to_string(),
            service.inactive_flows.to_string(),
        ]
    };
    let columns = ["PROTO", "SERVICE", "SCHEDULER", "TRACKING", ">REALS", ">ACTIVE", ">INACTIVE"];
    table(&columns, services.iter().map(row))
}

fn show(view: &ServiceView) -> String {
    let mut page = list(std::slice::from_ref(view));
    page.push_str("\n\n");
    page.push_str(&real::list(std::slice::from_ref(view)));
    if view.slots_in_transition > 0 {
        let slots = view.slots_in_transition;
        // Writing to a string cannot fail.
        let _ = write!(page, "\n{slots} of {TABLE_SIZE} slots are in transition after a pool change");
    }
    for reason in &view.reasons {
        // Writing to a string cannot fail.
        let _ = write!(page, "\n{}: {} packets", reason.reason, reason.packets);
    }
    page
}
