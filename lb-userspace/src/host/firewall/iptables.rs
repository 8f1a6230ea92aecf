// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules of the legacy iptables, which nftables does not show.

use std::fs;

use super::{ChainName, Filter, FirewallError, Rule, run};

/// Programs by IP version, and the files in which the kernel lists existing tables.
const PROGRAMS: [(&str, &str); 2] = [("iptables", "ip_tables_names"), ("ip6tables", "ip6_tables_names")];

/// Tables that may drop packets, in the order in which packets pass them.
const TABLES: [&str; 3] = ["raw", "mangle", "filter"];

/// Returns every chain that may drop packets to or from this host, of the programs that `wanted` selects.
pub(super) async fn filters(wanted: &(dyn Fn(&str) -> bool + Sync)) -> Result<Vec<Filter>, FirewallError> {
    let mut filters = Vec::new();
    for (plain, names) in PROGRAMS {
        // Listing would load kernel modules, so commands only run if a table exists.
        let tables = fs::read_to_string(format!("/proc/thread-self/net/{names}")).unwrap_or_default();
        let has_tables = tables.lines().any(|table| TABLES.contains(&table));
        if !has_tables || !wanted(plain) {
            continue;
        }
        let (program, page) = list(plain).await?;
        for (table, chain) in filtering(&page) {
            let (family, table, chain) = (program.clone(), table.to_owned(), chain.to_owned());
            let name = ChainName { family, table, chain };
            let leaving = ["OUTPUT", "POSTROUTING"].contains(&name.chain.as_str());
            filters.push(Filter { leaving, rules: rules_of(&page, &name), name });
        }
    }
    Ok(filters)
}

/// Returns whether a family of rules is one of these programs.
pub(super) fn is_program(family: &str) -> bool {
    PROGRAMS.iter().any(|(plain, _)| family.trim_end_matches("-legacy") == *plain)
}

/// Returns the rules of a chain.
pub(super) async fn rules(name: &ChainName) -> Result<Vec<Rule>, FirewallError> {
    let words = ["-t", &name.table].map(str::to_owned);
    Ok(rules_of(&run(&format!("{}-save", name.family), &words).await?, name))
}

/// Returns the rules of a chain on a page of iptables-save, in order.
fn rules_of(page: &str, ChainName { table, chain, .. }: &ChainName) -> Vec<Rule> {
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

/// Returns the command that inserts a rule at the top of a chain.
pub(super) fn insert(name: &ChainName, matches: &str, comment: &str) -> Vec<String> {
    let ChainName { family, table, chain } = name;
    let head = [family, "-t", table, "-I", chain].into_iter().chain(matches.split(' '));
    let tail = ["-m", "comment", "--comment", comment, "-j", "ACCEPT"];
    head.chain(tail).map(str::to_owned).collect()
}

/// Returns the command that deletes a rule. Rules have no handles: it deletes the first equal rule.
pub(super) fn delete(name: &ChainName, rule: &Rule) -> Vec<String> {
    let ChainName { family, table, chain } = name;
    let quoted = format!("\"{}\"", rule.comment);
    let (before, after) = rule.name.split_once(&quoted).unwrap_or((&rule.name, ""));
    let mut words: Vec<String> = [family, "-t", table, "-D", chain].map(str::to_owned).to_vec();
    words.extend(before.split_whitespace().map(str::to_owned));
    words.push(rule.comment.clone());
    words.extend(after.split_whitespace().map(str::to_owned));
    words
}

/// Returns tables and chains on a page of iptables-save that may drop packets to or from this host.
fn filtering(page: &str) -> Vec<(&str, &str)> {
    const BUILT_IN: [&str; 4] = ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"];
    // The target of a jump may drop packets.
    const HARMLESS: [&str; 8] = ["ACCEPT", "RETURN", "LOG", "MARK", "CONNMARK", "TCPMSS", "CT", "NFLOG"];
    let (mut table, mut found) = ("", Vec::<(&str, &str)>::new());
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
        // Both the policy and a rule of a chain may drop packets.
        let found_now = drops.filter(|chain| BUILT_IN.contains(chain)).map(|chain| (table, chain));
        found.extend(found_now.filter(|chain| TABLES.contains(&table) && !found.contains(chain)));
    }
    found
}

/// Returns the name of the installed variant, and the output of its `-save`. With only one variant installed,
/// it has the plain name.
async fn list(plain: &str) -> Result<(String, String), FirewallError> {
    let old = format!("{plain}-legacy");
    match run(&format!("{old}-save"), &[]).await {
        Ok(page) => Ok((old, page)),
        Err(FirewallError::Missing { .. }) => {
            Ok((plain.to_owned(), run(&format!("{plain}-save"), &[]).await?))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_that_drop_are_found() {
        let page = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -s 10.0.0.0/8 -j DROP\nCOMMIT\n*nat\n:INPUT DROP [0:0]\nCOMMIT\n\
                    *filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]\n:own - [0:0]\n-A INPUT -p tcp -j LOG\n\
                    -A INPUT -j own\n-A INPUT -j DROP\n-A OUTPUT -j DROP\n-A own -j DROP\nCOMMIT\n";
        assert_eq!(filtering(page), [("raw", "PREROUTING"), ("filter", "OUTPUT"), ("filter", "INPUT")]);
    }

    #[test]
    fn rules_of_a_chain_are_told_apart() {
        let page = "*mangle\n-A INPUT -j DROP\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n-A INPUT -d 192.0.2.100/32 -p tcp -m comment --comment \"xvs host open tcp 192.0.2.100:80\" -j ACCEPT\n\
                    -A OUTPUT -j DROP\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n";
        let [family, table, chain] = ["iptables-legacy", "filter", "INPUT"].map(str::to_owned);
        let found = rules_of(page, &ChainName { family, table, chain });
        let comments: Vec<&str> = found.iter().map(|rule| rule.comment.as_str()).collect();
        assert_eq!(comments, ["xvs host open tcp 192.0.2.100:80", ""]);
        assert_eq!(found[1].name, "-i lo -j ACCEPT");
    }
}
