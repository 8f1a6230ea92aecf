// SPDX-License-Identifier: MIT OR Apache-2.0
//! Matches of the packets that a chain must accept.

use super::Opening;
use crate::host::firewall::{Filter, OURS};
use lb_model::Tunnel;

/// Returns the comment of an opening's rules, which identifies them.
pub(super) fn comment(opening: &Opening) -> String {
    let Opening { protocol, address, tunnel } = opening;
    let tunnel = tunnel.map(|tunnel| format!(" {tunnel}")).unwrap_or_default();
    format!("{OURS} {protocol} {address}{tunnel}")
}

/// Returns whether packets of an opening pass chains of a family of nftables, or of a program for iptables.
pub(super) fn concerns(opening: &Opening, family: &str) -> bool {
    let own = if opening.address.is_ipv4() { ["ip", "iptables"] } else { ["ip6", "ip6tables"] };
    // A tunnel's outer packets may have the other IP version.
    opening.tunnel.is_some() || ["inet", "netdev"].contains(&family) || own.contains(&family)
}

/// Returns the matches that a chain must accept.
pub(super) fn matches(opening: &Opening, filter: &Filter) -> Vec<String> {
    if filter.name.is_of_iptables() {
        return of_iptables(opening, filter.leaving, filter.name.family.starts_with("ip6"));
    }
    of_nft(opening, filter.leaving, &filter.name.family)
}

fn of_nft(opening: &Opening, leaves: bool, family: &str) -> Vec<String> {
    let (version, icmp) = if opening.address.is_ipv4() { ("ip", "icmp") } else { ("ip6", "icmpv6") };
    let (whose, port, echo) =
        if leaves { ("saddr", "sport", "echo-reply") } else { ("daddr", "dport", "echo-request") };
    let (ip, number) = (opening.address.ip(), opening.address.port());
    let mut rules = Vec::new();
    if [version, "inet", "netdev"].contains(&family) {
        let here = format!("{version} {whose} {ip}");
        let ports = if number == 0 {
            format!("meta l4proto {}", opening.protocol)
        } else {
            format!("{} {port} {number}", opening.protocol)
        };
        rules.push(format!("{here} {ports}"));
        rules.push(format!("{here} {icmp} type {echo}"));
    }
    if !leaves {
        rules.extend(opening.tunnel.map(|tunnel| match tunnel {
            Tunnel::Ipip => "meta l4proto { 4, 41 }".to_owned(),
            Tunnel::Gre { .. } => "meta l4proto 47".to_owned(),
            Tunnel::Gue { port, .. } => format!("udp dport {port}"),
        }));
    }
    rules
}

fn of_iptables(opening: &Opening, leaves: bool, six: bool) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use lb_model::Protocol;

    #[test]
    fn a_chain_of_the_other_version_gets_the_tunnel_alone() {
        let address = SocketAddr::from(([192, 0, 2, 100], 80));
        let opening = Opening { protocol: Protocol::Tcp, address, tunnel: None };
        assert!(!concerns(&opening, "ip6") && !concerns(&opening, "ip6tables"));
        assert!(concerns(&opening, "ip") && concerns(&opening, "iptables") && concerns(&opening, "inet"));
        let opening = Opening { tunnel: Some(Tunnel::Ipip), ..opening };
        assert!(concerns(&opening, "ip6") && concerns(&opening, "ip6tables"));
        assert_eq!(of_nft(&opening, false, "ip6"), ["meta l4proto { 4, 41 }"]);
    }

    #[test]
    fn each_version_of_iptables_gets_its_own_matches() {
        let address = "[2001:db8::100]:80".parse().unwrap();
        let opening = Opening { protocol: Protocol::Tcp, address, tunnel: Some(Tunnel::Ipip) };
        assert_eq!(of_iptables(&opening, false, false), ["-p 4", "-p 41"]);
        assert_eq!(
            of_iptables(&opening, true, true),
            ["-s 2001:db8::100 -p tcp --sport 80", "-s 2001:db8::100 -p ipv6-icmp --icmpv6-type echo-reply"]
        );
    }
}
