// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs real`.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use clap::{Args, Subcommand};

use super::{
    service::{self, ServiceArgs},
    ui::{Ui, table},
};
use crate::{
    api::{
        client::Api,
        types::{Change, ServiceView, Stats},
    },
    control::model::{Forward, MAX_WEIGHT, Protocol, RealAddress, ServiceId},
    failure::Failure,
};

/// Add, change, remove and list the real servers of services
#[derive(Debug, Subcommand)]
pub enum RealCommand {
    /// Add a real server to a service
    Add(AddArgs),
    /// Change a real server; its connections stay
    Edit(EditArgs),
    /// Remove a real server from a service; its connections begin anew elsewhere
    Remove(RealArgs),
    /// List the real servers of a service, or of all
    List(ListArgs),
}

/// What names a real.
#[derive(Args, Debug)]
pub struct RealArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The real server's address; without a port, the service's
    #[arg(value_name = "RIP[:PORT]")]
    real: RealAddress,
}

/// Arguments of `xvs real add`.
#[derive(Args, Debug)]
pub struct AddArgs {
    #[command(flatten)]
    real: RealArgs,
    /// How packets reach it
    #[arg(long, value_name = "METHOD", default_value = "dr")]
    forward: Forward,
    /// Its share of new connections relative to the others; 0 = none
    #[arg(long, value_name = "N", default_value = "1", allow_negative_numbers = true, value_parser = weight())]
    weight: u32,
}

/// Arguments of `xvs real edit`.
#[derive(Args, Debug)]
pub struct EditArgs {
    #[command(flatten)]
    real: RealArgs,
    /// How packets reach it
    #[arg(long, value_name = "METHOD")]
    forward: Option<Forward>,
    /// Its share of new connections relative to the others; 0 = none
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = weight())]
    weight: Option<u32>,
}

/// Arguments of `xvs real list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// tcp or udp
    #[arg(value_name = "PROTO", requires = "address")]
    protocol: Option<Protocol>,
    /// VIP and port of the service
    #[arg(value_name = "VIP:PORT", value_parser = service::address)]
    address: Option<SocketAddr>,
}

fn weight() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=i64::from(MAX_WEIGHT))
}

/// Carries the command out.
///
/// # Errors
/// What the daemon said.
pub async fn run(command: RealCommand, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let change = match command {
        RealCommand::Add(AddArgs { real: RealArgs { service, real }, forward, weight }) => {
            Change::AddReal { service: service.id(), real, forward, weight }
        }
        RealCommand::Edit(EditArgs { real: RealArgs { service, real }, forward, weight }) => {
            Change::EditReal { service: service.id(), real, forward, weight }
        }
        RealCommand::Remove(RealArgs { service, real }) => Change::RemoveReal { service: service.id(), real },
        RealCommand::List(ListArgs { protocol, address }) => {
            let services = match (protocol, address) {
                (Some(protocol), Some(address)) => {
                    vec![service::find(api, ServiceId { protocol, address }).await?]
                }
                _ => api.get::<Stats>("/v1/stats").await?.services,
            };
            return ui.show(&services, |services| list(services));
        }
    };
    ui.done(&api.post("/v1/changes", &change).await?)
}

/// The reals of services as a table.
#[must_use]
pub fn list(services: &[ServiceView]) -> String {
    let rows = services.iter().flat_map(|service| {
        service.reals.iter().map(|real| {
            vec![
                service.protocol.to_string(),
                service.address.to_string(),
                real.address.to_string(),
                real.forward.as_str().to_owned(),
                real.weight.to_string(),
                real.active_flows.to_string(),
                real.inactive_flows.to_string(),
                real.next_hop.clone(),
            ]
        })
    });
    let columns = ["PROTO", "SERVICE", "REAL", "FORWARD", ">WEIGHT", ">ACTIVE", ">INACTIVE", "NEXT HOP"];
    table(&columns, rows)
}
