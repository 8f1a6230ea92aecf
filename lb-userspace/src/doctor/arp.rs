// SPDX-License-Identifier: MIT OR Apache-2.0
//! Check that only the director answers ARP or neighbour discovery for a VIP.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::{
    Facts, Subject,
    answer::{Heard, Said, answer},
    frame, neighbour,
    wire::Wire,
};
use crate::{
    model::finding::{Finding, Severity},
    netlink::Mac,
};

/// Time to wait for answers: Linux answers while it receives.
const PATIENCE: Duration = Duration::from_millis(200);
/// Time to wait for answers to neighbour discovery: Linux delays those for addresses that it proxies (`proxy_delay`).
const PATIENCE6: Duration = Duration::from_millis(900);
/// First identifier of the pings that identify such a machine.
const FIRST_PING: u16 = 40_000;

pub(super) fn check(facts: &Facts, wire: &Wire) -> Vec<Finding> {
    let vips = facts.vips();
    if vips.is_empty() {
        return Vec::new();
    }
    neighbour::ask(facts, wire, &vips);
    let ours: BTreeSet<Mac> = facts.interfaces.iter().filter_map(|interface| interface.mac).collect();
    let mut thieves = BTreeSet::new();
    let patience = if vips.iter().any(IpAddr::is_ipv6) { PATIENCE6 } else { PATIENCE };
    wire.listen(patience, |ifindex, bytes| {
        if let Some((mac, ip)) = neighbour::answer(bytes)
            && vips.contains(&ip)
            && !ours.contains(&mac)
        {
            thieves.insert((ip, mac, ifindex));
        }
        false
    });
    let standby = facts.standby_vips();
    let mut findings: Vec<Finding> = standby
        .iter()
        .filter(|vip| facts.is_on_link(**vip) && !thieves.iter().any(|(ip, ..)| ip == *vip))
        .map(|vip| super::vip::missing(facts, *vip))
        .collect();
    // The director that has the VIP now checks for other machines.
    thieves.retain(|(vip, ..)| !standby.contains(vip));
    let owners = owners(facts, wire, &thieves);
    let mut told = BTreeSet::new();
    for (vip, mac, _) in thieves {
        if told.insert((vip, mac)) {
            findings.push(judge(&facts.subjects, owners.get(&mac), vip, mac));
        }
    }
    findings
}

/// RIPs of the machine with an Ethernet address.
type Owners = BTreeMap<Mac, BTreeSet<IpAddr>>;

/// Finds the RIPs of each machine that answers for a VIP, even if the answer came from another interface than
/// the one with the RIP: the doctor pings the MAC address of an unknown machine with every RIP as
/// destination, and a real accepts its RIP on any interface. A machine may have several RIPs. A router with
/// that MAC address may forward the ping, whose time to live is 64, to the real, which then answers instead.
fn owners(facts: &Facts, wire: &Wire, thieves: &BTreeSet<(IpAddr, Mac, u32)>) -> Owners {
    let mut owners = Owners::new();
    for subject in facts.subjects.iter().filter(|subject| subject.gateway.is_none()) {
        if let Ok(way) = &subject.way {
            owners.entry(way.to).or_default().insert(subject.rip);
        }
    }
    let strangers: BTreeMap<Mac, u32> = thieves
        .iter()
        .map(|(_, mac, ifindex)| (*mac, *ifindex))
        .filter(|(mac, _)| !owners.contains_key(mac))
        .collect();
    if strangers.is_empty() {
        return owners;
    }
    let rips: BTreeMap<IpAddr, IpAddr> =
        facts.subjects.iter().filter_map(|subject| Some((subject.rip, subject.dip?))).collect();
    let mut asked = BTreeMap::new();
    let pairs = strangers.iter().flat_map(|stranger| rips.iter().map(move |rip| (stranger, rip)));
    for (number, ((mac, ifindex), (rip, dip))) in (FIRST_PING..).zip(pairs) {
        let from = facts.interfaces.iter().find(|one| one.index == *ifindex).and_then(|one| one.mac);
        let ping = frame::echo(*dip, *rip, number, 0, 1);
        wire.send(*ifindex, &frame::ethernet(*mac, from.unwrap_or_default(), &ping));
        asked.insert(number, (*mac, *rip));
    }
    wire.listen(PATIENCE, |_, bytes| {
        if let Some(Heard { from, probe, said: Said::Echo(_), .. }) = answer(bytes)
            && let Some((mac, rip)) = asked.get(&probe)
            && *rip == from
        {
            owners.entry(*mac).or_default().insert(*rip);
        }
        false
    });
    owners
}

fn judge(subjects: &[Subject], owner: Option<&BTreeSet<IpAddr>>, vip: IpAddr, mac: Mac) -> Finding {
    let shown = frame::mac(mac);
    let (check, what) = if vip.is_ipv4() { ("arp-leak", "ARP") } else { ("ndp-leak", "neighbour discovery") };
    // The interface does not matter: if the VIP is on lo as well, setup adds it there again.
    let take_off = format!("ip address flush to {vip}");
    // If the machine has several roles, the one with this VIP determines the fix.
    let mut known: Vec<&Subject> =
        subjects.iter().filter(|subject| owner.is_some_and(|rips| rips.contains(&subject.rip))).collect();
    known.sort_by_key(|subject| (subject.vip != vip, !subject.holds_vip()));
    let Some(subject) = known.first() else {
        let cause = format!(
            "{shown} answers {what} for the VIP {vip}, and is neither the director nor a real: clients go there"
        );
        let mut finding = Finding::new(check, Severity::Error, cause, take_off);
        finding.place = shown;
        return finding;
    };
    let rip = subject.rip;
    // The machine may also answer as a proxy.
    let take_off = format!("{take_off} && {}", subject.forget_proxy(vip));
    let cause =
        format!("the real {rip} ({shown}) answers {what} for the VIP {vip}: clients go past the director");
    let fix = if subject.holds_vip() && subject.vip == vip {
        format!("{take_off} && {}", subject.setup())
    } else {
        take_off
    };
    Finding::new(check, Severity::Error, cause, fix).of(*subject).on(rip)
}
