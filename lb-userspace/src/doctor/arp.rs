// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nobody but the director answers ARP for a VIP.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use super::{Facts, Finding, Severity, Subject, frame, wire::Wire};
use crate::netlink::Mac;

/// Linux answers while it receives.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let vips = facts.vips();
    let wire = match Wire::open() {
        Ok(wire) if !vips.is_empty() => wire,
        _ => return Vec::new(),
    };
    for interface in facts.interfaces.iter().filter(|one| one.running && !one.noarp) {
        let Some(mac) = interface.mac else { continue };
        let own = facts.addresses.iter().filter(|address| address.ifindex == interface.index);
        let own =
            own.filter_map(|address| if let IpAddr::V4(v4) = address.net.addr() { Some(v4) } else { None });
        // Never as a VIP: who hears a question learns who asked.
        for ip in own.filter(|ip| !vips.contains(ip)) {
            for vip in &vips {
                wire.send(interface.index, &frame::arp(mac, ip, *vip));
            }
        }
    }
    let ours: BTreeSet<Mac> = facts.interfaces.iter().filter_map(|interface| interface.mac).collect();
    let mut thieves = BTreeSet::new();
    wire.listen(PATIENCE, |bytes| {
        if let Some((mac, ip)) = frame::arp_reply(bytes)
            && vips.contains(&ip)
            && !ours.contains(&mac)
        {
            thieves.insert((ip, mac));
        }
        false
    });
    thieves.into_iter().map(|(vip, mac)| judge(&facts.subjects, vip, mac)).collect()
}

fn judge(subjects: &[Subject], vip: Ipv4Addr, mac: Mac) -> Finding {
    let shown = mac.map(|byte| format!("{byte:02x}")).join(":");
    let is_its =
        |subject: &&Subject| subject.gateway.is_none() && subject.way.as_ref().is_ok_and(|way| way.to == mac);
    // Of a machine with several roles, the one in which it holds this VIP tells what it needs.
    let mut known: Vec<&Subject> = subjects.iter().filter(is_its).collect();
    known.sort_by_key(|subject| (subject.vip != vip, !subject.holds_vip()));
    let Some(subject) = known.first() else {
        return Finding::new(
            "arp-leak",
            Severity::Error,
            format!(
                "{shown} answers ARP for the VIP {vip}, and is neither the director nor a real: clients go there"
            ),
            format!("find the machine (`ip neighbour | grep {shown}`) and take {vip} off it"),
        );
    };
    let rip = subject.rip;
    let cause =
        format!("the real {rip} ({shown}) answers ARP for the VIP {vip}: clients go past the director");
    if subject.holds_vip() && subject.vip == vip {
        return Finding::new("arp-leak", Severity::Error, cause, subject.setup()).of(subject).on(rip);
    }
    let fix = format!(
        "take the VIP off: `ip address delete {vip}/32 dev lo`, or where `ip address show to {vip}` has it"
    );
    Finding::new("arp-leak", Severity::Error, cause, fix).of(subject).on(rip)
}
