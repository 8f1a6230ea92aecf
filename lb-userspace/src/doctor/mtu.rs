// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tunnels that carry small packets and lose large ones.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ipnet::IpNet;

use super::{
    Facts, Finding, Severity,
    answer::{Heard, Said, answer},
    frame,
    judge::Answer,
    path::Probe,
    sender::Sender,
};
use crate::control::model::Forward;

const PATIENCE: Duration = Duration::from_millis(250);
/// Sizes that tunnels are tried with, from what the link is believed to take downwards.
const SIZES: [u16; 8] = [1480, 1450, 1400, 1350, 1300, 1280, 1000, 576];

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
                Err(error) => tracing::debug!(%error, size, "doctor: the programs do not send a ping"),
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
        // A real that does not answer ping at all says nothing about sizes.
        let most = *passed.get(&probe.port)?.last()?;
        (most < largest(probe)).then(|| {
            let (rip, real) = (subject.rip, most + overhead(probe));
            let via = subject.gateway.map_or(String::new(), |gateway| format!("via {gateway} "));
            Finding::new(
                "tunnel-mtu",
                Severity::Error,
                format!("packets of {believed} bytes do not reach {rip}, those of {real} do: the link is narrower than the director believes, and large tunnelled packets are lost"),
                format!("ip route replace {} {via}dev {} src {} mtu {real}", IpNet::from(rip), facts.name(probe.way.ifindex), probe.place.dip),
            )
            .of(subject)
        })
    });
    narrow.collect()
}
