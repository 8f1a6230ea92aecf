// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host open`: lets a service's packets pass this host's firewall, nftables or iptables, whatever its
//! other rules are.
//!
//! A packet must be accepted by every base chain that it passes, by a rule before those that drop it. So each
//! chain that filters gets a rule at its top. `restore` removes these rules.
#![forbid(unsafe_code)]

mod iptables; // the legacy iptables
mod place; //    position of xvs's rules in a chain

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

/// Packets that should pass.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Protocol of the service.
    pub protocol: Protocol,
    /// Destination address of the packets on this host, and port; 0: every port.
    pub address: SocketAddr,
    /// Encapsulation of the packets when they arrive.
    pub tunnel: Option<Tunnel>,
}

/// Reason why a firewall's program failed.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program is not installed.
    #[error("{program} is not installed")]
    Missing {
        /// Name of the program.
        program: String,
    },
    /// The program cannot be started.
    #[error("cannot start {program}: {error}")]
    Start {
        /// Name of the program.
        program: String,
        /// Error of the system.
        error: io::Error,
    },
    /// The program reported an error.
    #[error("`{line}` failed: {message}")]
    Refused {
        /// Command line.
        line: String,
        /// Message of the program.
        message: String,
    },
}

/// A base chain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Chain {
    family: String,
    table: String,
    name: String,
    hook: String,
    /// A rule or the policy of the chain may drop packets.
    drops: bool,
}

/// Inserts rules at the top of every chain that filters, and records them in the file `state`. Existing rules
/// stay, or move to the top if others came before them.
///
/// # Errors
/// If nft fails; rules that were inserted stay, and `restore` removes them.
pub async fn open(opening: &Opening, state: &Path, report: Report<'_>) -> Result<(), Failure> {
    can_configure_the_network()?;
    let page = match nft("list ruleset").await {
        Ok(page) => page,
        // Without nft, nothing here filters with nftables.
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
        // Existing rules are recorded too: the file in which they were recorded may be lost.
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

/// Removes the rules of xvs from a chain.
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

/// Returns the rules on a page of `nft list chain` with their handles, in order.
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
        // A tunnel's outer packets may have the other IP version.
        self.tunnel.is_some() || ["inet", "netdev", version].contains(&chain.family.as_str())
    }

    /// Returns the matches that a chain must accept.
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

/// Returns the base chains that filter on a page of `nft list ruleset`.
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
            // The target of a jump may drop packets.
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
