// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of the interfaces: native XDP, no other program towards the reals, no offload that changes the
//! packets that XDP sees.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use tokio::process::Command;

use super::{Check, Facts, Finding, Fix, Location};
use lb_model::finding::Severity;
use lb_netlink::{Interface, XdpPlace};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let used: BTreeSet<u32> =
        facts.targets.iter().filter_map(|target| Some(target.next_hop.as_ref().ok()?.ifindex)).collect();
    let mut findings: Vec<Finding> = facts.gone().into_iter().map(gone).collect();
    for interface in &facts.interfaces {
        let name = &interface.name;
        let ours = facts.attached.contains_key(&interface.index);
        if ours && !interface.up {
            findings.push(finding(
                Check::InterfaceDown,
                name,
                format!("the interface {name} of the director is down: no packet arrives there"),
                format!("ip link set dev {name} up"),
            ));
        }
        findings.extend(program(facts, interface, ours, used.contains(&interface.index)));
    }
    let counted = facts.lost_sends.iter().filter(|(index, _)| !facts.deaf_veths.contains(index));
    findings.extend(counted.map(|(index, number)| lost_sends(&facts.name(*index), *number)));
    findings
}

/// Returns a finding about an interface, which is fixed on the director.
fn finding(check: Check, name: &str, cause: String, command: String) -> Finding {
    Finding::new(check, Location::Interface(name.to_owned()), cause, Fix::on_director(command))
}

/// Returns the finding for an interface that no longer exists.
fn gone(name: &str) -> Finding {
    let cause = format!(
        "the interface {name} of the director no longer exists, nor do its addresses and routes: nothing is forwarded there. As soon as an interface of that name exists, the daemon attaches to it and adds its VIPs; add other addresses and routes yourself"
    );
    finding(Check::InterfaceGone, name, cause, "ip -brief link".to_owned())
}

/// Returns the finding about the XDP program of an interface. `ours`: it is an interface of `xvs run`; `used`: reals
/// are reached by it.
fn program(facts: &Facts, interface: &Interface, ours: bool, used: bool) -> Option<Finding> {
    let name = &interface.name;
    let is_foreign = interface.xdp_program.is_some() && interface.xdp_program != facts.program;
    let is_deaf = facts.deaf_veths.contains(&interface.index);
    match interface.xdp {
        None if ours => Some(finding(
            Check::XdpDetached,
            name,
            format!("the program is no longer attached to {name}: no packet is forwarded there"),
            format!("xvs attach {name}"),
        )),
        Some(place) if ours && is_foreign => Some(finding(
            Check::XdpOther,
            name,
            format!(
                "another XDP program runs on {name} in the place of the director's: no packet is forwarded there"
            ),
            format!("{} && xvs attach {name}", detach(interface, place)),
        )),
        Some(XdpPlace::Native) if ours && is_deaf => Some(lost_to_veth(name)),
        Some(XdpPlace::Generic) if ours && !facts.generic_wanted && !is_deaf => Some(finding(
            Check::XdpGeneric,
            name,
            format!(
                "the driver of {name} refused native XDP when the program was attached (MTU {}): the program runs in the stack, which is slower; the fix tries native mode again, with an MTU of at most {ORDINARY_MTU}, and requests generic mode if the driver refuses again",
                interface.mtu
            ),
            reattach(interface),
        )),
        Some(place) if !ours && used => {
            let cause = format!(
                "another XDP program runs on {name}, an interface to reals: it may take their replies"
            );
            let other = finding(Check::XdpOther, name, cause, detach(interface, place));
            Some(other.with_severity(Severity::Warning))
        }
        _ => None,
    }
}

/// Returns the finding for a driver that counts packets that it did not send.
fn lost_sends(name: &str, number: u64) -> Finding {
    let cause = format!(
        "the driver of {name} dropped {number} packets that the program sent (ethtool -S counts them): its queues are full, or it has none for XDP; generic mode is slower, but sends them"
    );
    finding(Check::XdpTxLost, name, cause, format!("xvs attach {name} --xdp-mode generic"))
}

/// Returns the finding for a veth that drops the frames that the program sends, because its peer has no XDP program.
fn lost_to_veth(name: &str) -> Finding {
    let cause = format!(
        "{name} is a veth whose other end has no XDP program: the driver drops what the program sends back, and no client gets an answer; generic mode sends it, and so does native mode with an XDP program on the other end that passes everything"
    );
    finding(Check::XdpTxLost, name, cause, format!("xvs attach {name} --xdp-mode generic"))
}

/// MTU that every driver with native XDP supports.
const ORDINARY_MTU: u32 = 1500;

/// Returns the command that detaches another program: a BPF link, whose id only root with all capabilities
/// can find out, or otherwise an attachment made by netlink.
fn detach(interface: &Interface, place: XdpPlace) -> String {
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
        findings.extend(switched_on(name, &String::from_utf8_lossy(&output.stdout), vlans, generic));
    }
    findings
}

/// Returns findings for harmful offloads on a page of `ethtool -k`.
fn switched_on(name: &str, page: &str, vlans: bool, generic: bool) -> Vec<Finding> {
    let on = |feature: &str| page.lines().any(|line| line.trim().starts_with(&format!("{feature}: on")));
    let mut findings = Vec::new();
    for (feature, short, matters, harm) in [
        ("large-receive-offload", "lro", true, "merged packets exceed the MTU of every path"),
        ("rx-gro-hw", "rx-gro-hw", true, "merged packets exceed the MTU of every path"),
        (
            "generic-receive-offload",
            "gro",
            generic,
            "XDP runs in the stack there, after packets were merged, and merged packets exceed the MTU of every path",
        ),
        (
            "rx-vlan-offload",
            "rxvlan",
            vlans,
            "frames lose their VLAN tag before XDP receives them, and would be forwarded without it",
        ),
    ] {
        if matters && on(feature) {
            // Software GRO belongs to the stack and does not affect the card.
            let then = if short == "gro" {
                ""
            } else {
                "; some cards restart their link for some seconds when this is turned off"
            };
            findings.push(finding(
                Check::Offload,
                name,
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
    fn offloads_are_reported_only_where_they_matter() {
        let page = "Features for eth0:\nrx-checksumming: on\ngeneric-receive-offload: on\nlarge-receive-offload: on\n\
                    rx-vlan-offload: on [fixed]\nrx-gro-hw: off";
        let fixes = |vlans, generic| {
            let found = switched_on("eth0", page, vlans, generic);
            found.into_iter().map(|one| one.fix.command).collect::<Vec<_>>()
        };
        assert_eq!(fixes(false, false), ["ethtool -K eth0 lro off"]);
        assert_eq!(fixes(true, false), ["ethtool -K eth0 lro off", "ethtool -K eth0 rxvlan off"]);
        assert_eq!(fixes(false, true), ["ethtool -K eth0 lro off", "ethtool -K eth0 gro off"]);
    }
}
