// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs events`.
#![forbid(unsafe_code)]

use std::io::{self, Write as _};

use clap::Args;

use crate::api::client::Api;
use lb_model::failure::Failure;

/// Show events: changes of the health of reals and services, one JSON object a line
///
/// An object has the time in milliseconds since 1970, the event and its details, and a sentence. The daemon keeps
/// the latest 1,000 events.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  xvs events --follow | jq -r .text")]
pub struct EventsArgs {
    /// Wait for further events
    #[arg(short, long)]
    follow: bool,
    /// Only events with a larger number
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
}

/// Executes the command.
///
/// # Errors
/// If the daemon cannot be reached, or ends the stream.
pub async fn run(args: &EventsArgs, api: &Api) -> Result<(), Failure> {
    let EventsArgs { follow, after } = args;
    let mut lines = api.stream(&format!("/v1/events?follow={follow}&after={after}")).await?;
    while let Some(line) = lines.next().await? {
        // A server-sent event has its object in a line `data:`; other lines are its number, and comments.
        let Some(object) = line.strip_prefix("data:") else { continue };
        let mut stdout = io::stdout();
        match writeln!(stdout, "{}", object.trim()).and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::failed(format!("cannot write to stdout: {error}"))),
        }
    }
    if *follow {
        return Err(Failure::unreachable("the daemon has ended the stream of events")
            .hint("start the command again when the daemon runs; --after N skips events that you have"));
    }
    Ok(())
}
