// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs plan`, `xvs apply` and `xvs export`.
#![forbid(unsafe_code)]

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;

use super::ui::Ui;
use crate::{api::client::Api, api::types::Done};
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
}

/// Show what `xvs apply` would change
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

/// Applies a config file.
///
/// # Errors
/// If the file is invalid; the failure is wrong input with line and column.
pub async fn apply(args: &ApplyArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let Plan { name, text } = read(&args.file)?;
    let escaped: String = name
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let (take_over, remove_all) = (args.take_over, args.remove_all);
    let path = format!("/v1/config?name={escaped}&take-over={take_over}&remove-all={remove_all}");
    match api.put_text::<Done>(&path, text.clone()).await {
        Ok(done) => ui.done(&done),
        Err(failure) => {
            // A file with an error is reported even without a daemon.
            if failure.kind == FailureKind::Unreachable {
                config::parse(&text, Path::new(&name))?;
            }
            Err(failure)
        }
    }
}

/// Prints the changes that `xvs apply` would make.
///
/// # Errors
/// As `apply`.
pub async fn plan(args: &PlanArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let file = understood(&args.file)?;
    if args.offline {
        let desired = config::parse(&file.text, Path::new(&file.name))?.desired;
        let reals = desired.services.values().map(|service| service.reals.len()).sum();
        let (services, reals) = (count(desired.services.len(), "service"), count(reals, "real"));
        let done = Done {
            changes: vec![format!("{} is valid: {services}, {reals}", file.name)],
            warnings: Vec::new(),
        };
        return ui.done(&done);
    }
    let done: Done = api.post("/v1/plan", &file).await?;
    ui.done_as(&done, planned)
}

/// Returns the lines of a plan, and the number of each kind of change.
fn planned(done: &Done) -> String {
    let number = |sign| done.changes.iter().filter(|line| line.starts_with(sign)).count();
    let (add, change, remove) = (number('+'), number('~'), number('-'));
    if done.changes.is_empty() {
        return "nothing to change".to_owned();
    }
    let lines = done.changes.join("\n");
    format!("{lines}\n{add} to add, {change} to change, {remove} to remove; nothing was changed")
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
    fn a_plan_ends_with_its_numbers() {
        let changes = ["+ would add a", "~ would change b: c", "- would remove d", "- would remove e"];
        let done = Done { changes: changes.map(str::to_owned).to_vec(), warnings: Vec::new() };
        let page = planned(&done);
        assert!(page.ends_with("1 to add, 1 to change, 2 to remove; nothing was changed"), "{page}");
        assert_eq!(planned(&Done { changes: Vec::new(), warnings: Vec::new() }), "nothing to change");
    }
}
