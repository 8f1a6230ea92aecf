// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each VIP is an address of the director, once.
#![forbid(unsafe_code)]

use ipnet::IpNet;

use super::{Facts, Finding, Severity};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(ours) = facts.attached.values().next() else { return findings };
    for vip in facts.vips() {
        let holders: Vec<_> = facts.addresses.iter().filter(|a| a.net.addr() == vip).collect();
        match holders.as_slice() {
            [] => findings.push(Finding::new(
                "vip-missing",
                Severity::Error,
                format!("no interface of the director has the VIP {vip}: nobody answers for it on the link"),
                format!("ip address add {} dev {ours}", IpNet::from(vip)),
            )),
            [_] => {}
            // The one on an interface with the program stays, or else the first.
            [first, ..] => {
                let stays = holders.iter().find(|a| facts.attached.contains_key(&a.ifindex)).unwrap_or(first);
                for other in holders.iter().filter(|other| *other != stays) {
                    let (name, kept) = (facts.name(other.ifindex), facts.name(stays.ifindex));
                    findings.push(Finding::new(
                        "vip-twice",
                        Severity::Warning,
                        format!("the VIP {vip} is on {name} as well as on {kept}"),
                        format!("ip address delete {} dev {name}", other.net),
                    ));
                }
            }
        }
    }
    findings
}
