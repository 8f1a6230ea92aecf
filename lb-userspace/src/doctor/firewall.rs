// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules of nftables that mention a VIP: XDP forwards before they are asked.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use tokio::process::Command;

use super::{Facts, Finding, Severity, fix};

/// What nftables has to say, as `nft -a list ruleset` does; nothing where it is not installed.
///
/// Rules of iptables are shown too, where iptables is the one over nftables.
pub(super) async fn page() -> String {
    match Command::new("nft").args(["-a", "-n", "list", "ruleset"]).output().await {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(_) => String::new(),
    }
}

pub(super) fn check(facts: &Facts, page: &str) -> Vec<Finding> {
    facts.vips().into_iter().flat_map(|vip| rules(page, vip)).collect()
}

/// A rule and where it is.
struct Rule<'a> {
    table: &'a str,
    chain: &'a str,
    /// The hook of its chain, if that is a base chain.
    hook: &'a str,
    text: &'a str,
    handle: &'a str,
}

/// Every rule on a page.
fn each(page: &str) -> Vec<Rule<'_>> {
    let (mut table, mut chain, mut hook) = ("", "", "");
    let mut rules = Vec::new();
    for line in page.lines().map(str::trim) {
        let (text, handle) = line.split_once(" # handle ").unwrap_or((line, ""));
        if let Some(name) = text.strip_prefix("table ").and_then(|rest| rest.strip_suffix(" {")) {
            table = name;
        } else if let Some(name) = text.strip_prefix("chain ").and_then(|rest| rest.strip_suffix(" {")) {
            (chain, hook) = (name, "");
        } else if let Some((_, rest)) = text.split_once(" hook ").filter(|_| handle.is_empty()) {
            hook = rest.split(' ').next().unwrap_or_default();
        } else if !handle.is_empty() {
            rules.push(Rule { table, chain, hook, text, handle });
        }
    }
    rules
}

/// Rules on a page that mention a VIP, or a network that it is in.
fn rules(page: &str, vip: IpAddr) -> Vec<Finding> {
    let names = |rule: &&Rule<'_>| rule.text.split([' ', ',', '{', '}']).any(|token| covers(token, vip));
    // What the director sends to a VIP itself is seen by the rules for that.
    let sees = |rule: &Rule<'_>| rule.hook == "output" || rule.table.ends_with(fix::OWN);
    let finding = |Rule { table, chain, text, handle, .. }: &Rule<'_>| {
        Finding::new(
            "firewall",
            Severity::Warning,
            format!(
                "the rule '{text}' of {table} {chain} is about the VIP {vip}, and never sees its traffic: XDP forwards first"
            ),
            format!("nft delete rule {table} {chain} handle {handle}"),
        )
    };
    each(page).iter().filter(|rule| !sees(rule)).filter(names).map(finding).collect()
}

/// Whether a word of a rule is an address, a range or a network, and has the VIP in it. All of IPv4 or IPv6 is about nobody.
fn covers(word: &str, vip: IpAddr) -> bool {
    if let Some((first, last)) = word.split_once('-') {
        return match (first.parse::<IpAddr>(), last.parse::<IpAddr>()) {
            (Ok(first), Ok(last)) => first.is_ipv4() == vip.is_ipv4() && (first..=last).contains(&vip),
            _ => false,
        };
    }
    word.parse() == Ok(vip)
        || word.parse::<IpNet>().is_ok_and(|net| net.prefix_len() > 0 && net.contains(&vip))
}

/// Services for which the director's own packets are translated.
pub(super) fn translated(page: &str) -> Vec<SocketAddr> {
    let target = |rule: &Rule<'_>| {
        let words: Vec<&str> = rule.text.split(' ').collect();
        let behind = |name| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1));
        let ip = behind("daddr")?.parse().ok()?;
        Some(SocketAddr::new(ip, behind("dport").map_or(Some(0), |port| port.parse().ok())?))
    };
    let rules = each(page);
    let translates = |rule: &&Rule<'_>| rule.hook == "output" && rule.text.contains(" dnat to ");
    rules.iter().filter(translates).filter_map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_by_the_whole_address() {
        let page = "table inet filter { # handle 1\n\tchain input { # handle 2\n\t\tip daddr 10.0.0.1 drop # handle 3\n\
                    \t\tip daddr 10.0.0.10 drop # handle 4\n\t}\n}";
        let found = rules(page, IpAddr::from([10, 0, 0, 1]));
        let fixes: Vec<&str> = found.iter().map(|finding| finding.fix.as_str()).collect();
        assert_eq!(fixes, ["nft delete rule inet filter input handle 3"]);
    }

    #[test]
    fn a_rule_is_about_a_vip_by_networks_and_ranges_too() {
        let vip = IpAddr::from([192, 0, 2, 100]);
        for word in ["192.0.2.100", "192.0.2.0/24", "192.0.2.90-192.0.2.110"] {
            assert!(covers(word, vip), "{word}");
        }
        for word in ["192.0.2.10", "192.0.3.0/24", "0.0.0.0/0", "192.0.2.1-192.0.2.99", "accept", "80", "1-5"]
        {
            assert!(!covers(word, vip), "{word}");
        }
    }

    #[test]
    fn what_serves_the_directors_own_clients_is_no_fault() {
        let page = "table ip xvs-local { # handle 1\n\tchain output { # handle 2\n\t\ttype nat hook output priority -100; policy accept;\n\
                    \t\tip daddr 192.0.2.100 tcp dport 80 dnat to 10.0.0.11:80 # handle 3\n\t}\n\
                    \tchain leave { # handle 4\n\t\ttype nat hook postrouting priority 100; policy accept;\n\
                    \t\tip saddr 192.0.2.100 ip daddr 10.0.0.11 tcp dport 80 snat to 10.0.0.1 # handle 5\n\t}\n}";
        assert!(rules(page, IpAddr::from([192, 0, 2, 100])).is_empty());
        assert_eq!(translated(page), [SocketAddr::from(([192, 0, 2, 100], 80))]);
    }
}
