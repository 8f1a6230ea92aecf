// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs real`.
#![forbid(unsafe_code)]

use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};

use super::{
    list::{ListOptions, flows, keep_matching},
    service::{self, ServiceArgs},
    ssh::SshArgs,
    ui::{Ui, age, say},
    units::Units,
};
use crate::api::{
    client::Api,
    health::HealthView,
    types::{Change, Done, RealView, ServiceView, Stats, Together},
};
use lb_control::options::RealOptions;
use lb_model::failure::Failure;
use lb_model::health::Admin;
use lb_model::{RealAddress, ServiceId};

/// Add, edit, drain, remove and list real servers
#[derive(Debug, Subcommand)]
pub enum RealCommand {
    /// Add real servers to a service: all of them, or none
    #[command(
        after_help = "Examples:\n  xvs real add tcp 192.0.2.100:80 192.0.2.11 192.0.2.12\n  xvs real add tcp 192.0.2.100:80 10.0.0.11:8080 --forward fnat --weight 100"
    )]
    Add(AddArgs),
    /// Change options of a real server; its connections stay
    #[command(
        after_help = "Options that are not given keep their values.\n\nExample:\n  xvs real edit tcp 192.0.2.100:80 192.0.2.11 --weight 50"
    )]
    Edit(OptionArgs),
    /// Remove a real server from a service; the service's --on-removal decides what happens to its
    /// connections
    #[command(aliases = ["rm", "delete"])]
    Remove(RealArgs),
    /// Let a real server take connections again, after `drain` or `disable`
    #[command(after_help = "Example:\n  xvs real enable tcp 192.0.2.100:80 192.0.2.11")]
    Enable(RealArgs),
    /// Disable a real server: send it no connections, and end its existing ones as if it were down
    ///
    /// The service's --on-down decides what happens to the connections.
    #[command(after_help = "Example:\n  xvs real disable tcp 192.0.2.100:80 192.0.2.11")]
    Disable(RealArgs),
    /// Drain a real server: send it no new connections
    ///
    /// The weight stays, and `xvs real enable` ends the draining. With --wait, the command ends when no connection is left (exit code 0), or at
    /// the deadline (exit code 1).
    #[command(after_help = "Example:\n  xvs real drain tcp 192.0.2.100:80 192.0.2.11 --wait --deadline 10m")]
    Drain(DrainArgs),
    /// List the real servers of one service or of all
    #[command(alias = "ls")]
    List(ListArgs),
}

/// The arguments that identify a real.
#[derive(Args, Debug)]
pub struct RealArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Address of the real server; the port defaults to the service's
    #[arg(value_name = "RIP[:PORT]")]
    real: RealAddress,
}

/// Arguments of `xvs real add`.
#[derive(Args, Debug)]
pub struct AddArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Addresses of real servers; without a port, the service's
    #[arg(value_name = "RIP[:PORT]", required = true)]
    reals: Vec<RealAddress>,
    #[command(flatten)]
    options: RealOptions,
    /// Add missing reals, and leave existing ones unchanged
    #[arg(long)]
    if_missing: bool,
    #[command(flatten)]
    ssh: SshArgs,
}

/// Arguments of `xvs real edit`.
#[derive(Args, Debug)]
pub struct OptionArgs {
    #[command(flatten)]
    real: RealArgs,
    #[command(flatten)]
    options: RealOptions,
}

/// Arguments of `xvs real drain`.
#[derive(Args, Debug)]
pub struct DrainArgs {
    #[command(flatten)]
    real: RealArgs,
    /// Wait until no connection is left
    #[arg(long)]
    wait: bool,
    /// Longest time to wait, such as 5m
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
}

/// Interval at which `drain --wait` checks the connections.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `xvs real list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// tcp, udp or sctp; or `group`, followed by the group's number
    #[arg(value_name = "PROTO", requires = "name")]
    kind: Option<String>,
    /// VIP and port of the service
    #[arg(value_name = "VIP:PORT")]
    name: Option<String>,
    #[command(flatten)]
    options: ListOptions,
}

/// Executes the command.
///
/// # Errors
/// If the daemon refuses or cannot be reached.
pub async fn run(command: RealCommand, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let change = match command {
        RealCommand::Add(args) => return add(args, api, ui).await,
        RealCommand::Edit(OptionArgs { real: RealArgs { service, real }, options }) => {
            Change::EditReal { service: service.id()?, real, options }
        }
        RealCommand::Remove(RealArgs { service, real }) => {
            Change::RemoveReal { service: service.id()?, real }
        }
        RealCommand::Enable(RealArgs { service, real }) => set_admin(service.id()?, real, Admin::Enabled),
        RealCommand::Disable(RealArgs { service, real }) => set_admin(service.id()?, real, Admin::Disabled),
        RealCommand::Drain(args) => return drain(args, api, ui).await,
        RealCommand::List(ListArgs { kind, name, options }) => {
            let id = match kind.zip(name) {
                Some((kind, name)) => Some(ServiceId::parse(&kind, &name).map_err(Failure::wrong_input)?),
                None => None,
            };
            let fetch = async || {
                let mut services = match id {
                    Some(id) => vec![service::find(api, id).await?],
                    None => api.get::<Stats>("/v1/stats").await?.services,
                };
                keep_matching(&mut services, options.filter());
                Ok(services)
            };
            let text =
                |services: &Vec<ServiceView>, ui: &Ui| list(services, options.units(), options.is_wide(), ui);
            return options.show(ui, fetch, text).await;
        }
    };
    ui.done(&api.post("/v1/changes", &change).await?)
}

/// Adds reals; with `--ssh`, the real server is set up first.
async fn add(args: AddArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let AddArgs { service, reals, options, if_missing, ssh } = args;
    let service = service.id()?;
    let set_up = ssh.set_up(service::find(api, service), &reals, &options, if_missing).await?;
    let changes =
        reals.into_iter().map(|real| Change::AddReal { service, real, options: options.clone() }).collect();
    let done = api.post("/v1/together", &Together { changes, if_missing }).await;
    match (done, set_up) {
        (Err(failure), Some(set_up)) => Err(set_up.in_vain(failure)),
        (done, _) => ui.done(&done?),
    }
}

/// Returns the change that sets the operator's state of a real.
fn set_admin(service: ServiceId, real: RealAddress, admin: Admin) -> Change {
    Change::EditReal { service, real, options: RealOptions { admin: Some(admin), ..RealOptions::default() } }
}

/// Sets the state to `drain`, and waits if requested.
async fn drain(args: DrainArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let DrainArgs { real: RealArgs { service, real }, wait, deadline } = args;
    let id = service.id()?;
    let address = real.of_service(&id);
    let change = set_admin(id, real, Admin::Drain);
    let done: Done = api.post("/v1/changes", &change).await?;
    let end = deadline.map(|deadline| Instant::now() + deadline);
    let mut last = None;
    loop {
        let left = flows_left(api, id, address).await?;
        if last != Some(left) && wait {
            say(format_args!("{left} on {address}"));
            last = Some(left);
        }
        if left == Left::default() || !wait {
            let line = format!("{address} of {id} takes no new connections, {left}");
            return ui.done(&Done { changes: vec![line], warnings: done.warnings });
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(Failure::failed(format!("{left} on {address} of {id} at the deadline")).hint(
                format!(
                    "wait longer with the same command, or end them with `xvs real remove {id} {address}`"
                ),
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Remaining load of a real.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Left {
    /// Tracked connections.
    connections: u64,
    /// Slots with untracked connections: their number is known when each connection has sent a packet, or the
    /// idle timeout has elapsed.
    slots: u32,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = match self.connections {
            1 => "1 connection is".to_owned(),
            number => format!("{number} connections are"),
        };
        match self.slots {
            0 => write!(f, "{connections} left"),
            slots => write!(
                f,
                "{connections} left, and those of {slots} slots that have not spoken since the change"
            ),
        }
    }
}

async fn flows_left(api: &Api, id: ServiceId, address: SocketAddr) -> Result<Left, Failure> {
    let view = service::find(api, id).await?;
    let real = view.reals.iter().find(|real| real.address == address);
    Ok(real.map_or_else(Left::default, |real| Left {
        connections: real.active_flows + real.inactive_flows,
        slots: real.slots,
    }))
}

/// Columns of the list of reals.
const COLUMNS: [&str; 8] =
    ["SERVICE / REAL", "HOW", ">WEIGHT", "ADMIN", "HEALTH", "SINCE", ">ACTIVE", "~LAST"];
/// All columns that there are.
const WIDE: [&str; 11] = [
    "SERVICE / REAL",
    "HOW",
    ">WEIGHT",
    "ADMIN",
    "HEALTH",
    "SINCE",
    ">ACTIVE",
    ">INACTIVE",
    "STATE",
    "NEXT HOP",
    "LAST",
];

/// Returns the reals of services as a table, below a row for each service; with all columns if `is_wide`.
#[must_use]
pub fn list(services: &[ServiceView], units: Units, is_wide: bool, ui: &Ui) -> String {
    let columns: &[&str] = if is_wide { &WIDE } else { &COLUMNS };
    let rows = services.iter().flat_map(|service| {
        let mut head = vec![service.id.to_string(), service.scheduler.as_str().to_owned()];
        head.resize(columns.len(), String::new());
        let active = columns.iter().position(|name| *name == ">ACTIVE").unwrap_or_default();
        head[active] = flows(service, service.active_flows, units);
        let reals = service.reals.iter().map(move |real| row(service, real, units, is_wide));
        std::iter::once(head).chain(reals)
    });
    let down = services.iter().flat_map(|service| service.reals.iter().filter(|real| !real.is_up));
    let mut why: Vec<String> = down.map(|real| format!("{}: {}", real.address.ip(), real.next_hop)).collect();
    why.sort();
    why.dedup();
    std::iter::once(ui.table(columns, rows)).chain(why).collect::<Vec<_>>().join("\n")
}

fn row(service: &ServiceView, real: &RealView, units: Units, is_wide: bool) -> Vec<String> {
    let health = real.health.as_ref();
    let none = || "-".to_owned();
    let how = if real.tunnel.is_ipip() {
        real.forward.as_str().to_owned()
    } else {
        format!("{} {}", real.forward.as_str(), real.tunnel)
    };
    let since = health.map_or_else(none, |health| age(health.since_seconds));
    let active = flows(service, real.active_flows, units);
    let last = health.map_or_else(none, HealthView::last_word);
    let mut row = vec![format!("  {}", real.address), how, real.weights(), real.admin.to_string()];
    // The results that speak against the state are part of the word for it.
    row.extend([health.map_or_else(none, HealthView::word), since, active]);
    if is_wide {
        let next_hop = if real.is_up || real.is_local { real.next_hop.clone() } else { none() };
        row.extend([flows(service, real.inactive_flows, units), real.state().to_owned(), next_hop]);
    }
    row.push(last);
    row
}
