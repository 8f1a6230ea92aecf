// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs plan`, `xvs apply` and `xvs export`.
#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use super::ui::Ui;
use crate::{
    api::client::Api,
    api::types::Done,
    control::config,
    explain::Plan,
    failure::{Failure, FailureKind},
};

/// Make the services those of a config file, and no others
///
/// All or nothing: a file with an error changes nothing. The [director] section counts at the next start only.
#[derive(Args, Debug)]
pub struct ApplyArgs {
    /// The config file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take VIPs from machines that have them
    #[arg(long)]
    take_over: bool,
}

/// Say what `xvs apply` of a config file would change, and change nothing
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// The config file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Print the services as a config file
#[derive(Args, Debug)]
pub struct ExportArgs {}

/// Applies a config file.
///
/// # Errors
/// Wrong input, with line and column.
pub async fn apply(args: &ApplyArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let text = text_of(&args.file)?;
    let name = args.file.display().to_string();
    let name: String = name
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    match api.put_text::<Done>(&format!("/v1/config?name={name}&take-over={}", args.take_over), text).await {
        Ok(done) => ui.done(&done),
        Err(failure) => {
            // The daemon reads the file, once. A file with an error does not even need a daemon.
            if failure.kind == FailureKind::Unreachable {
                config::read(&args.file)?;
            }
            Err(failure)
        }
    }
}

/// Says what `xvs apply` would change.
///
/// # Errors
/// As `apply`.
pub async fn plan(args: &PlanArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let done: Done = api.post("/v1/plan", &understood(&args.file)?).await?;
    ui.done(&done)
}

/// A config file as it is handed over. It is understood here first: a file with an error does not even need a daemon.
///
/// # Errors
/// Wrong input, with line and column.
pub fn understood(file: &Path) -> Result<Plan, Failure> {
    config::read(file)?;
    Ok(Plan { name: file.display().to_string(), text: text_of(file)? })
}

fn text_of(file: &Path) -> Result<String, Failure> {
    let name = file.display();
    fs::read_to_string(file).map_err(|error| Failure::wrong_input(format!("cannot read {name}: {error}")))
}

/// Prints the services as a config file.
///
/// # Errors
/// If the daemon does not answer.
pub async fn export(api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let text = api.get_text("/v1/config").await?;
    ui.show(&text, Clone::clone)
}
