// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules of the legacy iptables, which nftables does not show.

use std::{fs, io, process::Output};

use tokio::process::Command;

use super::{
    super::{Done, HostError, Outcome, Report, state::Change, state::StateFile},
    NftError, Opening,
    place::{Rule, are_at_top, comment},
};
use crate::model::Tunnel;

/// Programs by IP version, and the files in which the kernel lists existing tables.
const PROGRAMS: [(&str, &str, bool); 2] =
    [("iptables", "ip_tables_names", false), ("ip6tables", "ip6_tables_names", true)];

/// Tables that may drop packets, in the order in which packets pass them.
const TABLES: [&str; 3] = ["raw", "mangle", "filter"];

/// Inserts rules at the top of every chain that filters. Returns whether there is such a chain.
pub(super) async fn open(
    opening: &Opening,
    state: &mut StateFile,
    report: Report<'_>,
) -> Result<bool, HostError> {
    let mut any = false;
    for (plain, names, six) in PROGRAMS {
        // Listing would load kernel modules, so commands only run if a table exists.
        let tables = fs::read_to_string(format!("/proc/thread-self/net/{names}")).unwrap_or_default();
        let has_tables = tables.lines().any(|table| TABLES.contains(&table));
        if !has_tables || (six != opening.address.is_ipv6() && opening.tunnel.is_none()) {
            continue;
        }
        let (program, page) = list(plain).await?;
        for (table, chain) in filtering(&page) {
            any = true;
            let (family, table, chain) = (program.clone(), table.to_owned(), chain.to_owned());
            let (place, change) =
                (format!("{family} {table} {chain}"), Change::Rules { family, table, chain });
            let (wanted, own) = (rules(opening, is_leaving(&place), six), comment(opening));
            let before = rules_of(&page, &place);
            if wanted.is_empty() {
                continue;
            }
            state.record(change)?;
            if are_at_top(&before, &own, wanted.len()) {
                report(Done::new(place, Outcome::Already, "its rules are at the top"));
                continue;
            }
            // Rules have no handles: a deletion removes the first equal rule, which could be the new one. So
            // old rules go first.
            for old in before.iter().filter(|rule| rule.comment == own) {
                delete(&place, old).await?;
            }
            for rule in wanted {
                run(&program, &insert(&place, &rule, &own)).await?;
                report(Done::new(place.clone(), Outcome::Changed, format!("{rule} -j ACCEPT")));
            }
        }
    }
    Ok(any)
}

/// Returns whether a family of rules is one of these programs.
pub(super) fn is_program(family: &str) -> bool {
    PROGRAMS.iter().any(|(plain, ..)| family.trim_end_matches("-legacy") == *plain)
}

/// Removes the rules of xvs from a chain.
pub(super) async fn close(program: &str, table: &str, chain: &str) -> Result<Done, HostError> {
    let item = format!("{program} {table} {chain}");
    let Ok(page) = run(&format!("{program}-save"), &["-t", table].map(str::to_owned)).await else {
        return Ok(Done::new(item, Outcome::Restored, "is gone"));
    };
    for rule in rules_of(&page, &item).iter().filter(|rule| rule.is_ours()) {
        delete(&item, rule).await?;
    }
    Ok(Done::new(item, Outcome::Restored, "without rules of xvs"))
}

/// Returns the rules of `PROGRAM TABLE CHAIN` on a page of iptables-save, in order.
fn rules_of(page: &str, place: &str) -> Vec<Rule> {
    let (_, table, chain) = parts(place);
    let mut here = "";
    let of_chain = |line: &str| {
        let name = line.strip_prefix(&format!("-A {chain} "))?.to_owned();
        let comment = name.split_once("--comment \"").and_then(|(_, rest)| rest.split_once('"'));
        Some(Rule { comment: comment.map_or(String::new(), |(comment, _)| comment.to_owned()), name })
    };
    let mut rules = Vec::new();
    for line in page.lines() {
        here = line.strip_prefix('*').unwrap_or(here);
        rules.extend(of_chain(line).filter(|_| here == table));
    }
    rules
}

/// Deletes a rule from `PROGRAM TABLE CHAIN`.
async fn delete(place: &str, rule: &Rule) -> Result<String, NftError> {
    let (program, table, chain) = parts(place);
    let quoted = format!("\"{}\"", rule.comment);
    let (before, after) = rule.name.split_once(&quoted).unwrap_or((&rule.name, ""));
    let mut words: Vec<String> = ["-t", table, "-D", chain].map(str::to_owned).to_vec();
    words.extend(before.split_whitespace().map(str::to_owned));
    words.push(rule.comment.clone());
    words.extend(after.split_whitespace().map(str::to_owned));
    run(program, &words).await
}

/// Splits program, table and chain.
fn parts(place: &str) -> (&str, &str, &str) {
    let mut words = place.split(' ');
    let mut next = || words.next().unwrap_or_default();
    (next(), next(), next())
}

/// Returns whether packets that this host sends pass a chain.
fn is_leaving(place: &str) -> bool {
    ["OUTPUT", "POSTROUTING"].iter().any(|chain| place.ends_with(chain))
}

/// Returns the arguments that insert a rule at the top of `PROGRAM TABLE CHAIN`.
fn insert(place: &str, rule: &str, comment: &str) -> Vec<String> {
    let (_, table, chain) = parts(place);
    let head = ["-t", table, "-I", chain].into_iter().chain(rule.split(' '));
    let tail = ["-m", "comment", "--comment", comment, "-j", "ACCEPT"];
    head.chain(tail).map(str::to_owned).collect()
}

/// Returns the matches that a chain must accept.
fn rules(opening: &Opening, leaves: bool, six: bool) -> Vec<String> {
    let (ip, number, protocol) = (opening.address.ip(), opening.address.port(), opening.protocol);
    let (whose, port) = if leaves { ("-s", "--sport") } else { ("-d", "--dport") };
    let mut rules = Vec::new();
    if six == ip.is_ipv6() {
        let ports = if number == 0 { String::new() } else { format!(" {port} {number}") };
        rules.push(format!("{whose} {ip} -p {protocol}{ports}"));
        let echo = if leaves { "echo-reply" } else { "echo-request" };
        rules.push(if six {
            format!("{whose} {ip} -p ipv6-icmp --icmpv6-type {echo}")
        } else {
            format!("{whose} {ip} -p icmp --icmp-type {echo}")
        });
    }
    if !leaves {
        rules.extend(opening.tunnel.into_iter().flat_map(|tunnel| match tunnel {
            Tunnel::Ipip => vec!["-p 4".to_owned(), "-p 41".to_owned()],
            Tunnel::Gre { .. } => vec!["-p 47".to_owned()],
            Tunnel::Gue { port, .. } => vec![format!("-p udp --dport {port}")],
        }));
    }
    rules
}

/// Returns tables and chains on a page of iptables-save that may drop packets to or from this host.
fn filtering(page: &str) -> Vec<(&str, &str)> {
    const BUILT_IN: [&str; 4] = ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"];
    // The target of a jump may drop packets.
    const HARMLESS: [&str; 8] = ["ACCEPT", "RETURN", "LOG", "MARK", "CONNMARK", "TCPMSS", "CT", "NFLOG"];
    let (mut table, mut found) = ("", Vec::new());
    for line in page.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let drops = match words.as_slice() {
            [name, ..] if name.starts_with('*') => {
                table = name.trim_start_matches('*');
                continue;
            }
            [chain, policy, ..] if chain.starts_with(':') => {
                (*policy == "DROP").then(|| chain.trim_start_matches(':'))
            }
            ["-A", chain, rule @ ..] => {
                let target = rule.iter().position(|word| ["-j", "-g"].contains(word));
                let target = target.and_then(|at| rule.get(at + 1));
                target.is_some_and(|target| !HARMLESS.contains(target)).then_some(*chain)
            }
            _ => None,
        };
        found.extend(drops.filter(|chain| BUILT_IN.contains(chain)).map(|chain| (table, chain)));
    }
    found.retain(|(table, _)| TABLES.contains(table));
    found.dedup();
    found
}

/// Returns the name of the installed variant, and the output of its `-save`. With only one variant installed,
/// it has the plain name.
async fn list(plain: &str) -> Result<(String, String), NftError> {
    let old = format!("{plain}-legacy");
    match run(&format!("{old}-save"), &[]).await {
        Ok(page) => Ok((old, page)),
        Err(NftError::Missing { .. }) => Ok((plain.to_owned(), run(&format!("{plain}-save"), &[]).await?)),
        Err(error) => Err(error),
    }
}

async fn run(program: &str, words: &[String]) -> Result<String, NftError> {
    let output = Command::new(program).args(words).output().await;
    let Output { status, stdout, stderr } = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NftError::Missing { program: program.to_owned() },
        _ => NftError::Start { program: program.to_owned(), error },
    })?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&stderr).lines().next().unwrap_or_default().to_owned();
    Err(NftError::Refused { line: format!("{program} {}", words.join(" ")), message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    #[test]
    fn chains_that_drop_are_found() {
        let page = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -s 10.0.0.0/8 -j DROP\nCOMMIT\n*nat\n:INPUT DROP [0:0]\nCOMMIT\n\
                    *filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]\n:own - [0:0]\n-A INPUT -p tcp -j LOG\n\
                    -A INPUT -j own\n-A INPUT -j DROP\n-A own -j DROP\nCOMMIT\n";
        assert_eq!(filtering(page), [("raw", "PREROUTING"), ("filter", "OUTPUT"), ("filter", "INPUT")]);
    }

    #[test]
    fn rules_of_a_chain_are_told_apart() {
        let page = "*mangle\n-A INPUT -j DROP\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n-A INPUT -d 192.0.2.100/32 -p tcp -m comment --comment \"xvs host open tcp 192.0.2.100:80\" -j ACCEPT\n\
                    -A OUTPUT -j DROP\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n";
        let found = rules_of(page, "iptables-legacy filter INPUT");
        let comments: Vec<&str> = found.iter().map(|rule| rule.comment.as_str()).collect();
        assert_eq!(comments, ["xvs host open tcp 192.0.2.100:80", ""]);
        assert_eq!(found[1].name, "-i lo -j ACCEPT");
    }

    #[test]
    fn each_version_gets_what_is_its_own() {
        let address = "[2001:db8::100]:80".parse().unwrap();
        let opening = Opening { protocol: Protocol::Tcp, address, tunnel: Some(Tunnel::Ipip) };
        assert_eq!(rules(&opening, false, false), ["-p 4", "-p 41"]);
        assert_eq!(
            rules(&opening, true, true),
            ["-s 2001:db8::100 -p tcp --sport 80", "-s 2001:db8::100 -p ipv6-icmp --icmpv6-type echo-reply"]
        );
    }
}
