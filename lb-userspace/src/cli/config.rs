// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs plan`, `xvs apply`, `xvs confirm` and `xvs export`.
#![forbid(unsafe_code)]

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::ui::Ui;
use crate::api::{
    client::Api,
    config::{CONFIRM_LONGEST, Planned},
    query,
    types::Done,
};
use lb_control::config;
use lb_explain::Plan;
use lb_model::failure::{Failure, FailureKind};
use lb_model::text::count;

/// Apply a config file; services that are not in it are removed
///
/// A file with an error changes nothing. The [director] section takes effect when the daemon starts with the
/// file.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  xvs export > xvs.toml; $EDITOR xvs.toml; xvs plan xvs.toml; xvs apply xvs.toml"
)]
pub struct ApplyArgs {
    /// The config file; - reads stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take over VIPs that another machine answers for
    #[arg(long)]
    take_over: bool,
    /// Remove every service, if the file says `service = []`
    #[arg(long)]
    remove_all: bool,
    /// Revert after this time, unless `xvs confirm` comes first: for changes that may cut you off
    #[arg(long, value_name = "DURATION", value_parser = confirmation)]
    confirm: Option<Duration>,
}

/// Keep the config that `xvs apply --confirm` applied
#[derive(Args, Debug)]
pub struct ConfirmArgs {}

/// Show what `xvs apply` will change, and the open connections that it breaks or moves
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// The config file; - reads stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only check the file; no daemon is asked
    #[arg(long)]
    offline: bool,
}

/// Print the services as a config file
///
/// Only what is not as it is by default is printed. `xvs apply` of what is printed changes nothing.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Print defaults, too
    #[arg(long)]
    all: bool,
}

/// Returns the time to confirm a config, from the text of an option.
///
/// # Errors
/// If the text is no duration, or is out of bounds.
pub(super) fn confirmation(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(1)..=CONFIRM_LONGEST).contains(&time) {
        return Ok(time);
    }
    Err("the time to confirm is between 1s and 1day: try 60s".to_owned())
}

/// Applies a config file.
///
/// # Errors
/// If the file is invalid; the failure is wrong input with line and column.
pub async fn apply(args: &ApplyArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let file = read(&args.file)?;
    let request = Request { take_over: args.take_over, remove_all: args.remove_all, confirm: args.confirm };
    ui.done(&put(&file, request, api).await?)
}

/// Options of `PUT /v1/config`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Request {
    pub(super) take_over: bool,
    pub(super) remove_all: bool,
    pub(super) confirm: Option<Duration>,
}

/// Replaces all services with those of a text.
///
/// # Errors
/// If the text is invalid, or the daemon refuses.
pub(super) async fn put(file: &Plan, request: Request, api: &Api) -> Result<Done, Failure> {
    let Plan { name, text } = file;
    let escaped = query::escaped(name);
    let Request { take_over, remove_all, confirm } = request;
    let confirm = confirm.map_or_else(String::new, |time| format!("&confirm={}", seconds(time)));
    let path = format!("/v1/config?name={escaped}&take-over={take_over}&remove-all={remove_all}{confirm}");
    match api.put_text(&path, text.clone()).await {
        Err(failure) if failure.kind == FailureKind::Unreachable => {
            // A file with an error is reported even without a daemon.
            config::parse(text, Path::new(name))?;
            Err(failure)
        }
        result => result,
    }
}

/// Returns the seconds of a duration, of which a part counts as a whole one.
const fn seconds(time: Duration) -> u64 {
    time.as_secs() + (time.subsec_nanos() > 0) as u64
}

/// Keeps the config that waits for its confirmation.
///
/// # Errors
/// If none waits, or the daemon does not answer.
pub async fn confirm(api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    ui.done(&api.post("/v1/confirm", &()).await?)
}

/// Prints the changes that `xvs apply` will make.
///
/// # Errors
/// As `apply`.
pub async fn plan(args: &PlanArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    if args.offline {
        return check(&args.file, ui);
    }
    let file = understood(&args.file)?;
    let plan: Planned = api.post("/v1/plan", &file).await?;
    show(&plan, ui)
}

/// Prints a plan. Warnings go to stderr.
///
/// # Errors
/// If stdout cannot be written.
pub(super) fn show(plan: &Planned, ui: &mut Ui) -> Result<(), Failure> {
    ui.warn(&plan.warnings);
    ui.show(plan, planned)
}

/// Checks a config file, without a daemon.
///
/// # Errors
/// If the file is invalid; the failure is wrong input with line and column.
pub(super) fn check(file: &Path, ui: &mut Ui) -> Result<(), Failure> {
    let file = read(file)?;
    let desired = config::parse(&file.text, Path::new(&file.name))?.desired;
    let reals = desired.services.values().map(|service| service.reals.len()).sum();
    let (services, reals) = (count(desired.services.len(), "service"), count(reals, "real"));
    let changes = vec![format!("{} is valid: {services}, {reals}", file.name)];
    ui.done(&Done { changes, warnings: Vec::new() })
}

/// Returns the lines of a plan, the number of each kind of change, and the effect on connections.
fn planned(plan: &Planned) -> String {
    let Planned { changes, add, change, remove, breaks, moves, .. } = plan;
    if changes.is_empty() {
        return "nothing to change".to_owned();
    }
    let connections = match breaks + moves {
        0 => String::new(),
        _ => format!("; open connections: {breaks} will break, {moves} will move"),
    };
    format!(
        "{}\n{add} to add, {change} to change, {remove} to remove{connections}; nothing was changed",
        changes.join("\n")
    )
}

/// Reads and checks a config file for a request. A file with an error is reported even without a daemon.
///
/// # Errors
/// If the file is invalid; the failure is wrong input with line and column.
pub fn understood(file: &Path) -> Result<Plan, Failure> {
    let plan = read(file)?;
    config::parse(&plan.text, Path::new(&plan.name))?;
    Ok(plan)
}

/// Reads a file once, so that it may be a pipe; `-` is stdin.
fn read(file: &Path) -> Result<Plan, Failure> {
    let (name, text) = if file == Path::new("-") {
        ("stdin".to_owned(), io::read_to_string(io::stdin()))
    } else {
        (file.display().to_string(), fs::read_to_string(file))
    };
    match text {
        Ok(text) => Ok(Plan { name, text }),
        Err(error) => Err(Failure::wrong_input(format!("cannot read {name}: {error}"))
            .hint("is the path right? `-` reads stdin")),
    }
}

/// Prints the services as a config file.
///
/// # Errors
/// If the daemon does not answer.
pub async fn export(args: &ExportArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let text = api.get_text(&format!("/v1/config?all={}", args.all)).await?;
    ui.show(&text, Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_confirm_has_bounds_and_whole_seconds() {
        assert_eq!(confirmation("1500ms").map(seconds), Ok(2));
        assert_eq!(confirmation("1day").map(seconds), Ok(24 * 60 * 60));
        for text in ["100ms", "0s", "25h", "60"] {
            let refused = confirmation(text).unwrap_err();
            assert!(text == "60" || refused.contains("between 1s and 1day"), "{text}: {refused}");
        }
    }

    #[test]
    fn a_plan_ends_with_its_numbers() {
        let changes = ["+ will add a", "~ will change b: c", "- will remove d", "- will remove e"];
        let changes = changes.map(str::to_owned).to_vec();
        let mut plan = Planned { changes, add: 1, change: 1, remove: 2, ..Planned::default() };
        let page = planned(&plan);
        assert!(page.ends_with("\n1 to add, 1 to change, 2 to remove; nothing was changed"), "{page}");
        (plan.breaks, plan.moves) = (3, 0);
        let said = "2 to remove; open connections: 3 will break, 0 will move; nothing was changed";
        assert!(planned(&plan).ends_with(said), "{}", planned(&plan));
        assert_eq!(planned(&Planned::default()), "nothing to change");
    }
}
