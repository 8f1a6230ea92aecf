// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of the interfaces: native XDP, no other program towards the reals, no offload that changes the
//! packets that XDP sees.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use tokio::process::Command;

use super::Facts;
use crate::{
    model::finding::{Finding, Severity},
    netlink::{Interface, XdpPlace},
};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let used: BTreeSet<u32> =
        facts.subjects.iter().filter_map(|subject| Some(subject.way.as_ref().ok()?.ifindex)).collect();
    findings.extend(facts.gone().into_iter().map(|name| {
        Finding::new(
            "interface-gone",
            Severity::Error,
            format!("the interface {name} of the director is gone: nothing is forwarded there, and its addresses and routes went with it; as soon as it is there again under that name the daemon attaches to it and adds its VIPs (addresses and routes of your own are yours to add)"),
            "ip -brief link",
        )
    }));
    for interface in &facts.interfaces {
        let name = &interface.name;
        let ours = facts.attached.contains_key(&interface.index);
        if ours && !interface.up {
            findings.push(Finding::new(
                "interface-down",
                Severity::Error,
                format!("the interface {name} of the director is down: no packet comes in there"),
                format!("ip link set dev {name} up"),
            ));
        }
        let foreign = interface.xdp_program.is_some() && interface.xdp_program != facts.program;
        match interface.xdp {
            None if ours => findings.push(Finding::new(
                "xdp-detached",
                Severity::Error,
                format!("the program is not attached to {name} any more: no packet is forwarded there"),
                format!("xvs attach {name}"),
            )),
            Some(place) if ours && foreign => findings.push(Finding::new(
                "xdp-other",
                Severity::Error,
                format!("another XDP program runs on {name} in the place of the director's: no packet is forwarded there"),
                format!("{} && xvs attach {name}", take_off(interface, place)),
            )),
            Some(XdpPlace::Native) if ours && facts.deaf_veths.contains(&interface.index) => {
                findings.push(lost_to_veth(name));
            }
            Some(XdpPlace::Generic)
                if ours && !facts.generic_wanted && !facts.deaf_veths.contains(&interface.index) => findings.push(Finding::new(
                "xdp-generic",
                Severity::Warning,
                format!("the driver of {name} took no native XDP when the program was attached (MTU {}): packets are forwarded in the stack, slower; the fix tries it again, with an MTU of at most {ORDINARY_MTU}, and stays with generic mode for good if the driver has nothing else", interface.mtu),
                reattach(interface),
            )),
            Some(place) if !ours && used.contains(&interface.index) => findings.push(Finding::new(
                "xdp-other",
                Severity::Warning,
                format!("another XDP program runs on {name}, which reals are reached by: it may take their replies"),
                take_off(interface, place),
            )),
            _ => {}
        }
    }
    findings.extend(facts.lost_sends.iter().filter(|(index, _)| !facts.deaf_veths.contains(index)).map(
        |(index, number)| {
            let name = facts.name(*index);
            Finding::new(
                "xdp-tx-lost",
                Severity::Error,
                format!("the driver of {name} did not send {number} packets that the program sent (ethtool -S counts them): its queues are full or it has none for XDP; generic mode sends them, slower"),
                format!("xvs attach {name} --xdp-mode generic"),
            )
        },
    ));
    findings
}

/// Returns the finding for a veth that drops the frames that the program sends, because its peer has no XDP program.
fn lost_to_veth(name: &str) -> Finding {
    Finding::new(
        "xdp-tx-lost",
        Severity::Error,
        format!(
            "{name} is a veth whose other end has no XDP program: the driver drops what the program sends back, and no client gets an answer; generic mode sends it, and so does native mode with an XDP program on the other end that passes everything"
        ),
        format!("xvs attach {name} --xdp-mode generic"),
    )
}

/// MTU that every driver with native XDP supports.
const ORDINARY_MTU: u32 = 1500;

/// Returns the command that detaches another program: a BPF link, whose id only root with all capabilities
/// can find out, or otherwise an attachment made by netlink.
fn take_off(interface: &Interface, place: XdpPlace) -> String {
    let mode = if place == XdpPlace::Generic { "xdpgeneric" } else { "xdp" };
    let name = &interface.name;
    format!("xvs detach --other {name} || ip link set dev {name} {mode} off")
}

/// Returns the command that tries native mode again, and otherwise makes generic mode the intended one.
fn reattach(interface: &Interface) -> String {
    let name = &interface.name;
    let narrow = if interface.mtu > ORDINARY_MTU {
        format!("ip link set dev {name} mtu {ORDINARY_MTU}; ")
    } else {
        String::new()
    };
    format!("{narrow}xvs attach {name} --xdp-mode native || xvs attach {name} --xdp-mode generic")
}

/// Checks offloads according to `ethtool -k`. Without ethtool there is nothing to check.
pub(super) async fn offloads(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, name) in &facts.attached {
        let Ok(output) = Command::new("ethtool").args(["-k", name]).output().await else { break };
        let vlans = facts
            .interfaces
            .iter()
            .any(|one| one.parent == Some(*index) && one.kind.as_deref() == Some("vlan"));
        let generic =
            facts.interfaces.iter().any(|one| one.index == *index && one.xdp == Some(XdpPlace::Generic));
        findings.extend(judge(name, &String::from_utf8_lossy(&output.stdout), vlans, generic));
    }
    findings
}

fn judge(name: &str, page: &str, vlans: bool, generic: bool) -> Vec<Finding> {
    let on = |feature: &str| page.lines().any(|line| line.trim().starts_with(&format!("{feature}: on")));
    let mut findings = Vec::new();
    for (feature, short, matters, harm) in [
        ("large-receive-offload", "lro", true, "merged packets fit no tunnel and no link"),
        ("rx-gro-hw", "rx-gro-hw", true, "merged packets fit no tunnel and no link"),
        (
            "generic-receive-offload",
            "gro",
            generic,
            "XDP runs in the stack there, after packets are merged, and merged packets fit no tunnel and no link",
        ),
        (
            "rx-vlan-offload",
            "rxvlan",
            vlans,
            "frames lose their VLAN tag before XDP sees them, and would be sent on without",
        ),
    ] {
        if matters && on(feature) {
            // Software GRO belongs to the stack and does not affect the card.
            let then = if short == "gro" {
                ""
            } else {
                "; some cards restart the link, for seconds, when it is turned off"
            };
            findings.push(Finding::new(
                "offload",
                Severity::Warning,
                format!("{feature} is on at {name}: {harm}{then}"),
                format!("ethtool -K {name} {short} off"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_are_told_only_where_they_matter() {
        let page = "Features for eth0:\nrx-checksumming: on\ngeneric-receive-offload: on\nlarge-receive-offload: on\n\
                    rx-vlan-offload: on [fixed]\nrx-gro-hw: off";
        let fixes = |vlans, generic| {
            let found = judge("eth0", page, vlans, generic);
            found.into_iter().map(|one| one.fix).collect::<Vec<_>>()
        };
        assert_eq!(fixes(false, false), ["ethtool -K eth0 lro off"]);
        assert_eq!(fixes(true, false), ["ethtool -K eth0 lro off", "ethtool -K eth0 rxvlan off"]);
        assert_eq!(fixes(false, true), ["ethtool -K eth0 lro off", "ethtool -K eth0 gro off"]);
    }
}
