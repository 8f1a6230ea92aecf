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
    Facts, Subject, Way,
    answer::{Heard, Said, answer},
    fix, frame,
    judge::Answer,
    path::Probe,
    sender::Sender,
};
use crate::{
    failure::chain,
    model::{
        Forward,
        finding::{Finding, Severity},
    },
};

const PATIENCE: Duration = Duration::from_millis(250);
/// Packet sizes that are tried through tunnels, from the believed MTU downwards.
const SIZES: [u16; 8] = [1480, 1450, 1400, 1350, 1300, 1280, 1000, 576];

/// Returns the smallest packet size to which clients can be told to go: the minimum MTU of IPv6 (RFC 8200),
/// and for IPv4 the minimum of Linux (`net.ipv4.route.min_pmtu`).
const fn least(subject: &Subject) -> u16 {
    if subject.vip.is_ipv6() { 1280 } else { 552 }
}

/// Returns the minimum MTU that the path to a real needs.
fn needed(subject: &Subject) -> u16 {
    least(subject) + subject.tunnel().map_or(0, |(rip, tunnel)| frame::overhead(rip, tunnel))
}

/// Returns whether packets of clients do not fit into a tunnel with the MTU that the director assumes.
pub(super) fn is_too_narrow(subject: &Subject, way: &Way) -> bool {
    subject.forward == Forward::Tun && way.mtu < needed(subject)
}

/// Returns findings for tunnels with too small an MTU on the director itself, by a route or a link.
pub(super) fn narrow(facts: &Facts) -> Vec<Finding> {
    let mut told = BTreeSet::new();
    let narrow = facts.subjects.iter().filter_map(|subject| {
        let way = subject.way.as_ref().ok().filter(|way| is_too_narrow(subject, way))?;
        let (whose, fix) = widen(facts, subject, way);
        let cause = format!(
            "the way to {} takes packets of {} bytes, by {whose} MTU, and a tunnel for {} needs {}: clients send no less than {} within",
            subject.rip,
            way.mtu,
            subject.vip,
            needed(subject),
            least(subject)
        );
        let finding = Finding::new("tunnel-mtu", Severity::Error, cause, fix).of(subject);
        told.insert(subject.rip).then_some(finding)
    });
    narrow.collect()
}

/// Returns a finding for packets that the programs do not send, because they exceed the director's own MTU
/// towards the real.
pub(super) fn kept(facts: &Facts, probe: &Probe<'_>) -> Option<Finding> {
    let (subject, way) = (probe.subject, &probe.way);
    if probe.seen.kept != Some(Reason::TooBig.as_str()) {
        return None;
    }
    let (whose, fix) = widen(facts, subject, way);
    let cause = format!(
        "the loaded programs do not send on what clients send to {}: {}, the way to {} takes packets of {} bytes alone, by {whose} MTU",
        subject.at(),
        Reason::TooBig.as_str(),
        subject.rip,
        way.mtu
    );
    Some(Finding::new("not-forwarded", Severity::Error, cause, fix).of(subject))
}

/// Returns the cause of a small MTU towards a real, and the command that raises it as far as possible, and as
/// far as necessary.
fn widen(facts: &Facts, subject: &Subject, way: &Way) -> (&'static str, String) {
    let (rip, name, needed) = (subject.rip, facts.name(way.ifindex), needed(subject));
    let link = facts.interface(&name).map_or(0, |interface| interface.mtu);
    if link < u32::from(needed) {
        return ("the link's", format!("ip link set dev {name} mtu {needed}"));
    }
    let via = subject.gateway.map_or(String::new(), |gateway| format!("via {gateway} "));
    let source = subject.dip.map_or(String::new(), |dip| format!("src {dip} "));
    let fix =
        format!("{} route replace {} {via}dev {name} {source}mtu {link}", fix::ip(rip), IpNet::from(rip));
    ("the route's", fix)
}

pub(super) fn check(facts: &Facts, sender: &mut Sender<'_>, probes: &[Probe<'_>]) -> Vec<Finding> {
    let mut tried = BTreeMap::new();
    for probe in probes.iter().filter(|p| p.subject.forward == Forward::Tun && p.seen.through == Answer::Yes)
    {
        tried.entry(probe.subject.rip).or_insert(probe);
    }
    let overhead = |probe: &Probe<'_>| frame::overhead(probe.subject.rip, probe.subject.tunnel);
    let largest = |probe: &Probe<'_>| probe.way.mtu - overhead(probe);
    for probe in tried.values() {
        let sizes = SIZES.map(|size| size - (overhead(probe) - 20));
        for size in
            std::iter::once(largest(probe)).chain(sizes).filter(|size| *size <= largest(probe)).chain([64])
        {
            let number = (probe.port, size);
            match sender.ping_through(probe.subject, &probe.way, probe.source, number, size) {
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
            if let Some(Heard { probe, said: Said::Echo(size), .. }) = answer(bytes) {
                passed.entry(probe).or_default().insert(size);
            }
            tried.values().all(|p| passed.get(&p.port).is_some_and(|sizes| sizes.contains(&largest(p))))
        });
    }
    let narrow = tried.values().filter_map(|probe| {
        let (subject, believed) = (probe.subject, probe.way.mtu);
        // A real that answers no ping at all gives no information about sizes.
        let most = *passed.get(&probe.port)?.last()?;
        (most < largest(probe)).then(|| {
            let (rip, real) = (subject.rip, most + overhead(probe));
            let via = subject.gateway.map_or(String::new(), |gateway| format!("via {gateway} "));
            Finding::new(
                "tunnel-mtu",
                Severity::Error,
                format!("packets of {believed} bytes do not reach {rip}, those of {real} do: the link is narrower than the director believes, and large tunnelled packets are lost"),
                format!("{} route replace {} {via}dev {} src {} mtu {real}", fix::ip(rip), IpNet::from(rip), facts.name(probe.way.ifindex), probe.place.dip),
            )
            .of(subject)
        })
    });
    narrow.collect()
}
