// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs status` and `xvs stats`.
#![forbid(unsafe_code)]

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    follow::WIDTH,
    list::{ListOptions, flows as flows_of, keep_matching},
    ui::Ui,
    units::Units,
};
use crate::api::{
    client::Api,
    document,
    types::{Stats, Status},
};
use lb_control::state::Totals;
use lb_dataplane::PinDir;
use lb_model::failure::{Failure, FailureKind};
use lb_model::text::count;

/// Show the state of the daemon, and problems
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Directory for pinned programs, maps and links, inspected if no daemon answers
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/xvs")]
    bpffs: PathBuf,
}

/// Show counters of services and reals
#[derive(Args, Debug)]
pub struct StatsArgs {
    #[command(flatten)]
    options: ListOptions,
}

/// Print the document of the API (openapi.json), without a daemon
#[derive(Args, Debug)]
pub struct ApiDocArgs {}

/// Prints the document of the API.
///
/// # Errors
/// If stdout cannot be written.
pub fn api_doc(ui: &mut Ui) -> Result<(), Failure> {
    ui.show(&document::document(), |_| document::text())
}

/// Returns the number of flows, and the size of the table.
fn flows(here: u64, most: u32, opening: u64) -> String {
    if opening == 0 {
        format!("{here} of {most}")
    } else {
        format!("{here} of {most}, and {opening} opening")
    }
}

/// Prints the status.
///
/// # Errors
/// If the daemon does not answer.
pub async fn status(args: &StatusArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let status: Status = match api.get("/v1/status").await {
        Ok(status) => status,
        Err(failure) => return Err(without_daemon(failure, &args.bpffs)),
    };
    ui.show(&status, |status| {
        let interfaces: Vec<String> =
            status.interfaces.iter().map(|i| format!("{} ({})", i.name, i.mode)).collect();
        let vips: Vec<String> = status.vips.iter().map(ToString::to_string).collect();
        let adopted = if status.adopted { ", took over from an earlier run" } else { "" };
        let instructions = status.verified_instructions.map_or("?".to_owned(), |n| n.to_string());
        let mut page = String::new();
        let config = status.config.as_ref().map(|config| ("config", config.line()));
        for (name, value) in [
            ("version", format!("{} (schema {})", status.version, status.schema)),
            ("daemon", format!("pid {}, up {} s{adopted}", status.pid, status.uptime_seconds)),
            ("program", format!("{instructions} verified instructions")),
            ("interfaces", interfaces.join(", ")),
            ("VIPs added", if vips.is_empty() { "none".to_owned() } else { vips.join(", ") }),
            ("services", format!("{} with {}", status.services, count(status.reals, "real"))),
            ("flows", flows(status.flows, status.max_flows, status.opening_flows)),
            ("IPv6 flows", flows(status.flows6, status.max_flows6, status.opening_flows6)),
        ]
        .into_iter()
        .chain(config)
        {
            // Writing to a string cannot fail.
            let _ = writeln!(page, "{name:<WIDTH$}{value}");
        }
        page += &super::follow::lines(status.follow.as_ref());
        for problem in &status.problems {
            let _ = writeln!(page, "{:<WIDTH$}{problem}", "problem");
        }
        if let Some(doctor) = &status.doctor {
            let number = match doctor.findings.len() {
                0 => "nothing is wrong".to_owned(),
                number => format!("{number} wrong, `xvs doctor` shows how to put it right"),
            };
            let when = if doctor.is_outdated { ", before the last change" } else { "" };
            let _ = writeln!(page, "{:<WIDTH$}{number} ({} s ago{when})", "doctor", doctor.seconds_ago);
            for line in super::doctor::short(&doctor.findings) {
                let _ = writeln!(page, "{:<WIDTH$}{line}", "");
            }
        }
        page
    })
}

/// Adds to a failure whether pinned programs still forward packets.
fn without_daemon(failure: Failure, bpffs: &Path) -> Failure {
    let linked = PinDir::at(bpffs).linked();
    if failure.kind != FailureKind::Unreachable || linked.is_empty() {
        return failure;
    }
    let name = |index: &u32| {
        let found = nix::net::if_::if_indextoname(*index).ok();
        found.and_then(|name| name.into_string().ok()).unwrap_or_else(|| format!("interface #{index}"))
    };
    let names: Vec<String> = linked.iter().map(name).collect();
    let verb = if names.len() == 1 { "continues" } else { "continue" };
    failure.hint(format!(
        "{} {verb} to forward by the programs pinned under {}, but no daemon updates next hops and flows: \
         start `xvs run` again",
        names.join(", "),
        bpffs.display()
    ))
}

/// Prints the counters.
///
/// # Errors
/// If the daemon does not answer.
pub async fn stats(args: &StatsArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let options = &args.options;
    let fetch = async || {
        let mut stats: Stats = api.get("/v1/stats").await?;
        keep_matching(&mut stats.services, options.filter());
        Ok(stats)
    };
    options.show(ui, fetch, |stats, ui| counters(stats, options.units(), ui)).await
}

/// Returns the counters of services and reals, and the packets by reason.
fn counters(stats: &Stats, units: Units, ui: &Ui) -> String {
    let row = |name: String, totals: &Totals, active: String| {
        let Totals { packets_in, bytes_in, packets_out, bytes_out, new_flows } = totals;
        let (count, bytes) = (|number: &u64| units.count(*number), |number: &u64| units.bytes(*number));
        vec![
            name,
            count(new_flows),
            active,
            count(packets_in),
            bytes(bytes_in),
            count(packets_out),
            bytes(bytes_out),
        ]
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for service in &stats.services {
        let active = |flows| flows_of(service, flows, units);
        rows.push(row(service.id.to_string(), &service.totals, active(service.active_flows)));
        for real in &service.reals {
            rows.push(row(format!("  {}", real.address), &real.totals, active(real.active_flows)));
        }
    }
    let columns = ["SERVICE / REAL", ">NEW", ">ACTIVE", ">PKTS IN", ">BYTES IN", ">PKTS OUT", ">BYTES OUT"];
    let reasons = stats.reasons.iter().filter(|reason| reason.packets > 0);
    let reasons = reasons.map(|reason| vec![reason.reason.clone(), units.count(reason.packets)]);
    format!("{}\n\n{}", ui.table(&columns, rows), ui.table(&["REASON", ">PACKETS"], reasons))
}
