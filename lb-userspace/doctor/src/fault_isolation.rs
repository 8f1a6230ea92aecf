// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fault isolation: further probes of reals that do not answer for the VIP, which separate the likely causes.
//!
//! | probe | answer | conclusion |
//! |---|---|---|
//! | a ping of the VIP (`nat`: of the RIP), not a SYN | yes | the host is up: a firewall drops the service's port |
//! | the RIP, inside the tunnel | yes | decapsulation works: the VIP is missing, or a firewall drops it |
//! | the VIP with a time to live of 1 | no, but another real answered | the VIP is missing, and the real forwards |
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{
    frame,
    observations::Outcome,
    probe::Probe,
    reply::{self, Reply},
    sender::{Sender, Sent},
};
use lb_model::Forward;

const PATIENCE: Duration = Duration::from_millis(250);
/// Ports and identifiers of these probes; those of the first round are lower.
const PORTS: std::ops::Range<u16> = 41_000..60_000;

/// Kind of a further probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// A ping of the VIP.
    Ping,
    /// A probe of the RIP through the tunnel.
    RipInTunnel,
    /// A probe of the VIP in a packet that no router forwards.
    OneHop,
}

/// A probe that was sent.
struct Pending {
    /// Index of the probe of the first round.
    index: usize,
    kind: Kind,
    /// Source of the expected reply.
    from: IpAddr,
    sent: Sent,
}

/// Sends the further probes, and records the replies.
pub(super) fn exchange(sender: &mut Sender<'_>, probes: &mut [Probe<'_>], sequence: u32) {
    let mut pending: BTreeMap<u16, Pending> = BTreeMap::new();
    let mut ports = PORTS;
    for (index, probe) in probes.iter_mut().enumerate() {
        for kind in probe.useful_kinds() {
            let Some(port) = ports.next() else { break };
            let Some((from, sent)) = probe.further(sender, kind, port, sequence) else { continue };
            if kind == Kind::RipInTunnel {
                probe.observations.decapsulates = Some(false);
            }
            pending.insert(port, Pending { index, kind, from, sent });
        }
    }
    if pending.is_empty() {
        return;
    }
    for one in pending.values() {
        sender.send(&one.sent);
    }
    let mut open = pending.len();
    let wire = sender.wire;
    wire.listen(PATIENCE, |_, bytes| {
        let Some(received) = reply::parse(bytes) else { return false };
        let one = pending.get(&received.probe).filter(|one| one.from == received.from);
        let Some(Pending { index, kind, sent: (ifindex, frame), .. }) = one else { return false };
        let Some(probe) = probes.get_mut(*index) else { return false };
        match (kind, received.reply) {
            (_, Reply::Rejected | Reply::NoTunnel(_)) => return false,
            (Kind::Ping, _) => probe.observations.answers_ping = true,
            (Kind::RipInTunnel, _) => probe.observations.decapsulates = Some(true),
            // The real itself answered, through another of its interfaces.
            (Kind::OneHop, _) => probe.observations.other_real = None,
        }
        if let Reply::SynAck(acknowledged) = received.reply {
            sender.send(&(*ifindex, frame::reset_of(frame, acknowledged)));
        }
        open -= 1;
        open == 0
    });
}

impl Probe<'_> {
    /// Returns the kinds of further probes that separate causes.
    fn useful_kinds(&self) -> Vec<Kind> {
        let seen = &self.observations;
        let mut kinds = Vec::new();
        if seen.not_forwarded.is_some() {
            return kinds;
        }
        let is_silent = seen.via_path == Outcome::NoReply && seen.direct == Outcome::NoReply;
        let is_fnat = self.target.forward == Forward::Fnat;
        if is_silent && !seen.no_tunnel && self.target.accepts_syn() && !is_fnat {
            kinds.push(Kind::Ping);
        }
        if !self.target.holds_vip() {
            return kinds;
        }
        if seen.other_real.is_some() && self.target.accepts_syn() {
            kinds.push(Kind::OneHop);
        }
        if seen.via_path == Outcome::NoReply && seen.direct != Outcome::NoReply && !seen.no_tunnel {
            if self.target.accepts_syn() {
                kinds.push(Kind::Ping);
            }
            let same_version = self.target.vip.is_ipv4() == self.target.rip.is_ipv4();
            if self.target.forward == Forward::Tun && same_version {
                kinds.push(Kind::RipInTunnel);
            }
        }
        kinds
    }

    /// Returns the source of the expected reply, and the frame of a further probe.
    fn further(
        &self,
        sender: &mut Sender<'_>,
        kind: Kind,
        port: u16,
        sequence: u32,
    ) -> Option<(IpAddr, Sent)> {
        let target = self.target;
        let sent = match kind {
            Kind::Ping if !target.holds_vip() => {
                let ping = frame::echo(frame::TTL, self.topology.dip, target.rip, port, 0, 64);
                (self.next_hop.ifindex, frame::framed(&self.next_hop, None, ping))
            }
            Kind::Ping => sender.ping_through(target, &self.next_hop, self.source, (port, 0), 64).ok()?,
            // A SYN in a tunnel with a checksum over its content could not be converted to a RST.
            Kind::RipInTunnel if target.accepts_syn() && !target.tunnel.csum() => {
                self.syn_in_tunnel(port, sequence)
            }
            Kind::RipInTunnel => {
                let ping = frame::echo(frame::TTL, self.source, target.rip, port, 0, 64);
                (self.next_hop.ifindex, frame::framed(&self.next_hop, target.tunnel(), ping))
            }
            Kind::OneHop => self.one_hop(sender, port, sequence)?,
        };
        let is_for_rip = kind == Kind::RipInTunnel || kind == Kind::Ping && !target.holds_vip();
        Some((if is_for_rip { target.rip } else { target.vip }, sent))
    }

    /// Returns a SYN for the RIP, inside the tunnel.
    fn syn_in_tunnel(&self, port: u16, sequence: u32) -> Sent {
        let to = (self.target.rip, self.target.real_port);
        let segment = frame::tcp(frame::TTL, (self.source, port), to, sequence, false);
        (self.next_hop.ifindex, frame::framed(&self.next_hop, self.target.tunnel(), segment))
    }

    /// Returns a SYN for the VIP that arrives with a time to live of 1: the programs decrement it.
    fn one_hop(&self, sender: &mut Sender<'_>, port: u16, sequence: u32) -> Option<Sent> {
        const BEFORE: u8 = 2;
        let to = (self.target.vip, self.target.port);
        let segment = frame::tcp(BEFORE, (self.source, port), to, sequence, false);
        sender.through(self.target, &segment).ok()
    }
}
