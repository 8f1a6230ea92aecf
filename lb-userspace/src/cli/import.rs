// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs import`.
#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::ui::{Ui, say};
use crate::{
    control::config,
    failure::Failure,
    import::{Imported, ipvsadm, keepalived},
    ipvsadm::System,
};

/// Make a config file of what another program was told
///
/// The config goes to stdout. What is not carried over is listed on stderr with file, line and reason. No daemon is
/// asked.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Rules of IPVS, as `ipvsadm-save` writes them, with names or numbers
    Ipvsadm {
        /// The files.
        #[command(flatten)]
        how: How,
    },
    /// The virtual servers of a keepalived.conf
    Keepalived {
        /// The files.
        #[command(flatten)]
        how: How,
        /// Read lines that begin with @NAME for this name, as keepalived does with --config-id
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
    },
}

/// From where to where.
#[derive(Args, Debug)]
pub struct How {
    /// The file to read
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the config to this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Exit with 1 if anything was not carried over
    #[arg(long)]
    strict: bool,
}

/// Imports a file.
///
/// # Errors
/// If a file cannot be read or written.
pub fn run(command: &ImportCommand, ui: &mut Ui) -> Result<ExitCode, Failure> {
    let (imported, how) = match command {
        ImportCommand::Ipvsadm { how } => {
            (ipvsadm::import(&read(&how.file)?, &how.file, &System::new()), how)
        }
        ImportCommand::Keepalived { how, host } => {
            (keepalived::import(&read(&how.file)?, &how.file, host.as_deref()), how)
        }
    };
    let text = imported.config();
    // What is printed must be what `xvs apply` takes; tables larger than usual are one reason why it may not be.
    let checked = config::parse(&text, Path::new("the config"));
    match &how.write {
        Some(path) => fs::write(path, &text)
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?,
        None => ui.show(&text, Clone::clone)?,
    }
    list(&imported);
    checked?;
    Ok(if how.strict && !imported.left.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes = fs::read(path)
        .map_err(|error| Failure::wrong_input(format!("cannot read {}: {error}", path.display())))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn list(imported: &Imported) {
    let reals: usize = imported.desired.services.values().map(|service| service.reals.len()).sum();
    for left in &imported.left {
        say(format_args!("not carried over: {left}"));
    }
    say(format_args!(
        "{} services and {reals} reals; {} lines or parts of them were not carried over",
        imported.desired.services.len(),
        imported.left.len()
    ));
}
