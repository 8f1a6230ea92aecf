// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs group`.
#![forbid(unsafe_code)]

use clap::{Args, Subcommand};

use super::{list::ListOptions, ui::Ui};
use crate::api::{
    client::Api,
    types::{Change, GroupView},
};
use lb_model::failure::Failure;
use lb_model::{
    Endpoint, GroupId, Protocol,
    written::{self, socket_address},
};

/// Add, remove and list groups: endpoints that form one service
///
/// Groups replace the firewall marks of IPVS. `xvs service add group N` adds a group's service.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Add endpoints to a group; a group that does not exist is created
    Add(AddArgs),
    /// Remove endpoints from a group, or the whole group
    #[command(aliases = ["rm", "delete"])]
    Remove(RemoveArgs),
    /// List all groups
    #[command(alias = "ls")]
    List(ListOptions),
}

/// Arguments of `xvs group add`.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// The group's number
    #[arg(value_name = "N", value_parser = number)]
    group: GroupId,
    /// Endpoints, such as tcp 10.0.0.100:80 tcp 10.0.0.100:443
    #[arg(value_name = "PROTO VIP:PORT", required = true)]
    endpoints: Vec<String>,
    /// Take over VIPs that another machine answers for
    #[arg(long)]
    take_over: bool,
}

/// Arguments of `xvs group remove`.
#[derive(Args, Debug)]
pub struct RemoveArgs {
    /// The group's number
    #[arg(value_name = "N", value_parser = number)]
    group: GroupId,
    /// Endpoints to remove; without any, the whole group
    #[arg(value_name = "PROTO VIP:PORT")]
    endpoints: Vec<String>,
}

/// Executes the command.
///
/// # Errors
/// If the daemon refuses or cannot be reached.
pub async fn run(command: GroupCommand, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let change = match command {
        GroupCommand::Add(AddArgs { group, endpoints, take_over }) => {
            Change::AddToGroup { group, endpoints: pairs(&endpoints)?, take_over }
        }
        GroupCommand::Remove(RemoveArgs { group, endpoints }) => {
            Change::RemoveFromGroup { group, endpoints: pairs(&endpoints)? }
        }
        GroupCommand::List(options) => {
            let fetch = async || {
                let mut groups: Vec<GroupView> = api.get("/v1/groups").await?;
                groups.retain(|group| options.filter().passes(&texts(group)));
                Ok(groups)
            };
            return options.show(ui, fetch, |groups, ui| list(groups, ui)).await;
        }
    };
    ui.done(&api.post("/v1/changes", &change).await?)
}

/// Parses the number of a group.
fn number(text: &str) -> Result<GroupId, String> {
    written::number(text, 1, GroupId::MAX)
}

/// Parses `tcp 10.0.0.100:80 udp 10.0.0.100:53`, which the shell passes as single words.
fn pairs(words: &[String]) -> Result<Vec<Endpoint>, Failure> {
    let wrong =
        |why: String| Failure::wrong_input(why).hint("write pairs: tcp 10.0.0.100:80 udp 10.0.0.100:53");
    let pair = |pair: &[String]| match pair {
        [protocol, address] => {
            let protocol: Protocol = protocol.parse().map_err(wrong)?;
            let address = socket_address(address).map_err(wrong)?;
            Ok(Endpoint { protocol, address })
        }
        rest => Err(wrong(format!("'{}' is half a pair", rest.concat()))),
    };
    words.chunks(2).map(pair).collect()
}

/// Returns the texts of a group's row that a filter sees: its number and endpoints.
fn texts(group: &GroupView) -> Vec<String> {
    let endpoints = group.endpoints.iter().map(ToString::to_string);
    std::iter::once(format!("group {}", group.group)).chain(endpoints).collect()
}

fn list(groups: &[GroupView], ui: &Ui) -> String {
    let row = |view: &GroupView| {
        let words: Vec<String> = view.endpoints.iter().map(ToString::to_string).collect();
        let service = if view.service { "yes" } else { "no" };
        vec![view.group.to_string(), service.to_owned(), words.join(", ")]
    };
    ui.table(&[">GROUP", "SERVICE", "~ENDPOINTS"], groups.iter().map(row))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of(line: &str) -> Result<Vec<Endpoint>, Failure> {
        pairs(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn endpoints_are_pairs_of_words() {
        let shown: Vec<String> =
            of("tcp 10.0.0.1:80 udp 10.0.0.1:0").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["tcp 10.0.0.1:80", "udp 10.0.0.1:0"]);
        assert!(of("").unwrap().is_empty());
    }

    #[rstest]
    #[case::half("tcp 10.0.0.1:80 udp", "'udp' is half a pair")]
    #[case::protocol("icmp 10.0.0.1:80", "unknown protocol 'icmp': tcp, udp, sctp")]
    #[case::no_port("tcp 10.0.0.1", "'10.0.0.1' has no port; write 10.0.0.1:80, with port 0 for every port")]
    fn anything_else_is_named(#[case] line: &str, #[case] message: &str) {
        assert_eq!(of(line).unwrap_err().message, message);
    }
}
