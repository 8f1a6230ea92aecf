// SPDX-License-Identifier: MIT OR Apache-2.0
//! The main function of `xvs`. It is in the library, which already has the code of all futures.

use std::{ops::ControlFlow, process::ExitCode};

use tracing::level_filters::LevelFilter;

use super::{Cli, say};
use crate::observe::log::{self, Logging};
use lb_dataplane::object::{self, Objects};
use lb_model::failure::Failure;

/// Executes the command line of this process with these programs.
#[must_use]
pub fn main(objects: Objects) -> ExitCode {
    object::provide(objects);
    match run() {
        Ok(code) => code,
        Err(failure) => {
            say(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    let cli = match Cli::understand(std::env::args_os())? {
        ControlFlow::Continue(cli) => cli,
        ControlFlow::Break(code) => return Ok(code),
    };
    cli.prepare()?;
    let (_log, understood) = log::start(logging(&cli));
    if let Err(why) = understood {
        tracing::warn!("{why}");
    }
    let mut builder = if cli.is_daemon() {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder
        .enable_all()
        // A table and its moves are passed by value more than once: 0.8 MB of stack together.
        .thread_stack_size(16 << 20)
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(cli.carry_out())
}

/// Returns the log level of stderr: info for the daemon and agents, warnings for other commands. `XVS_LOG`
/// overrides it.
fn logging(cli: &Cli) -> Logging {
    let level = match (cli.runs_on(), cli.is_verbose()) {
        (_, true) => LevelFilter::DEBUG,
        (true, false) => LevelFilter::INFO,
        (false, false) => LevelFilter::WARN,
    };
    Logging { level, runs_on: cli.runs_on(), time: cli.is_daemon() }
}
