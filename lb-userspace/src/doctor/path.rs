// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each VIP answers through the forwarding path.
//!
//! A probe is the frame that the data plane would send to the real, put together from the real's entry in the loaded
//! table, from the director's own address: the reply comes to the director, where the stack drops it (its source is
//! the director's own VIP) and this socket sees it. No flow is written down and no packet is counted. docs/limits.md
//! says why the loaded program does not send it.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use super::{
    Facts, Finding, Subject, Way,
    answer::{Said, answer},
    frame,
    judge::{Answer, Seen, judge},
    mtu,
    wire::Wire,
};
use crate::control::model::{Forward, Protocol, Tunnel};

/// Each is asked again after this time; then it is silent.
const PATIENCE: Duration = Duration::from_millis(250);

/// A subject, with all that a probe needs.
pub(super) struct Probe<'a> {
    pub(super) subject: &'a Subject,
    pub(super) way: Way,
    /// The director's address towards the real.
    pub(super) dip: IpAddr,
    /// Where the probe through the path comes from.
    pub(super) source: IpAddr,
    /// An address of the director outside the real's network, which the real answers as it does clients.
    far: Option<IpAddr>,
    /// The port, or echo identifier, of the probe through the path; the next ones are those of the others.
    pub(super) port: u16,
    pub(super) seen: Seen,
}

/// A question to a real.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Question {
    /// The VIP, through the path, from near by.
    Through,
    /// The RIP, without a tunnel.
    Direct,
    /// As [`Question::Through`], from elsewhere.
    Far,
}

impl Question {
    const ALL: [Self; 3] = [Self::Through, Self::Direct, Self::Far];

    /// A probe's ports: one for each question.
    const PORTS: usize = 3;
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Ok(wire) = Wire::open() else { return Vec::new() };
    // Below those that the kernel picks, and others each time: a real may remember the last probe.
    let salt = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
    let ports = (2_000 + (salt >> 8) as u16 % 4_000..32_000).step_by(Question::PORTS);
    let mut probes: Vec<Probe<'_>> = facts
        .subjects
        .iter()
        .filter_map(|subject| Probe::of(facts, subject))
        .zip(ports)
        .map(|(probe, port)| Probe { port, ..probe })
        .collect();
    for _ in 0..2 {
        ask(&wire, &mut probes, salt);
    }
    let mut findings: Vec<Finding> = probes.iter().filter_map(|p| judge(p.subject, p.dip, p.seen)).collect();
    findings.extend(mtu::check(facts, &wire, &probes));
    findings
}

/// An address of the director, of the version of `like`, that is outside of the real's network: what is sent to it takes
/// the real's way to elsewhere.
fn elsewhere(facts: &Facts, dip: IpAddr, like: IpAddr, only_clients: bool) -> Option<IpAddr> {
    let near: Vec<_> =
        facts.addresses.iter().map(|address| address.net).filter(|net| net.addr() == dip).collect();
    let vips = facts.vips();
    let usable = facts.addresses.iter().filter(|address| {
        let link_local = match address.net.addr() {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        let clients = !only_clients || facts.attached.contains_key(&address.ifindex);
        !address.host_scope && !address.net.addr().is_loopback() && !link_local && clients
    });
    usable
        .map(|address| address.net.addr())
        .filter(|ip| ip.is_ipv4() == like.is_ipv4() && !vips.contains(ip))
        .find(|ip| near.iter().all(|net| !net.contains(ip)))
}

impl Subject {
    /// Whether it can be asked with a SYN.
    pub(super) fn asks_tcp(&self) -> bool {
        self.protocol == Protocol::Tcp && self.port != 0 && self.real_port != 0
    }
}

impl<'a> Probe<'a> {
    fn of(facts: &Facts, subject: &'a Subject) -> Option<Self> {
        let dip = subject.dip?;
        let way = *subject.way.as_ref().ok()?;
        let near = |like: IpAddr| {
            if dip.is_ipv4() == like.is_ipv4() { Some(dip) } else { elsewhere(facts, dip, like, false) }
        };
        let (source, far) = match subject.forward {
            Forward::Local | Forward::Fnat => return None,
            Forward::Dr if subject.gateway.is_some() => return None,
            Forward::Dr | Forward::Tun => (near(subject.vip)?, elsewhere(facts, dip, subject.vip, true)),
            Forward::Nat if !subject.asks_tcp() => return None,
            // The VIP will do if there is nothing else, unless the real has that itself.
            Forward::Nat => {
                let shares = |other: &Subject| {
                    other.rip == subject.rip && other.vip == subject.vip && other.holds_vip()
                };
                let vip = (!facts.subjects.iter().any(shares)).then_some(subject.vip);
                (elsewhere(facts, dip, subject.rip, false).or(vip)?, None)
            }
        };
        let far = far.filter(|far| *far != source);
        Some(Self { subject, way, dip, source, far, port: 0, seen: Seen::default() })
    }

    pub(super) fn tunnel(&self) -> Option<(IpAddr, Tunnel)> {
        let Subject { forward, rip, tunnel, .. } = *self.subject;
        (forward == Forward::Tun).then_some((rip, tunnel))
    }

    /// Source and destination of a question; `None` if there is none to ask.
    fn ends(&self, question: Question) -> Option<((IpAddr, u16), (IpAddr, u16))> {
        let Subject { vip, port, rip, real_port, forward, .. } = *self.subject;
        let from = self.port + question as u16;
        let to = if forward == Forward::Nat { (rip, real_port) } else { (vip, port) };
        match question {
            Question::Through => Some(((self.source, from), to)),
            Question::Direct => Some(((self.dip, from), (rip, real_port))),
            Question::Far => Some(((self.far?, from), to)),
        }
    }

    fn answer(&mut self, question: Question) -> &mut Answer {
        match question {
            Question::Through => &mut self.seen.through,
            Question::Direct => &mut self.seen.direct,
            Question::Far => self.seen.far.get_or_insert_default(),
        }
    }

    /// The frame of a question, if it is to be asked.
    fn frame(&self, question: Question, sequence: u32) -> Option<Vec<u8>> {
        let (from, to) = self.ends(question)?;
        let packet = if self.subject.asks_tcp() {
            frame::tcp(from, to, sequence, false)
        } else {
            frame::echo(from.0, to.0, from.1, 0, 64)
        };
        Some(self.framed(question, packet))
    }

    fn framed(&self, question: Question, packet: Vec<u8>) -> Vec<u8> {
        let tunnel = if question == Question::Direct { None } else { self.tunnel() };
        frame::framed(&self.way, tunnel, packet)
    }

    /// Takes a SYN back that was answered: the director's stack does not know of it.
    fn take_back(&self, question: Question, sequence: u32) -> Option<Vec<u8>> {
        let (from, to) = self.ends(question)?;
        Some(self.framed(question, frame::tcp(from, to, sequence, true)))
    }

    /// Whether nothing more is to be learnt.
    fn is_answered(&self) -> bool {
        let far = self.far.is_none() || self.seen.far.is_some_and(|far| far != Answer::Silence);
        far && self.seen.through != Answer::Silence && self.seen.direct != Answer::Silence
    }
}

fn ask(wire: &Wire, probes: &mut [Probe<'_>], sequence: u32) {
    for probe in probes.iter_mut() {
        for question in Question::ALL {
            if let Some(frame) = probe.frame(question, sequence)
                && *probe.answer(question) == Answer::Silence
            {
                wire.send(probe.way.ifindex, &frame);
            }
        }
    }
    let ports = |(n, probe): (usize, &Probe<'_>)| {
        let port = probe.port;
        Question::ALL.map(|question| (port + question as u16, (n, question)))
    };
    let by_port: BTreeMap<u16, (usize, Question)> = probes.iter().enumerate().flat_map(ports).collect();
    wire.listen(PATIENCE, |bytes| {
        let Some(heard) = answer(bytes) else { return false };
        if heard.said == Said::NoTunnel {
            for probe in probes.iter_mut().filter(|probe| probe.subject.rip == heard.from) {
                probe.seen.no_tunnel = true;
            }
            return false;
        }
        let Some((n, question)) = by_port.get(&heard.probe).copied() else { return false };
        let Some(probe) = probes.get_mut(n) else { return false };
        if probe.ends(question).is_none_or(|(_, to)| to.0 != heard.from) {
            return false;
        }
        *probe.answer(question) = match heard.said {
            Said::Refused => Answer::Refused,
            Said::Open(_) | Said::Echo(_) | Said::NoTunnel => Answer::Yes,
        };
        if let Said::Open(acknowledged) = heard.said
            && let Some(reset) = probe.take_back(question, acknowledged)
        {
            wire.send(probe.way.ifindex, &reset);
        }
        probes.iter().all(Probe::is_answered)
    });
}
