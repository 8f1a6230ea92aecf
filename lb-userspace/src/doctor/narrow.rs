// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asks reals that do not answer for the VIP once more: which of the likely causes is it?
//!
//! | asked | answered | means |
//! |---|---|---|
//! | a ping of the VIP, or of the RIP by nat, where it was a SYN | yes | it is there: a firewall drops the service's port |
//! | the RIP, inside the tunnel | yes | what arrives is unwrapped and passes rp_filter: the VIP is not there, or a firewall drops it |
//! | the VIP with a time to live of one | no, though another real answered for it | the VIP is not there, and the real routes on |
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
/// Ports and identifiers of these questions; those of the first ones are lower.
const PORTS: std::ops::Range<u16> = 41_000..60_000;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Question {
    /// A ping of the VIP.
    Ping,
    /// The RIP by the tunnel.
    Rip,
    /// The VIP, by a packet that no router sends on.
    Here,
}

/// A question that was sent.
struct Asked {
    probe: usize,
    question: Question,
    from: IpAddr,
    sent: Sent,
}

/// Asks, and writes down what was seen.
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
            // It was this one after all, by another of its interfaces.
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
    /// What is worth asking.
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

    /// Who is to answer, and the frame that asks.
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
            // With a checksum over all that is in it, a SYN could not be taken back.
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

    /// A segment for the RIP, inside the tunnel.
    fn by_tunnel(&self, port: u16, sequence: u32) -> Sent {
        let to = (self.subject.rip, self.subject.real_port);
        let segment = frame::tcp((self.source, port), to, sequence, false);
        (self.way.ifindex, frame::framed(&self.way, self.subject.tunnel(), segment))
    }

    /// A segment for the VIP that arrives with the last of its time to live: the programs take one off.
    fn once(&self, sender: &mut Sender<'_>, port: u16, sequence: u32) -> Option<Sent> {
        const BEFORE: u8 = 2;
        let to = (self.subject.vip, self.subject.port);
        let segment = frame::tcp_of(BEFORE, (self.source, port), to, sequence, false);
        sender.through(self.subject, &segment).ok()
    }
}
