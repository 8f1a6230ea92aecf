// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs connections`.
#![forbid(unsafe_code)]

use std::fmt::Display;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde::Serialize;

use super::{list::ListOptions, ui::Ui, units::Units};
use crate::api::{
    client::Api,
    connections::{Selection, network},
    query,
    types::{Connection, ServiceView, Stats},
};
use lb_model::{RealAddress, ServiceId, failure::Failure};

/// List tracked connections, or end some
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ConnectionsArgs {
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    options: ListOptions,
    #[command(subcommand)]
    command: Option<ConnectionsCommand>,
}

#[derive(Debug, Subcommand)]
enum ConnectionsCommand {
    /// End tracked connections
    ///
    /// Each next packet of a TCP connection is answered with a reset, until the connection was idle for
    /// --tcp-timeout. Flows of other protocols begin anew. A client may connect again; its persistence
    /// entry stays. Connections without an entry in the flow table go on: `xvs connections` shows which
    /// services have such.
    Cut(Selected),
}

/// Options that select connections: all of those that are given must apply.
#[derive(Args, Debug)]
struct Selected {
    /// Only connections of this service
    #[arg(long, num_args = 2, value_names = ["PROTO", "VIP:PORT"])]
    service: Option<Vec<String>>,
    /// Only connections of clients with this address, or in this network
    #[arg(long, value_name = "CIP[/LEN]", value_parser = network)]
    client: Option<IpNet>,
    /// Only connections to this real server; without a port, to all its ports
    #[arg(long, value_name = "RIP[:PORT]")]
    real: Option<RealAddress>,
}

impl Selected {
    fn selection(&self) -> Result<Selection, Failure> {
        let service = match self.service.as_deref() {
            Some([kind, name]) => Some(ServiceId::parse(kind, name).map_err(Failure::wrong_input)?),
            _ => None,
        };
        Ok(Selection { service, client: self.client, real: self.real })
    }
}

/// Prints the tracked connections, or ends some.
///
/// # Errors
/// If the selection is wrong, or the daemon refuses or does not answer.
pub async fn run(args: &ConnectionsArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    if let Some(ConnectionsCommand::Cut(cut)) = &args.command {
        return ui.done(&api.post("/v1/connections/cut", &cut.selection()?).await?);
    }
    let options = &args.options;
    let Selection { service, client, real } = args.selected.selection()?;
    let path = query::path(
        "/v1/connections",
        &[
            ("service", service.as_ref().map(|value| value as &dyn Display)),
            ("client", client.as_ref().map(|value| value as &dyn Display)),
            ("real", real.as_ref().map(|value| value as &dyn Display)),
        ],
    );
    let fetch = async || {
        let mut connections: Vec<Connection> = api.get(&path).await?;
        let untracked = if connections.is_empty() { untracked(api).await? } else { Vec::new() };
        connections.retain(|connection| options.filter().passes(&row_of(connection, options.units())));
        Ok(Listed { connections, untracked })
    };
    options.show(ui, fetch, |listed, ui| tracked(listed, options.units(), ui)).await
}

/// Tracked connections. As JSON, the list of connections alone.
#[derive(Serialize)]
#[serde(transparent)]
struct Listed {
    connections: Vec<Connection>,
    /// A line for each service that tracks none, if the list is empty.
    #[serde(skip)]
    untracked: Vec<String>,
}

/// Returns connections as a table.
fn tracked(listed: &Listed, units: Units, ui: &Ui) -> String {
    let columns = ["~SERVICE", "STATE", "CLIENT", "REAL", ">IDLE", ">LEFT"];
    let page = ui.table(&columns, listed.connections.iter().map(|connection| row_of(connection, units)));
    std::iter::once(page).chain(listed.untracked.iter().cloned()).collect::<Vec<_>>().join("\n")
}

fn row_of(connection: &Connection, units: Units) -> Vec<String> {
    let service = match connection.group {
        Some(group) => ServiceId::group(group).to_string(),
        None => format!("{} {}", connection.protocol, connection.service),
    };
    vec![
        service,
        // A persistence entry is not a connection: it has no port.
        if connection.client.port() == 0 { "persistent".to_owned() } else { connection.state.clone() },
        connection.client.to_string(),
        connection.real.to_string(),
        units.seconds(connection.idle_seconds),
        units.seconds(connection.expires_seconds),
    ]
}

/// Returns a line for each service whose connections are not tracked, with the command to track them.
async fn untracked(api: &Api) -> Result<Vec<String>, Failure> {
    let stats: Stats = api.get("/v1/stats").await?;
    let untracked = stats.services.iter().filter(|view| !view.counts_flows());
    let line = |view: &ServiceView| {
        let ServiceView { id, scheduler, tracking, .. } = view;
        format!(
            "{id}: its connections have no entries in the flow table ({scheduler}, tracking {tracking}); to \
             see them: xvs service edit {id} --tracking full"
        )
    };
    Ok(untracked.map(line).collect())
}
