// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each VIP answers through the forwarding path.
//!
//! A probe is the frame that the data plane would send to the real, put together from the real's entry in the loaded
//! table, from the director's own address: the reply comes to the director, where the stack drops it (its source is
//! the director's own VIP) and this socket sees it. No flow is written down and no packet is counted.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    time::{Duration, SystemTime},
};

use super::{
    Facts, Finding, Severity, Subject, Way,
    frame::{self, Said},
    wire::Wire,
};
use crate::control::model::{Forward, Protocol};

/// Each is asked again after this time; then it is silent.
const PATIENCE: Duration = Duration::from_millis(250);
/// Sizes that tunnels are tried with, from what the link is believed to take downwards.
const SIZES: [u16; 8] = [1480, 1450, 1400, 1350, 1300, 1280, 1000, 576];

/// How a question was answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Answer {
    #[default]
    Silence,
    Refused,
    Yes,
}

/// What was seen of a subject.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Seen {
    /// The VIP through the path.
    through: Answer,
    /// The RIP without it.
    direct: Answer,
    /// The real said that it does not unwrap tunnels.
    no_tunnel: bool,
}

/// A subject, with all that a probe needs.
struct Probe<'a> {
    subject: &'a Subject,
    way: Way,
    dip: Ipv4Addr,
    /// Where the probe through the path comes from.
    source: Ipv4Addr,
    /// The port, or echo identifier, of the probe through the path; the next is that of the direct one.
    port: u16,
    seen: Seen,
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Ok(wire) = Wire::open() else { return Vec::new() };
    // Below those that the kernel picks, and others each time: a real may remember the last probe.
    let salt = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
    let ports = (2_000 + (salt >> 8) as u16 % 4_000..32_000).step_by(2);
    let mut probes: Vec<Probe<'_>> = facts
        .subjects
        .iter()
        .filter_map(|subject| {
            let dip = subject.dip?;
            let source = match subject.forward {
                Forward::Local | Forward::Fnat => return None,
                Forward::Dr if subject.gateway.is_some() => return None,
                Forward::Dr | Forward::Tun => dip,
                Forward::Nat if !subject.asks_tcp() => return None,
                Forward::Nat => elsewhere(facts, subject, dip)?,
            };
            let way = *subject.way.as_ref().ok()?;
            Some(Probe { subject, way, dip, source, port: 0, seen: Seen::default() })
        })
        .zip(ports)
        .map(|(probe, port)| Probe { port, ..probe })
        .collect();
    for _ in 0..2 {
        ask(&wire, &mut probes, salt);
    }
    let mut findings: Vec<Finding> = probes.iter().filter_map(|p| judge(p.subject, p.dip, p.seen)).collect();
    findings.extend(tunnels(facts, &wire, &probes));
    findings
}

/// An address of the director that a nat real must reach as it does clients: by its way to elsewhere. One outside
/// of the real's network if there is one, else the VIP, unless the real has that itself.
fn elsewhere(facts: &Facts, subject: &Subject, dip: Ipv4Addr) -> Option<Ipv4Addr> {
    let near =
        facts.addresses.iter().map(|address| address.net).filter(|net| net.addr() == IpAddr::from(dip));
    let near: Vec<_> = near.collect();
    let vips = facts.vips();
    let far = facts.addresses.iter().filter_map(|address| match address.net.addr() {
        IpAddr::V4(ip) if !address.host_scope && !ip.is_loopback() && !ip.is_link_local() => Some(ip),
        _ => None,
    });
    let far = far
        .filter(|ip| !vips.contains(ip))
        .find(|ip| near.iter().all(|net| !net.contains(&IpAddr::from(*ip))));
    let shares = |other: &Subject| other.rip == subject.rip && other.vip == subject.vip && other.holds_vip();
    far.or_else(|| (!facts.subjects.iter().any(shares)).then_some(subject.vip))
}

impl Subject {
    /// Whether it can be asked with a SYN.
    fn asks_tcp(&self) -> bool {
        self.protocol == Protocol::Tcp && self.port != 0 && self.real_port != 0
    }
}

impl Probe<'_> {
    fn tunnel(&self) -> Option<Ipv4Addr> {
        (self.subject.forward == Forward::Tun).then_some(self.subject.rip)
    }

    /// Source and destination of the question through the path.
    fn through(&self) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
        let Subject { vip, port, rip, real_port, forward, .. } = self.subject;
        match forward {
            Forward::Nat => ((self.source, self.port), (*rip, *real_port)),
            _ => ((self.source, self.port), (*vip, *port)),
        }
    }

    fn questions(&self, sequence: u32) -> Vec<Vec<u8>> {
        let Subject { vip, rip, real_port, .. } = self.subject;
        let mut frames = Vec::new();
        let tcp = self.subject.asks_tcp();
        if self.seen.through == Answer::Silence {
            let (from, to) = self.through();
            let packet = if tcp {
                frame::tcp(from, to, sequence, false)
            } else {
                frame::echo(self.dip, *vip, self.port, 0, 64)
            };
            frames.push(frame::framed(&self.way, self.tunnel(), packet));
        }
        if self.seen.direct == Answer::Silence {
            let packet = if tcp {
                frame::tcp((self.dip, self.port + 1), (*rip, *real_port), sequence, false)
            } else {
                frame::echo(self.dip, *rip, self.port + 1, 0, 64)
            };
            frames.push(frame::framed(&self.way, None, packet));
        }
        frames
    }

    /// Takes a SYN back that was answered: the director's stack does not know of it.
    fn take_back(&self, sequence: u32) -> Vec<u8> {
        let (from, to) = self.through();
        frame::framed(&self.way, self.tunnel(), frame::tcp(from, to, sequence, true))
    }
}

fn ask(wire: &Wire, probes: &mut [Probe<'_>], sequence: u32) {
    for probe in probes.iter() {
        for question in probe.questions(sequence) {
            wire.send(probe.way.ifindex, &question);
        }
    }
    let by_port: BTreeMap<u16, usize> =
        probes.iter().enumerate().flat_map(|(n, probe)| [(probe.port, n), (probe.port + 1, n)]).collect();
    wire.listen(PATIENCE, |bytes| {
        let Some(heard) = frame::answer(bytes) else { return false };
        if heard.said == Said::NoTunnel {
            for probe in probes.iter_mut().filter(|probe| probe.subject.rip == heard.from) {
                probe.seen.no_tunnel = true;
            }
            return false;
        }
        let Some(probe) = by_port.get(&heard.probe).and_then(|n| probes.get_mut(*n)) else { return false };
        let direct = heard.probe != probe.port;
        let Subject { vip, rip, forward, .. } = *probe.subject;
        let expected = if direct || forward == Forward::Nat { rip } else { vip };
        if heard.from != expected {
            return false;
        }
        let answer = match heard.said {
            Said::Refused => Answer::Refused,
            Said::Open(_) | Said::Echo(_) | Said::NoTunnel => Answer::Yes,
        };
        if direct {
            probe.seen.direct = answer;
        } else {
            probe.seen.through = answer;
        }
        if let Said::Open(acknowledged) = heard.said
            && !direct
        {
            wire.send(probe.way.ifindex, &probe.take_back(acknowledged));
        }
        probes.iter().all(|p| p.seen.through != Answer::Silence && p.seen.direct != Answer::Silence)
    });
}

fn judge(subject: &Subject, dip: Ipv4Addr, seen: Seen) -> Option<Finding> {
    let Subject { vip, port, rip, .. } = subject;
    let error =
        |check, cause, fix| Some(Finding::new(check, Severity::Error, cause, fix).of(subject).on(*rip));
    match (seen.through, subject.forward) {
        (Answer::Yes, _) => None,
        (Answer::Refused, _) => error(
            "not-listening",
            format!(
                "{rip} takes packets for {vip}:{port} and refuses connections: nothing listens there, or not for every address"
            ),
            format!(
                "start the service; `ss -ltn` on {rip} shows what listens, and it must be 0.0.0.0 or {vip}"
            ),
        ),
        (Answer::Silence, _) if seen.direct == Answer::Silence && !seen.no_tunnel => error(
            "real-silent",
            format!(
                "{rip} answers neither for {vip} nor for itself, though it answers ARP: a firewall there, or it hangs"
            ),
            format!("look at the firewall of {rip}: `nft list ruleset`"),
        ),
        (Answer::Silence, Forward::Nat) => error(
            "nat-replies",
            format!(
                "{rip} answers the director itself, but what it sends elsewhere does not come back through the director: its way back leads past it"
            ),
            format!("ip route replace default via {dip}"),
        ),
        (Answer::Silence, Forward::Tun) if seen.no_tunnel => error(
            "tun-not-unwrapped",
            format!("{rip} says that it does not take IP in IP: nothing there unwraps tunnelled packets"),
            subject.setup(),
        ),
        (Answer::Silence, Forward::Tun) => error(
            "tun-blackhole",
            format!(
                "{rip} answers for itself, but not for {vip} through the tunnel: nothing unwraps the packets there, rp_filter drops what was unwrapped, or {vip} is not on lo"
            ),
            subject.setup(),
        ),
        (Answer::Silence, _) => error(
            "dr-blackhole",
            format!(
                "{rip} answers for itself, but not for {vip}: {vip} is not on its lo, or rp_filter drops its packets"
            ),
            subject.setup(),
        ),
    }
}

/// Tunnels that carry small packets and lose large ones.
fn tunnels(facts: &Facts, wire: &Wire, probes: &[Probe<'_>]) -> Vec<Finding> {
    let mut tried = BTreeMap::new();
    for probe in probes.iter().filter(|p| p.subject.forward == Forward::Tun && p.seen.through == Answer::Yes)
    {
        tried.entry(probe.subject.rip).or_insert(probe);
    }
    let largest = |probe: &Probe<'_>| probe.way.mtu - 20;
    for probe in tried.values() {
        for size in
            std::iter::once(largest(probe)).chain(SIZES).filter(|size| *size <= largest(probe)).chain([64])
        {
            let packet = frame::echo(probe.dip, probe.subject.vip, probe.port, size, size.into());
            wire.send(probe.way.ifindex, &frame::framed(&probe.way, probe.tunnel(), packet));
        }
    }
    let mut passed: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
    if !tried.is_empty() {
        wire.listen(PATIENCE, |bytes| {
            if let Some(frame::Heard { probe, said: Said::Echo(size), .. }) = frame::answer(bytes) {
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
            let (rip, real) = (subject.rip, most + 20);
            let via = subject.gateway.map_or(String::new(), |gateway| format!("via {gateway} "));
            Finding::new(
                "tunnel-mtu",
                Severity::Error,
                format!("packets of {believed} bytes do not reach {rip}, those of {real} do: the link is narrower than the director believes, and large tunnelled packets are lost"),
                format!("ip route replace {rip}/32 {via}dev {} src {} mtu {real}", facts.name(probe.way.ifindex), probe.dip),
            )
            .of(subject)
        })
    });
    narrow.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(forward: Forward) -> Subject {
        Subject {
            service: "tcp 192.0.2.100:80".to_owned(),
            protocol: Protocol::Tcp,
            vip: Ipv4Addr::new(192, 0, 2, 100),
            port: 80,
            rip: Ipv4Addr::new(10, 0, 0, 11),
            real_port: 80,
            forward,
            way: Err("not asked".to_owned()),
            dip: None,
            gateway: None,
        }
    }

    #[test]
    fn each_silence_has_its_name() {
        use Answer::{Refused, Silence, Yes};
        for (forward, through, direct, no_tunnel, check) in [
            (Forward::Dr, Yes, Silence, false, None),
            (Forward::Dr, Refused, Refused, false, Some("not-listening")),
            (Forward::Dr, Silence, Refused, false, Some("dr-blackhole")),
            (Forward::Dr, Silence, Silence, false, Some("real-silent")),
            (Forward::Tun, Silence, Yes, true, Some("tun-not-unwrapped")),
            (Forward::Tun, Silence, Yes, false, Some("tun-blackhole")),
            (Forward::Nat, Silence, Yes, false, Some("nat-replies")),
            (Forward::Nat, Yes, Yes, false, None),
        ] {
            let finding =
                judge(&subject(forward), Ipv4Addr::new(10, 0, 0, 1), Seen { through, direct, no_tunnel });
            assert_eq!(finding.map(|f| f.check).as_deref(), check, "{forward} {through:?} {direct:?}");
        }
    }
}
