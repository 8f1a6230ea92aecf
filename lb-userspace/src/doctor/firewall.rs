// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules of nftables that mention a VIP: XDP forwards before they are asked.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use tokio::process::Command;

use super::{Facts, Finding, Severity};

pub(super) async fn check(facts: &Facts) -> Vec<Finding> {
    // Rules of iptables are shown too, where iptables is the one over nftables. Without nft there is nothing to see.
    let Ok(output) = Command::new("nft").args(["-a", "-n", "list", "ruleset"]).output().await else {
        return Vec::new();
    };
    let page = String::from_utf8_lossy(&output.stdout);
    facts.vips().into_iter().flat_map(|vip| rules(&page, vip)).collect()
}

/// Rules on a page of `nft -a list ruleset` that mention a VIP.
fn rules(page: &str, vip: IpAddr) -> Vec<Finding> {
    let (mut table, mut chain) = ("", "");
    let mut findings = Vec::new();
    let word = vip.to_string();
    for line in page.lines().map(str::trim) {
        let (text, handle) = line.split_once(" # handle ").unwrap_or((line, ""));
        if let Some(name) = text.strip_prefix("table ").and_then(|rest| rest.strip_suffix(" {")) {
            table = name;
        } else if let Some(name) = text.strip_prefix("chain ").and_then(|rest| rest.strip_suffix(" {")) {
            chain = name;
        } else if text.split([' ', ',', '{', '}', '/']).any(|token| token == word) && !handle.is_empty() {
            findings.push(Finding::new(
                "firewall",
                Severity::Warning,
                format!("the rule '{text}' of {table} {chain} names the VIP {vip}, and never sees its traffic: XDP forwards first"),
                format!("nft delete rule {table} {chain} handle {handle}"),
            ));
        }
    }
    findings
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
}
