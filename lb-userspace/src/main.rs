// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs`: the Linux Virtual Server rebuilt on XDP.

use std::{io::IsTerminal as _, process::ExitCode};

use lb_userspace::{cli::Cli, failure::Failure};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    let Some(cli) = Cli::understand(std::env::args_os())? else {
        return Ok(ExitCode::SUCCESS);
    };
    log(&cli);
    let mut builder = if cli.is_daemon() {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder
        .enable_all()
        // A table and its moves pass over the stack, 0.8 MB together, more than once.
        .thread_stack_size(16 << 20)
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(cli.carry_out())
}

/// Messages go to stderr: all of them from the daemon and agents, warnings from other commands. `XVS_LOG` says otherwise.
fn log(cli: &Cli) {
    let level = match (cli.runs_on(), cli.is_verbose()) {
        (_, true) => "debug",
        (true, false) => "info",
        (false, false) => "warn",
    };
    let filter = EnvFilter::try_from_env("XVS_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,lb_userspace={level},dataplane=info")));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    if cli.is_daemon() { log.init() } else { log.without_time().init() }
}
