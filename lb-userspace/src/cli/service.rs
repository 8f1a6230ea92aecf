// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs service`.
#![forbid(unsafe_code)]

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    follow,
    list::{ListOptions, flows, service_texts},
    real,
    ui::Ui,
    units::Units,
};
use crate::api::{
    client::Api,
    health::PoolView,
    types::{Change, RealView, ServiceView, Stats, Status, Together},
};
use lb_control::{
    ipvs::Left,
    options::{RealOptions, ServiceOptions},
};
use lb_model::failure::Failure;
use lb_model::health::HealthPolicy;
use lb_model::{Forward, Persistence, RealAddress, ServiceId};

/// Add, edit, remove and show services
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Add a service and, with --real, its reals: all of it, or nothing
    #[command(
        after_help = "Examples:\n  xvs service add tcp 192.0.2.100:80 --real 192.0.2.11 --real 192.0.2.12\n  xvs service add tcp [2001:db8::100]:443 --scheduler wlc --persistent 5m"
    )]
    Add(AddArgs),
    /// Change options of a service; connections stay on their reals
    #[command(
        after_help = "Options that are not given keep their values.\n\nExample:\n  xvs service edit tcp 192.0.2.100:80 --scheduler wrr"
    )]
    Edit(EditArgs),
    /// Remove a service and its reals
    #[command(aliases = ["rm", "delete"])]
    Remove(ServiceArgs),
    /// Show a service and its reals
    Show(ServiceArgs),
    /// List all services
    #[command(alias = "ls", after_help = "Example:\n  xvs service list --filter 'tcp :443' --watch")]
    List(ListOptions),
}

/// The arguments that identify a service.
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
    /// Returns the id of the service.
    ///
    /// # Errors
    /// If the name is invalid; the message shows the valid forms.
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

/// The arguments of `service edit`.
#[derive(Args, Debug)]
pub struct EditArgs {
    #[command(flatten)]
    about: OptionArgs,
    /// Make the change at once, even if it ends connections without a flow table entry
    ///
    /// Without this option, a change of the scheduler or of its flags is refused while connections depend on the
    /// table of the old one: those that `mh`, `sh` or `dh` selected under `--tracking auto`.
    #[arg(long)]
    force: bool,
}

/// The arguments of `service add`.
#[derive(Args, Debug)]
pub struct AddArgs {
    #[command(flatten)]
    about: OptionArgs,
    /// Also add this real server (can be repeated); the port defaults to the service's
    #[arg(long = "real", value_name = "RIP[:PORT]")]
    reals: Vec<RealAddress>,
    /// Forward method of the reals of --real [default: dr]
    #[arg(long, value_name = "METHOD", requires = "reals")]
    forward: Option<Forward>,
    /// Take over the VIP if another machine answers for it
    #[arg(long)]
    take_over: bool,
    /// Do not fail if the service or a real exists: leave it unchanged, and add what is missing
    #[arg(long)]
    if_missing: bool,
}

impl AddArgs {
    /// Returns the changes that add the service and its reals.
    fn changes(self) -> Result<Together, Failure> {
        let Self { about: OptionArgs { service, options }, reals, forward, take_over, if_missing } = self;
        let service = service.id()?;
        let mut changes = vec![Change::AddService { service, options, take_over }];
        changes.extend(reals.into_iter().map(|real| {
            let options = RealOptions { forward, ..RealOptions::default() };
            Change::AddReal { service, real, options }
        }));
        Ok(Together { changes, if_missing })
    }
}

/// Services, and those of the kernel's IPVS beside them.
#[derive(Serialize)]
#[serde(transparent)]
struct Listing {
    services: Vec<ServiceView>,
    #[serde(skip)]
    left: Vec<Left>,
}

/// Executes the command.
///
/// # Errors
/// If the daemon refuses or cannot be reached.
pub async fn run(command: ServiceCommand, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let change = match command {
        ServiceCommand::Add(args) => {
            return ui.done(&api.post("/v1/together", &args.changes()?).await?);
        }
        ServiceCommand::Edit(EditArgs { about: OptionArgs { service, options }, force }) => {
            Change::EditService { service: service.id()?, options, force }
        }
        ServiceCommand::Remove(service) => Change::RemoveService { service: service.id()? },
        ServiceCommand::Show(service) => {
            let view = find(api, service.id()?).await?;
            return ui.show_with(&view, show);
        }
        ServiceCommand::List(options) => {
            let fetch = async || {
                let mut services = api.get::<Stats>("/v1/stats").await?.services;
                services.retain(|service| options.filter().passes(&service_texts(service)));
                let follow = api.get::<Status>("/v1/status").await?.follow;
                Ok(Listing { services, left: follow.map_or_else(Vec::new, |follow| follow.left) })
            };
            let text = |listing: &Listing, ui: &Ui| {
                let left = follow::left_lines(&listing.left);
                let page = list(&listing.services, options.units(), ui);
                if left.is_empty() { page } else { format!("{page}\n\n{}", left.trim_end()) }
            };
            return options.show(ui, fetch, text).await;
        }
    };
    ui.done(&api.post("/v1/changes", &change).await?)
}

/// Returns a service of the daemon.
///
/// # Errors
/// If the service does not exist; the failure is wrong input.
pub async fn find(api: &Api, id: ServiceId) -> Result<ServiceView, Failure> {
    let stats: Stats = api.get("/v1/stats").await?;
    stats.services.into_iter().find(|view| view.id == id).ok_or_else(|| {
        Failure::wrong_input(format!("there is no service {id}"))
            .hint("`xvs service list` lists the services")
    })
}

/// Returns services as a table.
fn list(services: &[ServiceView], units: Units, ui: &Ui) -> String {
    let row = |service: &ServiceView| {
        let serves = |real: &&RealView| real.state() == "up" && real.effective_weight > 0;
        vec![
            service.id.kind().to_owned(),
            service.id.name(),
            service.scheduler.as_str().to_owned(),
            service.tracking.as_str().to_owned(),
            service.reals.len().to_string(),
            service.reals.iter().filter(serves).count().to_string(),
            flows(service, service.active_flows, units),
            flows(service, service.inactive_flows, units),
        ]
    };
    let columns = ["PROTO", "~SERVICE", "SCHEDULER", "TRACKING", ">REALS", ">UP", ">ACTIVE", ">INACTIVE"];
    ui.table(&columns, services.iter().map(row))
}

/// Returns the options of a service about health, and the state of its pool; nothing without checks.
fn health(view: &ServiceView) -> Vec<String> {
    let has_checks = view.reals.iter().any(|real| !real.checks.is_empty());
    if !has_checks {
        return Vec::new();
    }
    let PoolView { options, able_reals, healthy_reals, mode, .. } = &view.health;
    let mut policy = HealthPolicy::default();
    options.apply(&mut policy);
    let traits = policy.traits().into_iter().map(|(name, value)| format!("{name} {value}"));
    vec![
        String::new(),
        format!("health: {healthy_reals} of {able_reals} reals are healthy, pool {mode}"),
        format!("  {}", traits.collect::<Vec<_>>().join(", ")),
    ]
}

fn show(view: &ServiceView, ui: &Ui) -> String {
    let (alone, units) = (std::slice::from_ref(view), Units { exact: true });
    let mut lines = vec![list(alone, units, ui), String::new()];
    lines.push(real::list(alone, units, true, ui));
    lines.extend(health(view));
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

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;
    use lb_model::SchedulerFlag;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: AddArgs,
    }

    fn changes(line: &str) -> Vec<serde_json::Value> {
        let words = std::iter::once("add").chain(line.split(' '));
        let together = Line::try_parse_from(words).unwrap().args.changes().unwrap();
        together.changes.iter().map(|change| serde_json::to_value(change).unwrap()).collect()
    }

    #[test]
    fn reals_come_with_their_service() {
        let changes = changes("TCP 10.0.0.100:80 --real 10.0.0.2 --real 10.0.0.3:8080 --forward nat");
        let names: Vec<_> = changes.iter().map(|change| change["change"].as_str().unwrap()).collect();
        assert_eq!(names, ["add-service", "add-real", "add-real"]);
        assert!(changes.iter().all(|change| change["service"]["protocol"] == "tcp"));
        assert_eq!((&changes[1]["real"], &changes[2]["real"]), (&"10.0.0.2".into(), &"10.0.0.3:8080".into()));
        assert!(changes[1..].iter().all(|change| change["options"]["forward"] == "nat"));
    }

    #[test]
    fn the_help_names_every_flag_that_a_scheduler_takes() {
        let help = Line::command().render_help().to_string();
        for flag in SchedulerFlag::ALL.iter().filter(|flag| flag.scheduler().is_some()) {
            assert!(help.contains(flag.as_str()), "{flag}\n{help}");
        }
    }

    #[test]
    fn a_service_may_come_without_reals() {
        assert_eq!(changes("udp 10.0.0.100:53 --if-missing").len(), 1);
    }
}
