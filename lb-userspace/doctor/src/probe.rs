// SPDX-License-Identifier: MIT OR Apache-2.0
//! The probe of one target: a packet of up to three variants, and the observations that they lead to.
//!
//! A packet through the forwarding path is a client's packet that the programs have processed in a separate data plane
//! with this real only ([`ProbePlane`](lb_dataplane::ProbePlane)); their output is sent. The client is the director itself,
//! so the reply arrives at the director, where the packet socket receives it and the stack drops it (its source is the
//! director's own VIP). The director's maps get no flow, and no packet is counted.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::{
    Check, Facts, Finding, NextHop, Target, frame,
    observations::{Observations, Outcome},
    sender::{Sender, Sent},
    topology::{Topology, elsewhere},
};
use lb_dataplane::ProbePlaneError;
use lb_model::failure::chain;
use lb_model::{Forward, Protocol};

/// Variant of the packet to a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Variant {
    /// To the VIP, through the forwarding path, from an address near the real.
    ViaPath,
    /// To the RIP, without the forwarding path.
    Direct,
    /// As [`Variant::ViaPath`], from an address in another network.
    Far,
}

impl Variant {
    pub(super) const ALL: [Self; 3] = [Self::ViaPath, Self::Direct, Self::Far];

    /// Number of ports per probe: one for each variant.
    pub(super) const PORTS: usize = Self::ALL.len();
}

/// A packet of a probe.
pub(super) struct Packet {
    pub(super) sent: Sent,
    /// Source port, as the real receives it.
    pub(super) port: u16,
}

/// A target, with everything that its probe needs.
pub(super) struct Probe<'a> {
    pub(super) target: &'a Target,
    pub(super) next_hop: NextHop,
    pub(super) topology: Topology,
    /// Source address of the packet through the forwarding path.
    pub(super) source: IpAddr,
    /// Address of the director outside of the real's network, to which the real replies as to clients.
    pub(super) far: Option<IpAddr>,
    /// Port, or echo identifier, of the first variant; the others use the following ones.
    pub(super) port: u16,
    /// Packets by variant.
    pub(super) packets: [Option<Packet>; 3],
    pub(super) observations: Observations,
}

impl Target {
    /// Returns whether the probe can be a SYN.
    pub(super) fn accepts_syn(&self) -> bool {
        self.protocol == Protocol::Tcp && self.port != 0 && self.real_port != 0
    }
}

impl<'a> Probe<'a> {
    /// Returns the probe of a target without packets; `None` if there is no next hop or no source address.
    pub(super) fn new(facts: &Facts, target: &'a Target) -> Option<Self> {
        let dip = target.dip?;
        let next_hop = *target.next_hop.as_ref().ok()?;
        let near = |like: IpAddr| {
            if dip.is_ipv4() == like.is_ipv4() {
                return Some(dip);
            }
            elsewhere(facts, dip, like, false).map(|net| net.addr())
        };
        let far = |only_clients| elsewhere(facts, dip, target.vip, only_clients);
        let (source, far) = match target.forward {
            Forward::Local => return None,
            Forward::Dr if target.gateway.is_some() => return None,
            Forward::Dr | Forward::Tun => (near(target.vip)?, far(true)),
            Forward::Fnat => (dip, far(false)),
            // The VIP serves as the source if there is no other address, unless the real has the VIP itself.
            Forward::Nat => {
                let has_vip =
                    |other: &Target| other.rip == target.rip && other.vip == target.vip && other.holds_vip();
                let vip = (!facts.targets.iter().any(has_vip)).then_some(target.vip);
                (far(false).map(|net| net.addr()).or(vip)?, far(false))
            }
        };
        let clients = far.map(|net| net.trunc()).filter(|net| !net.contains(&target.rip));
        let far = far.map(|net| net.addr()).filter(|far| *far != source);
        let shares_link =
            facts.addresses.iter().any(|a| Some(a.net.addr()) == far && a.ifindex == next_hop.ifindex);
        let outside = far.or((source != dip && target.forward == Forward::Nat).then_some(source));
        let topology = Topology { dip, clients, far: outside, shares_link };
        let (packets, observations) = ([None, None, None], Observations::default());
        Some(Self { target, next_hop, topology, source, far, port: 0, packets, observations })
    }

    /// Returns source and destination of a variant; `None` if it cannot be sent.
    fn ends(&self, variant: Variant) -> Option<((IpAddr, u16), (IpAddr, u16))> {
        let Target { vip, port, rip, real_port, .. } = *self.target;
        let from = self.port + variant as u16;
        // The programs do not forward a ping of the VIP, which the director itself answers.
        let is_for_vip = self.takes_path(variant) && (self.target.holds_vip() || self.is_tcp(variant));
        let to = if is_for_vip { (vip, port) } else { (rip, real_port) };
        match variant {
            Variant::ViaPath => Some(((self.source, from), to)),
            Variant::Direct => Some(((self.topology.dip, from), to)),
            Variant::Far => Some(((self.far?, from), to)),
        }
    }

    /// Returns whether the programs send the packet.
    pub(super) fn takes_path(&self, variant: Variant) -> bool {
        match variant {
            Variant::ViaPath => true,
            Variant::Direct => false,
            Variant::Far => self.target.holds_vip(),
        }
    }

    /// Returns whether the packet is a SYN rather than a ping.
    fn is_tcp(&self, variant: Variant) -> bool {
        self.target.accepts_syn() && !(self.target.forward == Forward::Fnat && variant == Variant::Direct)
    }

    /// Returns the source of the expected reply.
    pub(super) fn expected_source(&self, variant: Variant) -> IpAddr {
        let is_vip = self.takes_path(variant) && self.target.holds_vip();
        if is_vip { self.target.vip } else { self.target.rip }
    }

    pub(super) fn outcome(&mut self, variant: Variant) -> &mut Outcome {
        match variant {
            Variant::ViaPath => &mut self.observations.via_path,
            Variant::Direct => &mut self.observations.direct,
            Variant::Far => self.observations.far.get_or_insert_default(),
        }
    }

    pub(super) const fn packet(&self, variant: Variant) -> Option<&Packet> {
        self.packets[variant as usize].as_ref()
    }

    /// Creates the packets of all variants.
    pub(super) fn prepare(&mut self, sender: &mut Sender<'_>, sequence: u32) {
        for variant in Variant::ALL {
            let Some((from, to)) = self.ends(variant) else { continue };
            let made = if self.is_tcp(variant) {
                self.segment(sender, variant, sequence, false)
            } else if self.takes_path(variant) && self.target.holds_vip() {
                sender.ping_through(self.target, &self.next_hop, from.0, (from.1, 0), 64)
            } else {
                Ok(self.framed(frame::echo(frame::TTL, from.0, to.0, from.1, 0, 64)))
            };
            match made {
                Ok(sent) => {
                    // With `fnat`, the programs change the port.
                    let port = if self.is_tcp(variant) && self.target.forward == Forward::Fnat {
                        frame::source_port(&sent.1).unwrap_or(from.1)
                    } else {
                        from.1
                    };
                    self.packets[variant as usize] = Some(Packet { sent, port });
                }
                Err(ProbePlaneError::Kept(reason)) => {
                    self.observations.not_forwarded =
                        Some(reason.map_or("not_ours", lb_common::reason::Reason::as_str));
                }
                Err(error) => {
                    tracing::debug!(error = chain(&error), "doctor: the programs cannot be run on a probe");
                    self.packets[variant as usize] =
                        self.without_programs(variant, sequence).map(|sent| Packet { sent, port: from.1 });
                }
            }
        }
    }

    /// Returns the TCP segment of a variant.
    fn segment(
        &self,
        sender: &mut Sender<'_>,
        variant: Variant,
        sequence: u32,
        reset: bool,
    ) -> Result<Sent, ProbePlaneError> {
        let Some((from, to)) = self.ends(variant) else { return Err(ProbePlaneError::Kept(None)) };
        let packet = frame::tcp(frame::TTL, from, to, sequence, reset);
        if self.takes_path(variant) { sender.through(self.target, &packet) } else { Ok(self.framed(packet)) }
    }

    /// Returns the RST for an answered SYN. The programs do not run again for it: with many `fnat` flows,
    /// they have lost the first ones.
    pub(super) fn reset(&self, sender: &mut Sender<'_>, variant: Variant, acknowledged: u32) -> Option<Sent> {
        // A checksum over the content of the tunnel requires the programs after all.
        if self.target.tunnel().is_some_and(|(_, tunnel)| tunnel.csum()) {
            return self.segment(sender, variant, acknowledged, true).ok();
        }
        let (ifindex, frame) = &self.packet(variant)?.sent;
        Some((*ifindex, frame::reset_of(frame, acknowledged)))
    }

    /// Constructs the programs' output from the target's next hop, if the programs cannot be run.
    fn without_programs(&self, variant: Variant, sequence: u32) -> Option<Sent> {
        let (from, _) = self.ends(variant)?;
        let Target { vip, port, rip, real_port, .. } = *self.target;
        let to = if self.target.holds_vip() { (vip, port) } else { (rip, real_port) };
        let packet = if self.is_tcp(variant) {
            frame::tcp(frame::TTL, from, to, sequence, false)
        } else {
            frame::echo(frame::TTL, from.0, to.0, from.1, 0, 64)
        };
        Some((self.next_hop.ifindex, frame::framed(&self.next_hop, self.target.tunnel(), packet)))
    }

    /// Returns the frame of a packet to the real itself.
    fn framed(&self, packet: Vec<u8>) -> Sent {
        (self.next_hop.ifindex, frame::framed(&self.next_hop, None, packet))
    }

    /// Returns whether the probe supports a finding: for `nat` and `fnat`, a ping of the real is not a packet
    /// of the service, and a firewall may drop it while it accepts those.
    pub(super) fn supports(&self, finding: &Finding) -> bool {
        let is_of_service = self.target.accepts_syn() || self.target.holds_vip();
        is_of_service || matches!(finding.check, Check::NatReplies | Check::FnatReplies)
    }

    /// Returns whether all replies have arrived.
    pub(super) fn is_complete(&self) -> bool {
        let far = self.far.is_none() || self.observations.far.is_some_and(|far| far != Outcome::NoReply);
        far && self.observations.via_path != Outcome::NoReply && self.observations.direct != Outcome::NoReply
    }

    /// Returns whether the real has weight 0, so that it may be switched off, and accepts no connections.
    pub(super) fn is_switched_off(&self) -> bool {
        let seen = &self.observations;
        self.target.weight == 0
            && (seen.is_silent()
                || seen.answers_ping && seen.via_path == Outcome::NoReply
                || seen.not_forwarded.is_some()
                || seen.via_path == Outcome::Refused)
    }
}
