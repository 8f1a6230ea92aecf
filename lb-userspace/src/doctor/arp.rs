// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nobody but the director answers ARP or neighbour discovery for a VIP.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use super::{Facts, Finding, Severity, Subject, neighbour, wire::Wire};
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
        // Never as a VIP: who hears a question learns who asked.
        for ip in own.map(|address| address.net.addr()).filter(|ip| !vips.contains(ip)) {
            for vip in &vips {
                if let Some(question) = neighbour::question(mac, ip, *vip) {
                    wire.send(interface.index, &question);
                }
            }
        }
    }
    let ours: BTreeSet<Mac> = facts.interfaces.iter().filter_map(|interface| interface.mac).collect();
    let mut thieves = BTreeSet::new();
    wire.listen(PATIENCE, |bytes| {
        if let Some((mac, ip)) = neighbour::answer(bytes)
            && vips.contains(&ip)
            && !ours.contains(&mac)
        {
            thieves.insert((ip, mac));
        }
        false
    });
    thieves.into_iter().map(|(vip, mac)| judge(&facts.subjects, vip, mac)).collect()
}

fn judge(subjects: &[Subject], vip: IpAddr, mac: Mac) -> Finding {
    let shown = mac.map(|byte| format!("{byte:02x}")).join(":");
    let (check, what) = if vip.is_ipv4() { ("arp-leak", "ARP") } else { ("ndp-leak", "neighbour discovery") };
    let is_its =
        |subject: &&Subject| subject.gateway.is_none() && subject.way.as_ref().is_ok_and(|way| way.to == mac);
    // Of a machine with several roles, the one in which it holds this VIP tells what it needs.
    let mut known: Vec<&Subject> = subjects.iter().filter(is_its).collect();
    known.sort_by_key(|subject| (subject.vip != vip, !subject.holds_vip()));
    let Some(subject) = known.first() else {
        return Finding::new(
            check,
            Severity::Error,
            format!(
                "{shown} answers {what} for the VIP {vip}, and is neither the director nor a real: clients go there"
            ),
            format!("find the machine (`ip neighbour | grep {shown}`) and take {vip} off it"),
        );
    };
    let rip = subject.rip;
    let cause =
        format!("the real {rip} ({shown}) answers {what} for the VIP {vip}: clients go past the director");
    let take_off = format!("ip address flush to {vip}");
    let fix = match subject.holds_vip() && subject.vip == vip {
        false => take_off,
        true if vip.is_ipv4() => subject.setup(),
        // IPv6 has no settings for this: the VIP is on an interface of the link, and must be on lo alone.
        true => format!("{take_off} && {}", subject.setup()),
    };
    Finding::new(check, Severity::Error, cause, fix).of(subject).on(rip)
}
