// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs ready` and `xvs director`.
#![forbid(unsafe_code)]

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use tokio::time::{Instant, sleep};

use super::ui::{Ui, say};
use crate::api::{
    client::Api,
    types::{Done, ReadyView, StandingChange, Stats},
};
use lb_model::{failure::Failure, standing::Role};

/// Show whether the director can take over traffic, and if not, why
///
/// The exit code is 0 if it can, 1 if it cannot, and 3 if no daemon answers: for `track_script` of keepalived
/// and for scripts that announce routes.
#[derive(Args, Debug)]
pub struct ReadyArgs {}

/// Drain or resume the director, or set its role among several
#[derive(Debug, Subcommand)]
pub enum DirectorCommand {
    /// Take the director out of service: it is not ready and has no VIP, and still forwards what reaches it
    Drain(DrainArgs),
    /// End the drain
    Resume,
    /// Set the role: active directors have the VIPs, standby ones do not
    Role {
        /// Role
        role: Role,
    },
}

/// Arguments of `xvs director drain`.
#[derive(Args, Debug)]
pub struct DrainArgs {
    /// Wait until fewer packets arrive than --below; fail after this time
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// Clients' packets per second below which the director counts as drained
    #[arg(long, value_name = "N", default_value_t = 10, requires = "wait")]
    below: u64,
}

/// Shows whether the director can take over traffic.
///
/// # Errors
/// If the daemon cannot be reached.
pub async fn ready(api: &Api, ui: &mut Ui) -> Result<ExitCode, Failure> {
    let view: ReadyView = api.get_state("/v1/ready").await?;
    ui.show(&view, |view| {
        if view.ready {
            return format!("ready ({})", view.role);
        }
        let reasons = view.reasons.iter().map(|reason| format!("not ready: {reason}"));
        reasons.collect::<Vec<_>>().join("\n")
    })?;
    Ok(if view.ready { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Executes the command.
///
/// # Errors
/// If the daemon refuses or cannot be reached, or if packets still arrive when the time is over.
pub async fn run(command: &DirectorCommand, api: &Api, ui: &mut Ui) -> Result<ExitCode, Failure> {
    let change = match command {
        DirectorCommand::Drain(_) => StandingChange { drained: Some(true), role: None },
        DirectorCommand::Resume => StandingChange { drained: Some(false), role: None },
        DirectorCommand::Role { role } => StandingChange { drained: None, role: Some(*role) },
    };
    let done: Done = api.post("/v1/director", &change).await?;
    ui.done(&done)?;
    if let DirectorCommand::Drain(DrainArgs { wait: Some(wait), below }) = command {
        let rate = wait_for(api, *wait, *below).await?;
        say(format_args!("{rate} packets of clients arrived in the last second"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until clients' packets are rare, and returns their number in the last second.
async fn wait_for(api: &Api, wait: Duration, below: u64) -> Result<u64, Failure> {
    let deadline = Instant::now() + wait;
    let mut last = packets(api).await?;
    loop {
        sleep(Duration::from_secs(1)).await;
        let now = packets(api).await?;
        let rate = now.saturating_sub(last);
        if rate < below {
            return Ok(rate);
        }
        if Instant::now() >= deadline {
            return Err(Failure::failed(format!(
                "{rate} packets of clients arrived in the last second, which is not below {below}"
            ))
            .hint("the director stays drained; routers or clients still have its address"));
        }
        last = now;
    }
}

/// Returns the number of clients' packets since the start.
async fn packets(api: &Api) -> Result<u64, Failure> {
    let stats: Stats = api.get("/v1/stats").await?;
    Ok(stats.services.iter().map(|service| service.totals.packets_in).sum())
}
