// SPDX-License-Identifier: MIT OR Apache-2.0
//! Firewall rules for a VIP's packets: they have no effect, because XDP forwards first.
#![forbid(unsafe_code)]

mod iptables; // output of iptables-save
mod nft; //      output of nft

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Check, Facts, Finding, Fix, Location};
use lb_model::Endpoint;

/// Rules of this host's firewalls; empty for those that are not installed.
pub(super) struct Pages {
    nft: Option<String>,
    /// Output by the command that listed it.
    iptables: Vec<(&'static str, String)>,
}

impl Pages {
    pub(super) async fn read() -> Self {
        let nft = nft::page().await;
        let iptables = iptables::pages(nft.is_some()).await;
        Self { nft, iptables }
    }

    /// Returns findings for rules that should match a service's packets.
    pub(super) fn check(&self, facts: &Facts) -> Vec<Finding> {
        let interfaces: Vec<&str> = facts.attached.values().map(String::as_str).collect();
        let wanted = Wanted { endpoints: facts.endpoints.iter().collect(), interfaces };
        let mut findings = self.nft.as_ref().map_or_else(Vec::new, |page| nft::check(page, &wanted));
        findings
            .extend(self.iptables.iter().flat_map(|(program, page)| iptables::check(program, page, &wanted)));
        findings
    }

    /// Returns the services for which the director's own packets are translated.
    pub(super) fn translated(&self) -> Vec<SocketAddr> {
        self.nft.as_ref().map_or_else(Vec::new, |page| nft::translated(page))
    }
}

/// Criteria by which rules are searched.
struct Wanted<'a> {
    endpoints: Vec<&'a Endpoint>,
    /// Interfaces by which clients' packets arrive.
    interfaces: Vec<&'a str>,
}

/// Relevant criteria of a rule.
#[derive(Debug, Default)]
struct Matches<'a> {
    /// Words that may be an address, a range or a network.
    addresses: Vec<&'a str>,
    /// The rule matches some destinations only.
    is_for_destinations: bool,
    /// Protocol (empty for any), and words that may be a port or a range of ports.
    ports: Option<(&'a str, Vec<&'a str>)>,
    /// Names of interfaces to which the rule is limited.
    interfaces: Vec<&'a str>,
    /// The rule drops or redirects matching packets.
    stops: bool,
}

impl Wanted<'_> {
    /// Returns the first VIP in a rule, or the VIP of the first service whose port the rule blocks, and a
    /// description of it.
    fn meant_by(&self, rule: &Matches<'_>) -> Option<(IpAddr, String)> {
        let named = self.endpoints.iter().map(|endpoint| endpoint.address.ip());
        let named = named.filter(|vip| rule.addresses.iter().any(|word| covers(word, *vip)));
        if let Some(vip) = named.min() {
            return Some((vip, format!("the VIP {vip}")));
        }
        let (protocol, ports) = rule.ports.as_ref().filter(|_| rule.stops && !rule.is_for_destinations)?;
        let is_near = |name: &&str| self.interfaces.iter().any(|one| one == name);
        if !rule.interfaces.is_empty() && !rule.interfaces.iter().any(|name| is_near(&name.trim_matches('"')))
        {
            return None;
        }
        let meant = self.endpoints.iter().find(|endpoint| {
            let same = protocol.is_empty() || *protocol == endpoint.protocol.to_string();
            same && ports.iter().any(|word| is_port(word, endpoint.address.port()))
        });
        meant.map(|endpoint| (endpoint.address.ip(), format!("the port of {endpoint}, whatever the address")))
    }
}

/// Returns the finding for a rule.
fn finding(rule: &str, place: &str, about: &str, fix: String) -> Finding {
    let cause = format!(
        "the rule '{rule}' of {place} is meant for {about}, but has no effect on its packets: XDP forwards them first"
    );
    Finding::new(Check::Firewall, Location::Director, cause, Fix::on_director(fix))
}

/// Returns whether a word is an address, a range or a network that contains the VIP. A network of all IPv4 or
/// IPv6 addresses does not count.
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

/// Returns whether a word is a port, or a range of ports, that contains this one.
fn is_port(word: &str, port: u16) -> bool {
    match word.split_once(['-', ':']) {
        Some((first, last)) => match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) => (first..=last).contains(&port),
            _ => false,
        },
        None => word.parse() == Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_about_a_vip_by_networks_and_ranges_too() {
        let vip = IpAddr::from([192, 0, 2, 100]);
        for word in ["192.0.2.100", "192.0.2.0/24", "192.0.2.90-192.0.2.110", "192.0.2.100/32"] {
            assert!(covers(word, vip), "{word}");
        }
        for word in ["192.0.2.10", "192.0.3.0/24", "0.0.0.0/0", "192.0.2.1-192.0.2.99", "accept", "80", "1-5"]
        {
            assert!(!covers(word, vip), "{word}");
        }
    }

    #[test]
    fn a_port_is_in_its_range() {
        for word in ["80", "79-81", "1:100"] {
            assert!(is_port(word, 80), "{word}");
        }
        for word in ["8080", "81-90", "tcp", "", "1-x"] {
            assert!(!is_port(word, 80), "{word}");
        }
    }
}
