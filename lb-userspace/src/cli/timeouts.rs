// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs timeouts`.
#![forbid(unsafe_code)]

use clap::Args;

use super::ui::{Ui, table};
use crate::api::{
    client::Api,
    types::{Status, TimeoutView},
};
use lb_model::failure::Failure;
use lb_model::timeouts::TimeoutOptions;

/// Show or set the idle timeouts of flows
///
/// Without options, prints the timeouts. New values take effect at once, also for existing flows, and hold at
/// later starts.
#[derive(Args, Debug)]
pub struct TimeoutsArgs {
    #[command(flatten)]
    options: TimeoutOptions,
}

/// Shows the timeouts, or sets those that are given.
///
/// # Errors
/// If the daemon refuses or cannot be reached.
pub async fn run(args: &TimeoutsArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    if args.options != TimeoutOptions::default() {
        return ui.done(&api.post("/v1/timeouts", &args.options).await?);
    }
    let status: Status = api.get("/v1/status").await?;
    ui.show(&status.timeouts, |TimeoutView { tcp, tcp_fin, udp }| {
        let rows = [("tcp", tcp), ("tcp-fin", tcp_fin), ("udp", udp)];
        table(&["FLOWS", ">SECONDS"], rows.map(|(name, seconds)| vec![name.to_owned(), seconds.to_string()]))
    })
}
