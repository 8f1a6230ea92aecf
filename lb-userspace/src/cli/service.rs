// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs service`.
#![forbid(unsafe_code)]

use clap::{Args, Subcommand};

use super::{
    real,
    ui::{Ui, table},
};
use crate::{
    api::{
        client::Api,
        types::{Change, ServiceView, Stats},
    },
    control::options::ServiceOptions,
    failure::Failure,
    model::{Persistence, ServiceId},
};

/// Add, edit, remove and show services
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Add a service
    #[command(
        after_help = "Examples:\n  xvs service add tcp 192.0.2.100:80\n  xvs service add tcp [2001:db8::100]:443 --scheduler wlc --persistent 5m"
    )]
    Add(AddArgs),
    /// Change options of a service; connections stay on their reals
    #[command(
        after_help = "Options that are not given keep their values.\n\nExample:\n  xvs service edit tcp 192.0.2.100:80 --scheduler wrr"
    )]
    Edit(OptionArgs),
    /// Remove a service and its reals
    #[command(aliases = ["rm", "delete"])]
    Remove(ServiceArgs),
    /// Show a service and its reals
    Show(ServiceArgs),
    /// List all services
    #[command(alias = "ls")]
    List,
}

/// What names a service.
#[derive(Args, Clone, Debug)]
pub struct ServiceArgs {
    /// tcp, udp or sctp; or `group`, followed by the group's number
    #[arg(value_name = "PROTO")]
    kind: String,
    /// VIP and port; port 0 stands for every port
    #[arg(value_name = "VIP:PORT")]
    name: String,
}

impl ServiceArgs {
    /// The service's name.
    ///
    /// # Errors
    /// Wrong input, in words that show how it is written.
    pub fn id(&self) -> Result<ServiceId, Failure> {
        ServiceId::parse(&self.kind, &self.name).map_err(Failure::wrong_input)
    }
}

/// Arguments of `xvs service add` and `edit`.
#[derive(Args, Debug)]
pub struct OptionArgs {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    options: ServiceOptions,
}

/// What `service add` takes.
#[derive(Args, Debug)]
pub struct AddArgs {
    #[command(flatten)]
    about: OptionArgs,
    /// Take over the VIP if another machine answers for it
    #[arg(long)]
    take_over: bool,
}

/// Carries the command out.
///
/// # Errors
/// What the daemon said.
pub async fn run(command: ServiceCommand, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let change = match command {
        ServiceCommand::Add(AddArgs { about: OptionArgs { service, options }, take_over }) => {
            Change::AddService { service: service.id()?, options, take_over }
        }
        ServiceCommand::Edit(OptionArgs { service, options }) => {
            Change::EditService { service: service.id()?, options }
        }
        ServiceCommand::Remove(service) => Change::RemoveService { service: service.id()? },
        ServiceCommand::Show(service) => {
            let view = find(api, service.id()?).await?;
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
    stats.services.into_iter().find(|view| view.id == id).ok_or_else(|| {
        Failure::wrong_input(format!("there is no service {id}"))
            .hint("`xvs service list` shows what there is")
    })
}

fn list(services: &[ServiceView]) -> String {
    let row = |service: &ServiceView| {
        vec![
            service.id.kind().to_owned(),
            service.id.name(),
            service.scheduler.as_str().to_owned(),
            service.tracking.as_str().to_owned(),
            service.reals.len().to_string(),
            service.shown(service.active_flows),
            service.shown(service.inactive_flows),
        ]
    };
    let columns = ["PROTO", "SERVICE", "SCHEDULER", "TRACKING", ">REALS", ">ACTIVE", ">INACTIVE"];
    table(&columns, services.iter().map(row))
}

fn show(view: &ServiceView) -> String {
    let mut lines = vec![list(std::slice::from_ref(view)), String::new()];
    lines.push(real::list(std::slice::from_ref(view)));
    if view.endpoints.is_empty() {
        lines.push(format!(
            "no packet reaches it: `xvs group add {} tcp VIP:PORT` says which do",
            view.id.name()
        ));
    } else if view.id.endpoint().is_none() {
        let words: Vec<String> = view.endpoints.iter().map(ToString::to_string).collect();
        lines.push(format!("endpoints: {}", words.join(", ")));
    }
    if !view.flags.is_empty() {
        let words: Vec<&str> = view.flags.iter().map(|flag| flag.as_str()).collect();
        lines.push(format!("flags: {}", words.join(", ")));
    }
    if let Some(Persistence { seconds, prefix }) = view.persistence {
        lines.push(format!("persistent: {seconds}s for each client /{prefix}"));
    }
    if view.one_packet {
        lines.push("one packet: a real is chosen for each UDP datagram".to_owned());
    }
    lines.push(format!("on removal: {}", view.on_removal));
    if view.slots_in_transition > 0 {
        let (moved, slots) = (view.slots_in_transition, view.slots);
        lines.push(format!("{moved} of {slots} slots are in transition after a pool change"));
        lines.extend(view.reals.iter().chain(&view.leaving).map(|real| {
            let flows = real.active_flows + real.inactive_flows;
            format!("  {}: {flows} tracked flows, and untracked flows of {} slots", real.address, real.slots)
        }));
    }
    for real in &view.leaving {
        let flows = real.active_flows + real.inactive_flows;
        lines.push(if view.reals.iter().any(|other| other.address == real.address) {
            format!("real {} still has {flows} connections by {}", real.address, real.forward)
        } else {
            format!("removed real {} still has {flows} connections", real.address)
        });
    }
    for reason in &view.reasons {
        lines.push(format!("{}: {} packets", reason.reason, reason.packets));
    }
    lines.join("\n")
}
