// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs check`.
#![forbid(unsafe_code)]

use clap::{Args, Subcommand};

use super::{
    list::ListOptions,
    service::ServiceArgs,
    ui::{Ui, age, table},
};
use crate::api::{
    client::Api,
    health::{CheckRun, CheckRunResult, CheckView, CheckedReal},
    types::Change,
};
use lb_control::options::CheckOptions;
use lb_model::{
    RealAddress,
    check::{CheckName, CheckType},
    failure::Failure,
    health::Health,
};

/// Add, edit, remove, list and run health checks
///
/// A check is a definition. `xvs service edit PROTO VIP:PORT --check NAME` applies it to the reals of a service:
/// the director then probes each of them, and sends no new connections to those that are down.
#[derive(Debug, Subcommand)]
pub enum CheckCommand {
    /// Add a health check
    #[command(
        after_help = "Examples:\n  xvs check add web http --path /health --status 200\n  xvs check add tls https --host www.example.org --interval 5s --timeout 2s\n  xvs check add db tcp --via direct --port 5432\n  xvs check add script exec -- /usr/lib/xvs/check-mail --strict"
    )]
    Add(AddArgs),
    /// Change options of a health check
    #[command(
        after_help = "Options that are not given keep their values. An empty text removes an option.\n\nExample:\n  xvs check edit web --interval 1s --body ''"
    )]
    Edit(EditArgs),
    /// Remove a health check that no service uses
    #[command(aliases = ["rm", "delete"])]
    Remove(NameArgs),
    /// Show a health check, and the state of each real by it
    Show(NameArgs),
    /// List all health checks
    #[command(alias = "ls")]
    List(ListOptions),
    /// Probe a real once and print each step; its state does not change
    ///
    /// Exit code 0: the probe succeeded; 1: it failed.
    #[command(after_help = "Example:\n  xvs check run web tcp 192.0.2.100:80 192.0.2.11")]
    Run(RunArgs),
}

/// Arguments of `xvs check add`.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// Name of the check
    #[arg(value_name = "NAME")]
    name: CheckName,
    /// Type of the check
    #[arg(value_name = "TYPE")]
    kind: CheckType,
    #[command(flatten)]
    options: CheckOptions,
}

/// Arguments of `xvs check edit`.
#[derive(Args, Debug)]
pub struct EditArgs {
    /// Name of the check
    #[arg(value_name = "NAME")]
    name: CheckName,
    #[command(flatten)]
    options: CheckOptions,
}

/// The name of a check.
#[derive(Args, Debug)]
pub struct NameArgs {
    /// Name of the check
    #[arg(value_name = "NAME")]
    name: CheckName,
}

/// Arguments of `xvs check run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Name of the check
    #[arg(value_name = "NAME")]
    check: CheckName,
    #[command(flatten)]
    service: ServiceArgs,
    /// Address of the real server; the port defaults to the service's
    #[arg(value_name = "RIP[:PORT]")]
    real: RealAddress,
}

/// Executes the command.
///
/// # Errors
/// If the daemon refuses or cannot be reached, or if the probe fails.
pub async fn run(command: CheckCommand, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let change = match command {
        CheckCommand::Add(AddArgs { name, kind, options }) => {
            Change::AddCheck { name, kind, options: Box::new(options) }
        }
        CheckCommand::Edit(EditArgs { name, options }) => {
            Change::EditCheck { name, options: Box::new(options) }
        }
        CheckCommand::Remove(NameArgs { name }) => Change::RemoveCheck { name },
        CheckCommand::Show(NameArgs { name }) => {
            let view = find(api, &name).await?;
            return ui.show(&view, show);
        }
        CheckCommand::List(options) => {
            let fetch = async || {
                let mut checks: Vec<CheckView> = api.get("/v1/checks").await?;
                checks.retain(|check| options.filter().passes(&texts(check)));
                Ok(checks)
            };
            return options.show(ui, fetch, |checks, ui| list(checks, ui)).await;
        }
        CheckCommand::Run(args) => return run_once(args, api, ui).await,
    };
    ui.done(&api.post("/v1/changes", &change).await?)
}

/// Probes a real once.
async fn run_once(args: RunArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let RunArgs { check: name, service, real } = args;
    let service = service.id()?;
    let real = real.of_service(&service);
    let question = CheckRun { name: name.clone(), service, real };
    let result: CheckRunResult = api.post("/v1/check-runs", &question).await?;
    ui.show(&result, |result| {
        let mut lines = result.steps.clone();
        lines.push(format!("{} {}", result.last.code, result.last.text).trim_end().to_owned());
        lines.join("\n")
    })?;
    match result.last.code.verdict() {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::failed(format!(
            "check {name} of {real} failed: {} {}",
            result.last.code, result.last.text
        ))),
        None => {
            Err(Failure::failed(format!("check {name} of {real} could not be sent: {}", result.last.text))
                .hint("`xvs doctor` examines the director"))
        }
    }
}

/// Returns a check of the daemon.
async fn find(api: &Api, name: &CheckName) -> Result<CheckView, Failure> {
    let checks: Vec<CheckView> = api.get("/v1/checks").await?;
    checks.into_iter().find(|check| check.name == *name).ok_or_else(|| {
        Failure::wrong_input(format!("there is no check {name}")).hint("`xvs check list` lists the checks")
    })
}

/// Returns the texts of a check's row that a filter sees: its name, type and services.
fn texts(check: &CheckView) -> Vec<String> {
    let services = check.services.iter().map(ToString::to_string);
    [check.name.to_string(), check.kind.to_string()].into_iter().chain(services).collect()
}

fn list(checks: &[CheckView], ui: &Ui) -> String {
    let count = |check: &CheckView, health: Health| {
        check.reals.iter().filter(|real| real.state.health == health).count().to_string()
    };
    let row = |check: &CheckView| {
        let value = |name: &str| {
            let found = check.traits.iter().find(|(key, _)| key == name);
            found.map_or_else(String::new, |(_, value)| value.clone())
        };
        vec![
            check.name.to_string(),
            check.kind.to_string(),
            value("via"),
            value("interval"),
            value("timeout"),
            check.services.len().to_string(),
            count(check, Health::Up),
            count(check, Health::Down),
            count(check, Health::Unknown),
        ]
    };
    let columns = ["~NAME", "TYPE", "VIA", "INTERVAL", "TIMEOUT", ">SERVICES", ">UP", ">DOWN", ">UNKNOWN"];
    ui.table(&columns, checks.iter().map(row))
}

fn show(check: &CheckView) -> String {
    let width = check.traits.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut lines = vec![format!("{:width$}  {}", "name", check.name)];
    let is_set = |value: &&(String, String)| value.1 != "none";
    lines.extend(check.traits.iter().filter(is_set).map(|(name, value)| format!("{name:width$}  {value}")));
    let users: Vec<String> = check.services.iter().map(ToString::to_string).collect();
    lines.push(if users.is_empty() {
        "no service uses it: `xvs service edit PROTO VIP:PORT --check NAME`".to_owned()
    } else {
        format!("{:width$}  {}", "services", users.join(", "))
    });
    if !check.reals.is_empty() {
        lines.push(String::new());
        lines.push(reals(&check.reals));
    }
    lines.join("\n")
}

fn reals(reals: &[CheckedReal]) -> String {
    let row = |real: &CheckedReal| {
        vec![
            real.address.to_string(),
            real.vip.map_or_else(|| "-".to_owned(), |vip| vip.to_string()),
            real.state.word(),
            real.state.last_word(),
            age(real.state.since_seconds),
        ]
    };
    table(&["REAL", "VIP", "HEALTH", "LAST", "SINCE"], reals.iter().map(row))
}
