// SPDX-License-Identifier: MIT OR Apache-2.0
//! Second round of probes, for reals that do not answer for the VIP: which of the likely causes is it?
//!
//! | probe | answer | conclusion |
//! |---|---|---|
//! | a ping of the VIP (`nat`: of the RIP), not a SYN | yes | the host is up: a firewall drops the service's port |
//! | the RIP, inside the tunnel | yes | decapsulation works: the VIP is missing, or a firewall drops it |
//! | the VIP with a time to live of one | no, but another real answered | the VIP is missing, and the real forwards |
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{
    answer::{Said, answer},
    frame,
    judge::Answer,
    path::Probe,
    sender::{Sender, Sent},
};
use crate::model::Forward;

const PATIENCE: Duration = Duration::from_millis(250);
/// Ports and identifiers of these probes; those of the first round are lower.
const PORTS: std::ops::Range<u16> = 41_000..60_000;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Question {
    /// A ping of the VIP.
    Ping,
    /// A probe of the RIP through the tunnel.
    Rip,
    /// A probe of the VIP in a packet that no router forwards.
    Here,
}

/// A probe that was sent.
struct Asked {
    probe: usize,
    question: Question,
    from: IpAddr,
    sent: Sent,
}

/// Sends the probes, and records the answers.
pub(super) fn narrow(sender: &mut Sender<'_>, probes: &mut [Probe<'_>], sequence: u32) {
    let mut asked: BTreeMap<u16, Asked> = BTreeMap::new();
    let mut ports = PORTS;
    for (n, probe) in probes.iter_mut().enumerate() {
        for question in probe.questions() {
            let Some(port) = ports.next() else { break };
            let Some((from, sent)) = probe.ask(sender, question, port, sequence) else { continue };
            if question == Question::Rip {
                probe.seen.unwraps = Some(false);
            }
            asked.insert(port, Asked { probe: n, question, from, sent });
        }
    }
    if asked.is_empty() {
        return;
    }
    for one in asked.values() {
        sender.send(&one.sent);
    }
    let mut open = asked.len();
    let wire = sender.wire;
    wire.listen(PATIENCE, |_, bytes| {
        let Some(heard) = answer(bytes) else { return false };
        let Some(one) = asked.get(&heard.probe).filter(|one| one.from == heard.from) else { return false };
        let Some(probe) = probes.get_mut(one.probe) else { return false };
        match (one.question, heard.said) {
            (_, Said::Rejected | Said::NoTunnel(_)) => return false,
            (Question::Ping, _) => probe.seen.pings = true,
            (Question::Rip, _) => probe.seen.unwraps = Some(true),
            // The real itself answered, through another of its interfaces.
            (Question::Here, _) => probe.seen.taken_by = None,
        }
        if let (Said::Open(acknowledged), (ifindex, frame)) = (heard.said, &one.sent) {
            sender.send(&(*ifindex, frame::take_back(frame, acknowledged)));
        }
        open -= 1;
        open == 0
    });
}

impl Probe<'_> {
    /// Returns the useful questions.
    fn questions(&self) -> Vec<Question> {
        let seen = &self.seen;
        let mut questions = Vec::new();
        if seen.kept.is_some() {
            return questions;
        }
        let is_silent = seen.through == Answer::Silence && seen.direct == Answer::Silence;
        if is_silent && !seen.no_tunnel && self.subject.asks_tcp() && self.subject.forward != Forward::Fnat {
            questions.push(Question::Ping);
        }
        if !self.subject.holds_vip() {
            return questions;
        }
        if seen.taken_by.is_some() && self.subject.asks_tcp() {
            questions.push(Question::Here);
        }
        if seen.through == Answer::Silence && seen.direct != Answer::Silence && !seen.no_tunnel {
            if self.subject.asks_tcp() {
                questions.push(Question::Ping);
            }
            let same_version = self.subject.vip.is_ipv4() == self.subject.rip.is_ipv4();
            if self.subject.forward == Forward::Tun && same_version {
                questions.push(Question::Rip);
            }
        }
        questions
    }

    /// Returns the address that should answer, and the frame of the probe.
    fn ask(
        &self,
        sender: &mut Sender<'_>,
        question: Question,
        port: u16,
        sequence: u32,
    ) -> Option<(IpAddr, Sent)> {
        let subject = self.subject;
        let sent = match question {
            Question::Ping if !subject.holds_vip() => {
                let ping = frame::echo(self.place.dip, subject.rip, port, 0, 64);
                (self.way.ifindex, frame::framed(&self.way, None, ping))
            }
            Question::Ping => sender.ping_through(subject, &self.way, self.source, (port, 0), 64).ok()?,
            // A SYN in a tunnel with a checksum over its content could not be converted to a RST.
            Question::Rip if subject.asks_tcp() && !subject.tunnel.csum() => self.by_tunnel(port, sequence),
            Question::Rip => {
                let ping = frame::echo(self.source, subject.rip, port, 0, 64);
                (self.way.ifindex, frame::framed(&self.way, subject.tunnel(), ping))
            }
            Question::Here => self.once(sender, port, sequence)?,
        };
        let is_for_rip = question == Question::Rip || question == Question::Ping && !subject.holds_vip();
        Some((if is_for_rip { subject.rip } else { subject.vip }, sent))
    }

    /// Returns a segment for the RIP, inside the tunnel.
    fn by_tunnel(&self, port: u16, sequence: u32) -> Sent {
        let to = (self.subject.rip, self.subject.real_port);
        let segment = frame::tcp((self.source, port), to, sequence, false);
        (self.way.ifindex, frame::framed(&self.way, self.subject.tunnel(), segment))
    }

    /// Returns a segment for the VIP that arrives with a time to live of 1: the programs decrement it.
    fn once(&self, sender: &mut Sender<'_>, port: u16, sequence: u32) -> Option<Sent> {
        const BEFORE: u8 = 2;
        let to = (self.subject.vip, self.subject.port);
        let segment = frame::tcp_of(BEFORE, (self.source, port), to, sequence, false);
        sender.through(self.subject, &segment).ok()
    }
}
