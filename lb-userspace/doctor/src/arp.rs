// SPDX-License-Identifier: MIT OR Apache-2.0
//! Check that only the director answers ARP or neighbour discovery for a VIP.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::{
    Check, Facts, Finding, Fix, Location, Target, frame, neighbour,
    reply::{self, Received, Reply},
    wire::Wire,
};
use lb_netlink::Mac;

/// Time to wait for answers: Linux answers while it receives.
const PATIENCE: Duration = Duration::from_millis(200);
/// Time to wait for answers to neighbour discovery: Linux delays those for addresses that it proxies (`proxy_delay`).
const PATIENCE6: Duration = Duration::from_millis(900);
/// First identifier of the pings that identify another machine.
const FIRST_PING: u16 = 40_000;
/// Time to live of these pings: the machine itself answers, or no machine does. With a larger one, a router would
/// forward the ping to the real, and the router would be taken for that real.
const ONE_LINK: u8 = 1;

/// A machine that answers for a VIP: VIP, Ethernet address, and the interface on which the answer arrived.
type Answer = (IpAddr, Mac, u32);

pub(super) fn check(facts: &Facts, wire: &Wire) -> Vec<Finding> {
    let vips = facts.vips();
    if vips.is_empty() {
        return Vec::new();
    }
    neighbour::ask(facts, wire, &vips);
    let own: BTreeSet<Mac> = facts.interfaces.iter().filter_map(|interface| interface.mac).collect();
    let mut answers: BTreeSet<Answer> = BTreeSet::new();
    let patience = if vips.iter().any(IpAddr::is_ipv6) { PATIENCE6 } else { PATIENCE };
    wire.listen(patience, |ifindex, bytes| {
        if let Some((mac, ip)) = neighbour::answer(bytes)
            && vips.contains(&ip)
            && !own.contains(&mac)
        {
            answers.insert((ip, mac, ifindex));
        }
        false
    });
    let standby = facts.standby_vips();
    let mut findings: Vec<Finding> = standby
        .iter()
        .filter(|vip| facts.is_on_link(**vip) && !answers.iter().any(|(ip, ..)| ip == *vip))
        .map(|vip| super::vip::missing(facts, *vip))
        .collect();
    // The director that has the VIP now checks for other machines.
    answers.retain(|(vip, ..)| !standby.contains(vip));
    let owners = owners(facts, wire, &answers);
    let mut reported = BTreeSet::new();
    for (vip, mac, _) in answers {
        if reported.insert((vip, mac)) {
            findings.push(leak(&facts.targets, owners.get(&mac), vip, mac));
        }
    }
    findings
}

/// RIPs of the machine with an Ethernet address.
type Owners = BTreeMap<Mac, BTreeSet<IpAddr>>;

/// Finds the RIPs of each machine that answers for a VIP, even if the answer came from another interface than
/// the one with the RIP: the doctor pings the MAC address of an unknown machine with every RIP as
/// destination, and a real accepts its RIP on any interface. A machine may have several RIPs.
fn owners(facts: &Facts, wire: &Wire, answers: &BTreeSet<Answer>) -> Owners {
    let mut owners = Owners::new();
    for target in facts.targets.iter().filter(|target| target.gateway.is_none()) {
        if let Ok(next_hop) = &target.next_hop {
            owners.entry(next_hop.to).or_default().insert(target.rip);
        }
    }
    let unknown: BTreeMap<Mac, u32> = answers
        .iter()
        .map(|(_, mac, ifindex)| (*mac, *ifindex))
        .filter(|(mac, _)| !owners.contains_key(mac))
        .collect();
    if unknown.is_empty() {
        return owners;
    }
    let rips: BTreeMap<IpAddr, IpAddr> =
        facts.targets.iter().filter_map(|target| Some((target.rip, target.dip?))).collect();
    let mut pinged = BTreeMap::new();
    let pairs = unknown.iter().flat_map(|machine| rips.iter().map(move |rip| (machine, rip)));
    for (id, ((mac, ifindex), (rip, dip))) in (FIRST_PING..).zip(pairs) {
        let from = facts.interfaces.iter().find(|one| one.index == *ifindex).and_then(|one| one.mac);
        let ping = frame::echo(ONE_LINK, *dip, *rip, id, 0, 1);
        wire.send(*ifindex, &frame::ethernet(*mac, from.unwrap_or_default(), &ping));
        pinged.insert(id, (*mac, *rip));
    }
    wire.listen(PATIENCE, |_, bytes| {
        if let Some(Received { from, probe, reply: Reply::Echo(_), .. }) = reply::parse(bytes)
            && let Some((mac, rip)) = pinged.get(&probe)
            && *rip == from
        {
            owners.entry(*mac).or_default().insert(*rip);
        }
        false
    });
    owners
}

/// Returns the finding for a machine that answers for a VIP; `rips` are its RIPs, if it is a real.
fn leak(targets: &[Target], rips: Option<&BTreeSet<IpAddr>>, vip: IpAddr, mac: Mac) -> Finding {
    let shown = frame::mac(mac);
    let (check, what) =
        if vip.is_ipv4() { (Check::ArpLeak, "ARP") } else { (Check::NdpLeak, "neighbour discovery") };
    // The interface does not matter: if the VIP is on lo as well, setup adds it there again.
    let remove = format!("ip address flush to {vip}");
    // If the machine has several roles, the one with this VIP determines the fix.
    let mut roles: Vec<&Target> =
        targets.iter().filter(|target| rips.is_some_and(|rips| rips.contains(&target.rip))).collect();
    roles.sort_by_key(|target| (target.vip != vip, !target.holds_vip()));
    let Some(target) = roles.first() else {
        let cause = format!(
            "{shown} answers {what} for the VIP {vip} and is neither the director nor a real: clients send their packets to it"
        );
        return Finding::new(check, Location::Host(mac), cause, Fix::on_unknown(mac, remove));
    };
    let rip = target.rip;
    // The machine may also answer as a proxy.
    let remove = format!("{remove} && {}", target.forget_proxy(vip));
    let cause =
        format!("the real {rip} ({shown}) answers {what} for the VIP {vip}: clients bypass the director");
    let fix = if target.holds_vip() && target.vip == vip {
        format!("{remove} && {}", target.setup())
    } else {
        remove
    };
    Finding::new(check, target.location(), cause, Fix::on_real(rip, fix))
}
