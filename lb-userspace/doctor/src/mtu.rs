// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tunnels that carry small packets and lose large ones.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ipnet::IpNet;
use lb_common::reason::Reason;

use super::{
    Check, Facts, Finding, Fix, NextHop, Target, fix, frame,
    observations::Outcome,
    probe::Probe,
    reply::{self, Received, Reply},
    sender::Sender,
};
use lb_model::Forward;
use lb_model::failure::chain;

const PATIENCE: Duration = Duration::from_millis(250);
/// Packet sizes that are tried through tunnels, from the believed MTU downwards.
const SIZES: [u16; 8] = [1480, 1450, 1400, 1350, 1300, 1280, 1000, 576];

/// Returns the smallest packet size to which clients can be told to go: the minimum MTU of IPv6 (RFC 8200),
/// and for IPv4 the minimum of Linux (`net.ipv4.route.min_pmtu`).
const fn least(target: &Target) -> u16 {
    if target.vip.is_ipv6() { 1280 } else { 552 }
}

/// Returns the minimum MTU that the path to a real needs.
fn needed(target: &Target) -> u16 {
    least(target) + target.tunnel().map_or(0, |(rip, tunnel)| frame::overhead(rip, tunnel))
}

/// Returns whether packets of clients do not fit into a tunnel with the MTU that the director assumes.
pub(super) fn is_too_narrow(target: &Target, next_hop: &NextHop) -> bool {
    target.forward == Forward::Tun && next_hop.mtu < needed(target)
}

/// Returns findings for tunnels with too small an MTU on the director itself, by a route or a link.
pub(super) fn narrow(facts: &Facts) -> Vec<Finding> {
    let mut reported = BTreeSet::new();
    let narrow = facts.targets.iter().filter_map(|target| {
        let next_hop = target.next_hop.as_ref().ok().filter(|next_hop| is_too_narrow(target, next_hop))?;
        let (whose, fix) = widen(facts, target, next_hop);
        let cause = format!(
            "the path to {} takes packets of {} bytes, by {whose} MTU, but a tunnel for {} needs {}: clients do not go below {} bytes for the inner packet",
            target.rip,
            next_hop.mtu,
            target.vip,
            needed(target),
            least(target)
        );
        let finding = Finding::new(Check::TunnelMtu, target.location(), cause, Fix::on_director(fix));
        reported.insert(target.rip).then_some(finding)
    });
    narrow.collect()
}

/// Returns a finding for packets that the programs do not send, because they exceed the director's own MTU
/// towards the real.
pub(super) fn not_forwarded(facts: &Facts, probe: &Probe<'_>) -> Option<Finding> {
    let (target, next_hop) = (probe.target, &probe.next_hop);
    if probe.observations.not_forwarded != Some(Reason::TooBig.as_str()) {
        return None;
    }
    let (whose, fix) = widen(facts, target, next_hop);
    let cause = format!(
        "the programs do not forward clients' packets for {}: {}, because the path to {} takes packets of {} bytes only, by {whose} MTU",
        target.at(),
        Reason::TooBig.as_str(),
        target.rip,
        next_hop.mtu
    );
    Some(Finding::new(Check::NotForwarded, target.location(), cause, Fix::on_director(fix)))
}

/// Returns the cause of a small MTU towards a real, and the command that raises it as far as possible, and as
/// far as necessary.
fn widen(facts: &Facts, target: &Target, next_hop: &NextHop) -> (&'static str, String) {
    let (rip, name, needed) = (target.rip, facts.name(next_hop.ifindex), needed(target));
    let link = facts.interface(&name).map_or(0, |interface| interface.mtu);
    if link < u32::from(needed) {
        return ("the link's", format!("ip link set dev {name} mtu {needed}"));
    }
    let via = target.gateway.map_or(String::new(), |gateway| format!("via {gateway} "));
    let source = target.dip.map_or(String::new(), |dip| format!("src {dip} "));
    let fix =
        format!("{} route replace {} {via}dev {name} {source}mtu {link}", fix::ip(rip), IpNet::from(rip));
    ("the route's", fix)
}

pub(super) fn check(facts: &Facts, sender: &mut Sender<'_>, probes: &[Probe<'_>]) -> Vec<Finding> {
    let mut tried = BTreeMap::new();
    let answers = |probe: &&Probe<'_>| probe.observations.via_path == Outcome::Replied;
    for probe in probes.iter().filter(|probe| probe.target.forward == Forward::Tun).filter(answers) {
        tried.entry(probe.target.rip).or_insert(probe);
    }
    let overhead = |probe: &Probe<'_>| frame::overhead(probe.target.rip, probe.target.tunnel);
    let largest = |probe: &Probe<'_>| probe.next_hop.mtu - overhead(probe);
    for probe in tried.values() {
        let sizes = SIZES.map(|size| size - (overhead(probe) - 20));
        for size in
            std::iter::once(largest(probe)).chain(sizes).filter(|size| *size <= largest(probe)).chain([64])
        {
            let number = (probe.port, size);
            match sender.ping_through(probe.target, &probe.next_hop, probe.source, number, size) {
                Ok(sent) => sender.send(&sent),
                Err(error) => {
                    tracing::debug!(error = chain(&error), size, "doctor: the programs do not send a ping");
                }
            }
        }
    }
    let mut passed: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
    if !tried.is_empty() {
        sender.wire.listen(PATIENCE, |_, bytes| {
            if let Some(Received { probe, reply: Reply::Echo(size), .. }) = reply::parse(bytes) {
                passed.entry(probe).or_default().insert(size);
            }
            tried.values().all(|p| passed.get(&p.port).is_some_and(|sizes| sizes.contains(&largest(p))))
        });
    }
    let narrow = tried.values().filter_map(|probe| {
        let (target, believed) = (probe.target, probe.next_hop.mtu);
        // A real that answers no ping at all gives no information about sizes.
        let most = *passed.get(&probe.port)?.last()?;
        (most < largest(probe)).then(|| {
            let (rip, real) = (target.rip, most + overhead(probe));
            let via = target.gateway.map_or(String::new(), |gateway| format!("via {gateway} "));
            let cause = format!("packets of {believed} bytes do not reach {rip}, and packets of {real} bytes do: the MTU of the path is smaller than the director's route says, and large tunnelled packets are lost");
            let (device, dip) = (facts.name(probe.next_hop.ifindex), probe.topology.dip);
            let net = IpNet::from(rip);
            let fix = format!("{} route replace {net} {via}dev {device} src {dip} mtu {real}", fix::ip(rip));
            Finding::new(Check::TunnelMtu, target.location(), cause, Fix::on_director(fix))
        })
    });
    narrow.collect()
}
