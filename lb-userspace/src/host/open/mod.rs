// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host open`: a service's packets pass this host's firewall, nftables or iptables, whatever the rules say of others.
//!
//! A packet must be accepted by every base chain that it comes by, and what accepts it must come before what drops it. So each
//! chain that filters gets a rule at its top. `restore` takes them out again.
#![forbid(unsafe_code)]

mod iptables; // the old one
mod place; //    which of a chain's rules are xvs's, and where

use std::{io, net::SocketAddr, path::Path};

use place::{Rule, are_at_top, comment};
use tokio::process::Command;

use super::{
    Done, HostError, Outcome, Report, can_configure_the_network,
    state::{Change, StateFile},
};
use crate::{
    failure::Failure,
    model::{Protocol, Tunnel},
};

/// What is to pass.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// What the service speaks.
    pub protocol: Protocol,
    /// The address that its packets have here, and its port; 0 = every port.
    pub address: SocketAddr,
    /// What is around them when they arrive.
    pub tunnel: Option<Tunnel>,
}

/// A firewall's program cannot be asked, or refuses.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no such program.
    #[error("{program} is not installed")]
    Missing {
        /// Its name.
        program: String,
    },
    /// It cannot be started.
    #[error("cannot start {program}: {error}")]
    Start {
        /// Its name.
        program: String,
        /// The system's reason.
        error: io::Error,
    },
    /// It says no.
    #[error("`{line}` failed: {message}")]
    Refused {
        /// Its words.
        line: String,
        /// What it said.
        message: String,
    },
}

/// A chain that packets come by.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Chain {
    family: String,
    table: String,
    name: String,
    hook: String,
    /// Whether anything may be dropped there.
    drops: bool,
}

/// Puts rules at the top of every chain that filters, and remembers them in the file `state`. Those that are there already
/// stay, or move to the top if others came before them.
///
/// # Errors
/// If nft refuses; rules that were made stay, and `restore` takes them out.
pub async fn open(opening: &Opening, state: &Path, report: Report<'_>) -> Result<(), Failure> {
    can_configure_the_network()?;
    let page = match nft("list ruleset").await {
        Ok(page) => page,
        // Nothing filters by it.
        Err(NftError::Missing { .. }) => String::new(),
        Err(error) => return Err(HostError::from(error).into()),
    };
    let mut state = StateFile::open(state)?;
    let mut filtering =
        chains(&page).into_iter().filter(|chain| chain.drops && opening.concerns(chain)).peekable();
    let old = iptables::open(opening, &mut state, report).await?;
    if filtering.peek().is_none() && !old {
        report(Done::new("firewall", Outcome::Already, "no chain here drops anything"));
    }
    for chain in filtering {
        let Chain { family, table, name, .. } = &chain;
        let (item, own) = (format!("{family} {table} {name}"), comment(opening));
        let before = rules(&nft(&format!("list chain {item}")).await.map_err(HostError::from)?);
        let wanted = opening.rules(&chain);
        if wanted.is_empty() {
            continue;
        }
        // Also of rules that are there: the file in which they were remembered may be lost.
        state.record(Change::Rules { family: family.clone(), table: table.clone(), chain: name.clone() })?;
        if are_at_top(&before, &own, wanted.len()) {
            report(Done::new(item, Outcome::Already, "its rules are at the top"));
            continue;
        }
        for rule in wanted {
            let line = format!("insert rule {item} {rule} accept comment \"{own}\"");
            nft(&line).await.map_err(HostError::from)?;
            report(Done::new(item.clone(), Outcome::Changed, format!("{rule} accept")));
        }
        for old in before.iter().filter(|rule| rule.comment == own) {
            delete(&item, old).await.map_err(HostError::from)?;
        }
    }
    Ok(())
}

/// Takes the rules out of a chain again.
pub(super) async fn close(family: &str, table: &str, chain: &str) -> Result<Done, HostError> {
    if iptables::is_program(family) {
        return iptables::close(family, table, chain).await;
    }
    let item = format!("{family} {table} {chain}");
    let Ok(page) = nft(&format!("list chain {item}")).await else {
        return Ok(Done::new(item, Outcome::Restored, "is gone"));
    };
    for rule in rules(&page).iter().filter(|rule| rule.is_ours()) {
        delete(&item, rule).await?;
    }
    Ok(Done::new(item, Outcome::Restored, "without rules of xvs"))
}

/// The rules on a page of `nft list chain`, by their handles, from the first to the last.
fn rules(page: &str) -> Vec<Rule> {
    let of_rule = |line: &str| {
        let (text, handle) = line.rsplit_once("# handle ")?;
        let comment = text.split_once("comment \"").and_then(|(_, rest)| rest.split_once('"'));
        let is_rule = !text.trim_end().ends_with('{');
        let comment = comment.map_or(String::new(), |(comment, _)| comment.to_owned());
        is_rule.then(|| Rule { comment, name: handle.trim().to_owned() })
    };
    page.lines().filter_map(of_rule).collect()
}

async fn delete(item: &str, rule: &Rule) -> Result<String, NftError> {
    nft(&format!("delete rule {item} handle {}", rule.name)).await
}

impl Opening {
    fn concerns(&self, chain: &Chain) -> bool {
        let version = if self.address.is_ipv4() { "ip" } else { "ip6" };
        // A tunnel's outer packets may be of the other version.
        self.tunnel.is_some() || ["inet", "netdev", version].contains(&chain.family.as_str())
    }

    /// What is to be accepted by a chain, each a match.
    fn rules(&self, chain: &Chain) -> Vec<String> {
        let (version, icmp) = if self.address.is_ipv4() { ("ip", "icmp") } else { ("ip6", "icmpv6") };
        let leaves = ["output", "postrouting", "egress"].contains(&chain.hook.as_str());
        let (whose, port, echo) =
            if leaves { ("saddr", "sport", "echo-reply") } else { ("daddr", "dport", "echo-request") };
        let (ip, number) = (self.address.ip(), self.address.port());
        let mut rules = Vec::new();
        if [version, "inet", "netdev"].contains(&chain.family.as_str()) {
            let here = format!("{version} {whose} {ip}");
            let ports = if number == 0 {
                format!("meta l4proto {}", self.protocol)
            } else {
                format!("{} {port} {number}", self.protocol)
            };
            rules.push(format!("{here} {ports}"));
            rules.push(format!("{here} {icmp} type {echo}"));
        }
        if !leaves {
            rules.extend(self.tunnel.map(|tunnel| match tunnel {
                Tunnel::Ipip => "meta l4proto { 4, 41 }".to_owned(),
                Tunnel::Gre { .. } => "meta l4proto 47".to_owned(),
                Tunnel::Gue { port, .. } => format!("udp dport {port}"),
            }));
        }
        rules
    }
}

/// The base chains that filter on a page of `nft list ruleset`.
fn chains(page: &str) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let (mut family, mut table, mut open) = (String::new(), String::new(), None::<Chain>);
    for line in page.lines().map(|line| line.split_once(" # handle ").map_or(line, |(line, _)| line).trim()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["table", of, name, "{"] => (family, table) = ((*of).to_owned(), (*name).to_owned()),
            ["chain", name, "{"] => {
                let (family, table) = (family.clone(), table.clone());
                open = Some(Chain { family, table, name: (*name).to_owned(), ..Chain::default() });
            }
            ["}"] => chains.extend(open.take().filter(|chain| !chain.hook.is_empty())),
            ["type", "filter", "hook", hook, ..] => {
                if let Some(chain) = &mut open {
                    (*hook).clone_into(&mut chain.hook);
                    chain.drops = line.contains("policy drop");
                }
            }
            // What is beyond a jump may drop.
            words => {
                let ends = ["drop", "reject", "jump", "goto", "vmap"];
                if let Some(chain) = &mut open
                    && words.iter().any(|word| ends.contains(word))
                {
                    chain.drops = true;
                }
            }
        }
    }
    chains.retain(|chain| chain.hook != "forward");
    chains
}

async fn nft(line: &str) -> Result<String, NftError> {
    let output = Command::new("nft").args(["--handle", "--numeric", line]).output().await.map_err(
        |error| match error.kind() {
            io::ErrorKind::NotFound => NftError::Missing { program: "nft".to_owned() },
            _ => NftError::Start { program: "nft".to_owned(), error },
        },
    )?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
    Err(NftError::Refused { line: format!("nft {line}"), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "table inet filter { # handle 1\n\tset s {\n\t\ttype ipv4_addr\n\t}\n\tchain input {\n\t\ttype filter hook input priority 0; policy drop;\n\
        \t\ttcp dport 22 accept\n\t}\n\tchain forward {\n\t\ttype filter hook forward priority 0; policy drop;\n\t}\n\tchain other {\n\t\tdrop\n\t}\n}\n\
        table ip6 raw {\n\tchain early {\n\t\ttype filter hook prerouting priority -300; policy accept;\n\t\tip6 saddr fd00::/8 drop\n\t}\n\
        \tchain quiet {\n\t\ttype filter hook input priority 0; policy accept;\n\t}\n}\n";

    #[test]
    fn chains_that_drop_are_found() {
        let found: Vec<(String, String, bool)> =
            chains(PAGE).into_iter().map(|chain| (chain.table, chain.name, chain.drops)).collect();
        let expected = [("filter", "input", true), ("raw", "early", true), ("raw", "quiet", false)];
        assert_eq!(found, expected.map(|(table, name, drops)| (table.to_owned(), name.to_owned(), drops)));
    }

    #[test]
    fn rules_of_a_chain_are_told_apart() {
        let page = "table inet f { # handle 1\n\tchain in { # handle 2\n\t\ttype filter hook input priority 0; policy drop;\n\
            \t\tip daddr 192.0.2.100 tcp dport 80 accept comment \"xvs host open tcp 192.0.2.100:80\" # handle 9\n\
            \t\ttcp dport 22 accept # handle 4\n\t}\n}\n";
        let rule = |comment: &str, name: &str| Rule { comment: comment.to_owned(), name: name.to_owned() };
        assert_eq!(rules(page), [rule("xvs host open tcp 192.0.2.100:80", "9"), rule("", "4")]);
    }

    #[test]
    fn a_chain_of_the_other_version_gets_the_tunnel_alone() {
        let chain = &chains(PAGE)[1];
        let address = SocketAddr::from(([192, 0, 2, 100], 80));
        let opening = Opening { protocol: Protocol::Tcp, address, tunnel: None };
        assert!(!opening.concerns(chain));
        let opening = Opening { tunnel: Some(Tunnel::Ipip), ..opening };
        assert_eq!(opening.rules(chain), ["meta l4proto { 4, 41 }"]);
    }
}
