// SPDX-License-Identifier: MIT OR Apache-2.0
//! Effect of `arp_ignore` and `arp_announce` on a VIP: the kernel's rules, in words.
//!
//! The rules are in `arp_ignore` and `arp_solicit` in net/ipv4/arp.c; docs/arp.md has the table, and the
//! captures of the tests.

use lb_netlink::sysctl::{Name, Sysctl};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{HostError, finding::Finding, observed::Observed, target::Target};
use lb_netlink::Address;

/// Levels that set-up should set; `None` for the default, which keeps a stricter level.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Levels {
    /// Level of `arp_ignore`.
    pub ignore: Option<i32>,
    /// Level of `arp_announce`.
    pub announce: Option<i32>,
}

/// Parses a level of `arp_ignore`; 4 to 7 are reserved, and have the effect of 0.
pub fn ignore_level(text: &str) -> Result<i32, String> {
    level(text, &[0, 1, 2, 3, 8], "0, 1, 2, 3 or 8")
}

/// Parses a level of `arp_announce`.
pub fn announce_level(text: &str) -> Result<i32, String> {
    level(text, &[0, 1, 2], "0, 1 or 2")
}

fn level(text: &str, known: &[i32], say: &str) -> Result<i32, String> {
    let level = text.parse().ok().filter(|level| known.contains(level));
    level.ok_or_else(|| format!("the kernel knows the levels {say}"))
}

/// Returns the effect of the values in force on each IPv4 VIP: whether answers or questions of this host
/// disclose it.
pub fn findings(target: &Target, observed: &Observed) -> Result<Vec<Finding>, HostError> {
    let mut findings = Vec::new();
    if !target.has_ipv4() {
        return Ok(findings);
    }
    let (interface, addresses) = (&target.interface, &observed.addresses);
    let ignore = observed.in_force(&Sysctl::new(&interface.name, Name::ArpIgnore))?;
    let announce = observed.in_force(&Sysctl::new(&interface.name, Name::ArpAnnounce))?;
    for vip in &target.vips {
        let IpAddr::V4(vip) = *vip else { continue };
        let (quiet, meaning) = answers(ignore, vip, interface.index, addresses);
        findings.push(Finding {
            item: format!("ARP requests for {vip}"),
            expected: "not answered".to_owned(),
            found: format!("{meaning} (arp_ignore={ignore} in force on {})", interface.name),
            ok: quiet,
            why: "clients that hear the answer bypass the director".to_owned(),
        });
        let (quiet, meaning) = announces(announce, vip, interface.index, addresses);
        findings.push(Finding {
            item: format!("own ARP requests, sending from {vip}"),
            expected: "in the name of another address".to_owned(),
            found: format!("{meaning} (arp_announce={announce} in force on {})", interface.name),
            ok: quiet,
            why: "neighbours that hear the request learn that the VIP is here".to_owned(),
        });
    }
    findings.extend(without_address(target, observed));
    Ok(findings)
}

/// Returns findings for other interfaces by which replies may leave and that have no IPv4 address: with any
/// setting, the kernel then uses the first address of any device as the source of its ARP requests.
fn without_address(target: &Target, observed: &Observed) -> Vec<Finding> {
    let has_own = |index| {
        observed.addresses.iter().any(|address| address.ifindex == index && address.net.addr().is_ipv4())
    };
    let others = observed.interfaces.iter().filter(|other| {
        other.up && other.mac.is_some() && !other.noarp && other.index != target.interface.index
    });
    let others = others.filter(|other| observed.routed.contains(&other.index) && !has_own(other.index));
    let finding = |name: &str| Finding {
        item: format!("own ARP requests by {name}"),
        expected: format!("from an IPv4 address of {name}"),
        found: format!("from the first address of any device, possibly the VIP, because {name} has none"),
        ok: false,
        why: format!(
            "neighbours that receive such a request learn this host as the owner of the VIP; `ip address add ADDRESS/32 dev {name}` gives it one"
        ),
    };
    others.map(|other| finding(&other.name)).collect()
}

/// Returns whether requests for `vip` stay unanswered, and why.
fn answers(level: i32, vip: Ipv4Addr, interface: u32, addresses: &[Address]) -> (bool, &'static str) {
    let mut here = addresses.iter().filter(|address| address.net.addr() == vip).peekable();
    if here.peek().is_none() {
        return (true, "not answered: this host does not have it");
    }
    let on_interface = here.clone().any(|address| address.ifindex == interface);
    match level {
        1 if on_interface => (false, "answered: it is on the interface that is asked"),
        2 if on_interface => (false, "answered to its subnet: it is on the interface that is asked"),
        1 | 2 => (true, "not answered: it is not on the interface that is asked"),
        3 if here.all(|address| address.host_scope) => (true, "not answered: its scope is host"),
        3 => (false, "answered: its scope is not host"),
        8 => (
            true,
            "not answered, as no request is, for the RIP neither: the director needs a static neighbour entry",
        ),
        _ => (false, "answered, as for any address of this host"),
    }
}

/// Returns whether this host's own requests never contain `vip`, and why.
fn announces(level: i32, vip: Ipv4Addr, interface: u32, addresses: &[Address]) -> (bool, String) {
    let of_interface =
        || addresses.iter().filter(|address| address.ifindex == interface).map(|address| address.net);
    let others = || of_interface().filter(|net| net.addr().is_ipv4() && net.addr() != vip);
    let shared = others().find(|net| net.contains(&IpAddr::V4(vip)));
    match (level, others().next(), shared) {
        (1 | 2, None, _) => {
            (false, "in any address's name: the interface has no other of its own".to_owned())
        }
        (2, Some(own), _) => {
            (true, format!("in the name of an address of the interface, such as {}", own.addr()))
        }
        (1, _, Some(net)) => (
            false,
            format!("in the VIP's name towards {}, whose subnet is the VIP's too", IpNet::trunc(&net)),
        ),
        (1, Some(own), None) => (
            true,
            format!(
                "in the name of an address of the interface, such as {}: no subnet there has the VIP",
                own.addr()
            ),
        ),
        _ => (false, "in the VIP's name".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ETH0: u32 = 2;
    const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

    fn at(net: &str, ifindex: u32, host_scope: bool) -> Address {
        Address { net: net.parse().unwrap(), ifindex, host_scope, duplicate: false }
    }

    /// Results as captured in docs/arp.md.
    #[rstest]
    #[case(0, false, false)]
    #[case(1, true, true)]
    #[case(2, true, true)]
    #[case(3, false, true)]
    #[case(5, false, false)]
    #[case(8, true, true)]
    fn what_is_answered_for_a_vip_on_lo(#[case] level: i32, #[case] global: bool, #[case] host: bool) {
        assert_eq!(answers(level, VIP, ETH0, &[at("10.0.0.100/32", 1, false)]).0, global);
        assert_eq!(answers(level, VIP, ETH0, &[at("10.0.0.100/32", 1, true)]).0, host);
        assert_eq!(answers(level, VIP, ETH0, &[at("10.0.0.100/32", ETH0, false)]).0, level == 8);
        assert!(answers(level, VIP, ETH0, &[]).0);
    }

    #[rstest]
    #[case(0, false, false)]
    #[case(1, false, true)]
    #[case(2, true, true)]
    fn what_is_announced(#[case] level: i32, #[case] same_subnet: bool, #[case] elsewhere: bool) {
        let vip = at("10.0.0.100/32", 1, false);
        assert_eq!(announces(level, VIP, ETH0, &[vip, at("10.0.0.11/24", ETH0, false)]).0, same_subnet);
        assert_eq!(announces(level, VIP, ETH0, &[vip, at("10.9.0.11/24", ETH0, false)]).0, elsewhere);
        assert!(!announces(level, VIP, ETH0, &[vip]).0, "an interface without an address borrows the VIP");
    }

    #[test]
    fn levels_that_the_kernel_does_not_know_are_refused() {
        for text in ["-1", "4", "7", "9", "two", ""] {
            assert!(ignore_level(text).is_err() && announce_level(text).is_err(), "{text}");
        }
        assert!(announce_level("3").is_err() && ignore_level("8") == Ok(8));
    }
}
