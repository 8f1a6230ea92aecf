// SPDX-License-Identifier: MIT OR Apache-2.0
//! Check that the director has each VIP once, on an interface where its network can resolve it.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Check, Facts, Finding, Fix, Location};
use lb_model::finding::Severity;
use lb_netlink::Address;
use lb_netlink::sysctl::{Name, Sysctl};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !facts.gone().is_empty() {
        // The VIPs were on the missing interface, for which there is a finding.
        return findings;
    }
    let standby = facts.standby_vips();
    for vip in facts.vips() {
        let holders: Vec<_> = facts.addresses.iter().filter(|a| a.net.addr() == vip).collect();
        match holders.as_slice() {
            // Another check asks on the link whether another director has the VIP.
            [] if standby.contains(&vip) && facts.is_on_link(vip) => {}
            [] => findings.push(missing(facts, vip)),
            [only] if only.duplicate => findings.push(duplicate(facts, vip, only)),
            [only] => findings.extend(unresolvable(facts, vip, only)),
            // The VIP on an interface with the program stays, or else the first one.
            [first, ..] => {
                let stays = holders.iter().find(|a| facts.attached.contains_key(&a.ifindex)).unwrap_or(first);
                for other in holders.iter().filter(|other| *other != stays) {
                    let (name, kept) = (facts.name(other.ifindex), facts.name(stays.ifindex));
                    let cause = format!("the VIP {vip} is on {name} as well as on {kept}");
                    let fix = Fix::on_director(format!("ip address delete {} dev {name}", other.net));
                    findings.push(Finding::new(Check::VipTwice, Location::Vip(vip), cause, fix));
                }
            }
        }
    }
    findings
}

/// Returns the finding for a VIP that neither the director nor another machine has.
pub(super) fn missing(facts: &Facts, vip: IpAddr) -> Finding {
    let ours = facts.attached.values().next().map_or("lo", String::as_str);
    let (severity, cause) = if facts.is_standby && !facts.is_on_link(vip) {
        let cause = format!(
            "no interface of the director has the VIP {vip}, which xvs does not manage here: this is right on a standby director, and wrong if no other director has it"
        );
        (Severity::Warning, cause)
    } else {
        let cause =
            format!("no interface of the director has the VIP {vip}: no machine answers for it on the link");
        (Severity::Error, cause)
    };
    // The daemon may have added the VIP again in the meantime.
    let fix = Fix::on_director(format!("ip address replace {} dev {ours}", IpNet::from(vip)));
    Finding::new(Check::VipMissing, Location::Vip(vip), cause, fix).with_severity(severity)
}

/// Returns the finding for a VIP that the kernel does not use, because another machine had it when it was added.
fn duplicate(facts: &Facts, vip: IpAddr, holder: &Address) -> Finding {
    let (name, net) = (facts.name(holder.ifindex), holder.net);
    let cause = format!(
        "the VIP {vip} is on {name}, but the kernel does not use it (dadfailed): another machine answered for it when it was added. If that machine still answers, there is a finding ndp-leak too"
    );
    let fix = format!("ip address delete {net} dev {name} && ip address replace {net} dev {name} nodad");
    Finding::new(Check::VipMissing, Location::Vip(vip), cause, Fix::on_director(fix))
}

/// Returns a finding for a VIP in the network of one interface that is on another interface, so that no
/// machine answers for it in that network.
fn unresolvable(facts: &Facts, vip: IpAddr, holder: &Address) -> Option<Finding> {
    let is_near = |address: &&Address| {
        let net = address.net;
        net.addr() != vip
            && net.prefix_len() > 0
            && net.contains(&vip)
            && facts.attached.contains_key(&address.ifindex)
    };
    let near = facts.addresses.iter().find(is_near).filter(|near| near.ifindex != holder.ifindex)?;
    let name = facts.name(near.ifindex);
    let what = if vip.is_ipv6() {
        "neighbour discovery, which Linux answers only for addresses of the interface on which the question arrives".to_owned()
    } else {
        // With `arp_ignore` 0, an interface answers for every address of the host.
        let level =
            Sysctl::new(&name, Name::ArpIgnore).in_force().ok().filter(|level| [1, 2, 8].contains(level))?;
        format!("ARP, arp_ignore being {level}")
    };
    let (has, net) = (facts.name(holder.ifindex), IpNet::from(vip));
    let cause = format!(
        "the VIP {vip} is on {has}, and in the network of {name}, which does not answer for it: {what}"
    );
    let nodad = if vip.is_ipv6() { " nodad" } else { "" };
    let fix = format!("ip address add {net} dev {name}{nodad} && ip address delete {} dev {has}", holder.net);
    Some(Finding::new(Check::VipMissing, Location::Vip(vip), cause, Fix::on_director(fix)))
}
