// SPDX-License-Identifier: MIT OR Apache-2.0
//! Check that each real answers through the forwarding path: rounds of probes, and the checks that depend on their
//! results.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use super::{
    Facts, Finding, Target, bypass, diagnosis, fault_isolation, mtu, next_hop,
    observations::Outcome,
    probe::{Probe, Variant},
    replies_via_director,
    reply::{self, Reply},
    sender::Sender,
    topology::reals_on_link,
    unused_address::UnusedAddresses,
    wire::Wire,
};
use lb_dataplane::ProbePlane;
use lb_model::Forward;
use lb_netlink::Mac;

/// Time to wait; each real is probed twice before it counts as silent.
const PATIENCE: Duration = Duration::from_millis(250);

/// Probes every real; `known` are the findings so far.
pub(super) fn check(
    facts: &Facts,
    wire: &Wire,
    programs: &mut ProbePlane,
    known: &[Finding],
) -> Vec<Finding> {
    let mut sender = Sender::new(facts, wire, programs);
    let now = SystemTime::now();
    let probes = probe_all(facts, &mut sender, now);
    let mut findings = diagnoses(facts, wire, &probes);
    let unused = UnusedAddresses::of_run(now);
    findings.extend(bypass::check(facts, wire, unused, &findings));
    findings.extend(replies_via_director::check(facts, &mut sender, unused, (&probes, known)));
    findings.extend(mtu::narrow(facts));
    findings.extend(mtu::check(facts, &mut sender, &probes));
    findings.extend(next_hop::behind_routers(facts, &mut sender));
    findings
}

/// Sends every probe, and those that isolate the faults of reals that do not answer for the VIP.
fn probe_all<'a>(facts: &'a Facts, sender: &mut Sender<'_>, now: SystemTime) -> Vec<Probe<'a>> {
    // Ports below those that the kernel allocates, and different in each run: a real may remember the last probe.
    let salt = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
    let ports = (2_000 + (salt >> 8) as u16 % 4_000..32_000).step_by(Variant::PORTS);
    let probes = facts.targets.iter().filter_map(|target| Probe::new(facts, target));
    let mut probes: Vec<_> = probes.zip(ports).map(|(probe, port)| Probe { port, ..probe }).collect();
    for probe in &mut probes {
        probe.prepare(sender, salt);
    }
    let reals = reals_on_link(facts);
    for _ in 0..2 {
        exchange(sender, &mut probes, &reals);
    }
    fault_isolation::exchange(sender, &mut probes, salt);
    probes
}

/// Returns the findings that explain the observations of each probe.
fn diagnoses(facts: &Facts, wire: &Wire, probes: &[Probe<'_>]) -> Vec<Finding> {
    let silent: Vec<&Target> =
        probes.iter().filter(|probe| probe.observations.is_silent()).map(|probe| probe.target).collect();
    let neighbours = next_hop::locate_silent(facts, wire, &silent);
    let finding = |probe: &Probe<'_>| {
        // There is a finding about the tunnel already.
        if mtu::is_too_narrow(probe.target, &probe.next_hop) {
            return None;
        }
        let is_silent = probe.observations.is_silent();
        let wrong = is_silent.then(|| next_hop::wrong_neighbour(facts, probe.target, &neighbours)).flatten();
        if wrong.is_some() || probe.is_switched_off() {
            return wrong;
        }
        let finding = mtu::not_forwarded(facts, probe);
        let finding =
            finding.or_else(|| diagnosis::diagnose(probe.target, &probe.topology, probe.observations));
        finding.filter(|finding| probe.supports(finding))
    };
    probes.iter().filter_map(finding).collect()
}

/// Returns the outcome of a probe of a `dr` real through a tunnel, as it would arrive with `tun`.
pub(super) fn probe_by_tunnel(facts: &Facts, sender: &mut Sender<'_>, target: &Target) -> Outcome {
    let mut by_tunnel = target.clone();
    by_tunnel.forward = Forward::Tun;
    if let Some(entry) = &mut by_tunnel.entry {
        entry.real.method = Forward::Tun.method() as u16;
    }
    let Some(mut probe) = Probe::new(facts, &by_tunnel) else { return Outcome::NoReply };
    (probe.port, probe.far) = (1_990, None);
    probe.prepare(sender, 1);
    let mut probes = [probe];
    exchange(sender, &mut probes, &BTreeMap::new());
    probes[0].observations.via_path
}

/// Sends the unanswered probes, and receives replies. `reals` are the reals that might answer instead of another one.
fn exchange(sender: &mut Sender<'_>, probes: &mut [Probe<'_>], reals: &BTreeMap<Mac, IpAddr>) {
    for probe in probes.iter_mut() {
        for variant in Variant::ALL {
            if probe.packet(variant).is_some()
                && *probe.outcome(variant) == Outcome::NoReply
                && let Some(packet) = probe.packet(variant)
            {
                sender.send(&packet.sent);
            }
        }
    }
    let ports = |(n, probe): (usize, &Probe<'_>)| {
        let port = |variant| Some((probe.packet(variant)?.port, (n, variant)));
        Variant::ALL.into_iter().filter_map(port).collect::<Vec<_>>()
    };
    let by_port: BTreeMap<u16, (usize, Variant)> = probes.iter().enumerate().flat_map(ports).collect();
    let wire = sender.wire;
    wire.listen(PATIENCE, |_, bytes| {
        let Some(received) = reply::parse(bytes) else { return false };
        if let Reply::NoTunnel(port) = received.reply {
            for probe in probes.iter_mut().filter(|probe| probe.target.rip == received.from) {
                probe.observations.no_tunnel |= port == probe.target.tunnel_port();
            }
            return false;
        }
        let Some((n, variant)) = by_port.get(&received.probe).copied() else { return false };
        let Some(probe) = probes.get_mut(n) else { return false };
        let rejected = received.reply == Reply::Rejected;
        if !rejected && probe.expected_source(variant) != received.from {
            return false;
        }
        *probe.outcome(variant) = match received.reply {
            Reply::Rst => Outcome::Refused,
            Reply::Rejected => Outcome::Rejected,
            Reply::SynAck(_) | Reply::Echo(_) | Reply::NoTunnel(_) => Outcome::Replied,
        };
        if probe.target.holds_vip() && probe.takes_path(variant) && probe.target.gateway.is_none() {
            let other =
                bytes.get(6..12).filter(|from| *from != probe.next_hop.to).and_then(|from| reals.get(from));
            probe.observations.other_real = probe.observations.other_real.or(other.copied());
        }
        probe.observations.wrong_checksum |= !received.has_valid_checksum;
        // Resets an answered connection, which the director's stack does not know.
        if let Reply::SynAck(acknowledged) = received.reply
            && let Some(reset) = probe.reset(sender, variant, acknowledged)
        {
            sender.send(&reset);
        }
        probes.iter().all(Probe::is_complete)
    });
}
