// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs sync`.
#![forbid(unsafe_code)]

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, Subcommand};

use super::{
    import::read,
    ui::{Ui, say},
};
use crate::api::{
    client::Api,
    sync::{EffectCounts, SyncImported, SyncSettings, SyncStatus},
};
use lb_model::failure::Failure;
use lb_model::text::count;

/// Take over connections of other directors, and show what directors announce to each other
#[derive(Debug, Subcommand)]
pub enum SyncCommand {
    /// Show what directors announce to each other
    Status,
    /// Take over open connections from a list of them
    #[command(subcommand)]
    Import(ImportCommand),
}

/// The lists that can be imported.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Connections of IPVS, as in `/proc/net/ip_vs_conn` or by `ipvsadm -Lcn`
    ///
    /// Connections and persistence templates stay on their reals. Those whose service or real does not exist
    /// yet wait for it until they expire. Connections whose packets have already arrived here are left as
    /// they are.
    #[command(
        after_help = "Examples:\n  ssh lb1 cat /proc/net/ip_vs_conn | xvs sync import ipvs\n  xvs sync import ipvs /proc/net/ip_vs_conn"
    )]
    Ipvs(IpvsArgs),
}

/// The list.
#[derive(Args, Debug)]
pub struct IpvsArgs {
    /// File to read; - reads stdin
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
}

/// Executes the command.
///
/// # Errors
/// If a file cannot be read, or the daemon refuses or does not answer.
pub async fn run(command: &SyncCommand, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    match command {
        SyncCommand::Status => {
            let status: SyncStatus = api.get("/v1/sync").await?;
            ui.show(&status, |status| page(status).join("\n"))
        }
        SyncCommand::Import(ImportCommand::Ipvs(IpvsArgs { file })) => {
            let (text, _) = read(file)?;
            let imported: SyncImported = api.post_text("/v1/sync/import", text).await?;
            if let Some(first) = &imported.first_malformed {
                say(format_args!("warning: {first}"));
            }
            ui.show(&imported, summary)
        }
    }
}

/// Returns one line that accounts for each line of the list.
fn summary(imported: &SyncImported) -> String {
    let SyncImported { lines, headings, malformed, connections, templates, kept, waiting, effects, .. } =
        imported;
    let mut line = format!(
        "{}: {}, {}, {}, {malformed} malformed; {kept} kept, {waiting} waiting",
        number(*lines, "line"),
        number(*connections, "connection"),
        number(*templates, "template"),
        number(*headings, "headline"),
    );
    let others = effects.iter().filter(|(effect, _)| {
        !["added", "replaced", "own", "untracked", "no_service", "no_real"].contains(&effect.as_str())
    });
    for (effect, number) in others {
        let _infallible = write!(line, ", {number} {effect}");
    }
    line
}

fn number(number: u64, one: &str) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), one)
}

/// Returns the lines of the status.
fn page(status: &SyncStatus) -> Vec<String> {
    let mut lines = vec![
        format!("sends:     {}", settings(status.master.as_ref())),
        format!("receives:  {}", settings(status.backup.as_ref())),
        format!(
            "sent:      {} and {} in {}, {}",
            number(status.sent, "connection"),
            number(status.templates_sent, "template"),
            number(status.messages_sent, "message"),
            number(status.send_errors, "error"),
        ),
        format!(
            "received:  {} in {}, {} malformed, {} with changed sequence numbers",
            number(status.received, "connection"),
            number(status.messages_received, "message"),
            status.malformed,
            status.sequence,
        ),
        format!("dropped:   {}", named(&status.dropped)),
        format!("imported:  {}", number(status.imported, "connection")),
        format!("effects:   {}", named(&status.effects)),
        format!("waiting:   {}", number(status.waiting, "connection")),
        format!("announced: {} of {} in the flow table", status.announced_flows, status.announced_flows_max),
    ];
    for peer in &status.peers {
        let messages = number(peer.messages, "message");
        lines.push(format!(
            "heard:     {}, {messages}, the last one {} s ago",
            peer.address, peer.seconds_ago
        ));
    }
    lines
}

/// Returns numbers with their names.
fn named(numbers: &EffectCounts) -> String {
    if numbers.is_empty() {
        return "none".to_owned();
    }
    numbers.iter().map(|(name, number)| format!("{number} {name}")).collect::<Vec<_>>().join(", ")
}

/// Returns the settings of a sender or receiver in a line.
fn settings(settings: Option<&SyncSettings>) -> String {
    let Some(SyncSettings { interface, sync_id, group, peers, port, ttl, key_file, .. }) = settings else {
        return "no".to_owned();
    };
    let to = if peers.is_empty() {
        format!("group {group}, ttl {ttl}")
    } else {
        let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
        format!("peers {}", peers.join(" "))
    };
    let interface = interface.as_deref().map_or(String::new(), |name| format!("interface {name}, "));
    let signed = if key_file.is_some() { "signed" } else { "not signed" };
    format!("{interface}{to}, port {port}, sync ID {sync_id}, {signed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_accounts_for_each_line() {
        let imported = SyncImported {
            lines: 6,
            headings: 1,
            malformed: 1,
            first_malformed: None,
            connections: 3,
            templates: 1,
            kept: 2,
            waiting: 1,
            effects: [("added", 2), ("no_real", 1), ("state", 1)].map(|(e, n)| (e.to_owned(), n)).into(),
        };
        assert_eq!(
            summary(&imported),
            "6 lines: 3 connections, 1 template, 1 headline, 1 malformed; 2 kept, 1 waiting, 1 state"
        );
    }
}
