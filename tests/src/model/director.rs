// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way of a packet, and what becomes of those that are not forwarded.

use std::net::IpAddr;

use lb_common::reason::{Fate, Reason};

use super::{
    Chance, Model, Outcome,
    frame::Frame,
    parse::{self, Packet, Part},
    state::{Come, Datagram, Decision, ReturnPath},
    world::Real,
};
use crate::packet::Action;

/// A packet and how it came.
pub struct Arrival {
    /// The frame.
    pub frame: Frame,
    /// The parsed headers.
    pub packet: Packet,
    /// Ifindex of the interface by which the frame arrived.
    pub device: u32,
}

/// A frame that leaves.
pub struct Sent {
    /// Action: out of the interface of the frame's arrival, or of another one.
    pub action: Action,
    /// The frame.
    pub frame: Frame,
    /// The real that it is for, or comes from.
    pub real: u32,
}

/// The reason why a packet is not forwarded, and the facts for an answer.
#[derive(Debug)]
pub struct Stop {
    /// The reason.
    pub reason: Reason,
    /// The service that counts it; 0: none in particular.
    pub service: u32,
    /// The largest packet that would have reached the real.
    pub mtu: usize,
    /// True if the packet is a client's request, which is answered if the reason requires it.
    pub request: bool,
}

impl Stop {
    /// Returns the verdict on a packet of this service.
    pub const fn at(service: u32, reason: Reason) -> Self {
        Self { reason, service, mtu: 0, request: false }
    }

    /// Returns the verdict on a packet towards this real.
    pub fn before(real: &Real, reason: Reason) -> Self {
        let mtu = real.mtu.saturating_sub(real.growth());
        Self { mtu, ..Self::at(real.service, reason) }
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::at(0, reason)
    }
}

impl Arrival {
    /// Returns the return path to the sender of the packet.
    pub fn back(&self) -> ReturnPath {
        ReturnPath { device: self.device, macs: self.frame.macs_back(), tags: self.frame.tags_back() }
    }

    /// Returns the parts of the datagram that the first fragment brought.
    pub fn come(&self) -> Come {
        let header = &self.packet.header;
        Come::first(header.length.saturating_sub(header.transport))
    }

    /// Returns the identity of the datagram to which the packet belongs.
    pub fn datagram(&self) -> Datagram {
        let header = &self.packet.header;
        let protocol = header.source.is_ipv4().then_some(header.protocol);
        Datagram { source: header.source, destination: header.destination, id: header.id, protocol }
    }
}

impl Model {
    /// Returns the outcome of a frame that comes in by an interface.
    pub fn run(&mut self, sent: &[u8], device: u32, mut chance: Chance) -> Outcome {
        let untouched = |reason| Outcome { action: Action::Pass, frame: sent.to_vec(), reason, real: None };
        let arrival = Frame::read(sent)
            // The kernel accepts no unicast packet from a broadcast frame (RFC 1122, section 3.3.6), and the
            // director forwards none.
            .filter(|frame| !frame.is_for_a_group())
            .and_then(|frame| {
                let packet = parse::packet(&frame.packet, frame.version)?;
                Some(Arrival { frame, packet, device })
            });
        let Some(arrival) = arrival else { return untouched(Reason::NotOurs) };
        let stop = match self.direct(&arrival, &mut chance) {
            Ok(Sent { action, frame, real }) => {
                let (frame, real) = (frame.bytes(), Some(real));
                return Outcome { action, frame, reason: Reason::Forwarded, real };
            }
            Err(stop) => stop,
        };
        let reason = stop.reason;
        if reason == Reason::NotOurs {
            return untouched(reason);
        }
        self.state.count_reason(stop.service, reason);
        match reason.fate() {
            Fate::Answered if stop.request => match self.answer(&arrival, &stop) {
                Some(frame) => Outcome { action: Action::Tx, frame: frame.bytes(), reason, real: None },
                None => Outcome { action: Action::Drop, ..untouched(reason) },
            },
            // What is no request is the kernel's to answer.
            Fate::Answered if reason == Reason::TtlExceeded => untouched(reason),
            Fate::Answered | Fate::Dropped => Outcome { action: Action::Drop, ..untouched(reason) },
            Fate::Passed | Fate::Sent => untouched(reason),
        }
    }

    fn direct(&mut self, arrival: &Arrival, chance: &mut Chance) -> Result<Sent, Stop> {
        let Packet { header, tuple, .. } = &arrival.packet;
        let to_vip = self.world.is_vip(header.destination);
        let has_ports =
            matches!(header.part, Part::Whole | Part::First) && header.protocol != header.version.icmp();
        let service = self.world.service(tuple).filter(|_| has_ports);
        // Nor does a router forward or answer what no host can have sent (RFC 1812, section 5.3.7).
        if !is_host(header.source) {
            return Err(
                service.map_or(Reason::NotOurs.into(), |service| Stop::at(service.id, Reason::SourceInvalid))
            );
        }
        match header.part {
            Part::Truncated | Part::Hidden | Part::Tiny if !to_vip => Err(Reason::NotOurs.into()),
            Part::Tiny => Err(Reason::FragmentTiny.into()),
            Part::Truncated => Err(Reason::Truncated.into()),
            Part::Hidden => Err(Reason::ExtensionHeader.into()),
            Part::Later => self.later_fragment(arrival),
            Part::Whole | Part::First if header.protocol == header.version.icmp() => self.icmp(arrival),
            Part::Whole | Part::First => match self.world.service(tuple).cloned() {
                Some(service) => {
                    let from = arrival.frame.source_mac();
                    if let Some(reason) = self.world.forgery(tuple, arrival.device, from) {
                        return Err(Stop::at(service.id, reason));
                    }
                    let sent = self.request(arrival, &service, chance);
                    sent.map_err(|stop| Stop { request: true, ..stop })
                }
                None => self.reply(arrival),
            },
        }
    }

    /// Sends a later fragment to the destination of its first one.
    fn later_fragment(&mut self, arrival: &Arrival) -> Result<Sent, Stop> {
        let known = self.state.datagrams.get_mut(&arrival.datagram());
        let known = known.filter(|(decision, _)| self.world.reals.contains_key(&decision.real()));
        let header = &arrival.packet.header;
        if let Some((decision, come)) = known
            && !come.add(header.offset.into(), header.length.saturating_sub(header.transport))
        {
            let service = self.world.reals[&decision.real()].service;
            return Err(Stop::at(service, Reason::FragmentOverlap));
        }
        match self.state.datagrams.get(&arrival.datagram()).map(|(decision, _)| decision.clone()) {
            Some(Decision::Request { real, dip }) if self.world.reals.contains_key(&real) => {
                return self.forward(arrival, real, dip);
            }
            Some(Decision::Reply { real, vip, client, back }) if self.world.reals.contains_key(&real) => {
                let service = self.world.reals[&real].service;
                let client = client.map(|client| (client, 0).into());
                return self.send_back(arrival, real, (vip, 0).into(), client, &back, service);
            }
            _ => {}
        }
        Err(match self.world.is_vip(header.destination) {
            false => Reason::NotOurs,
            // The director's stack puts large pings together.
            true if header.protocol == header.version.icmp() => Reason::IcmpOther,
            true => Reason::FragmentUnknown,
        }
        .into())
    }
}

/// Returns whether an address can be that of a host.
fn is_host(address: IpAddr) -> bool {
    let nobody = match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_broadcast() || v4.is_link_local(),
        // Linux accepts no IPv4-mapped address in an IPv6 packet (`ip6_rcv_core`).
        IpAddr::V6(v6) => v6.is_unspecified() || v6.to_ipv4_mapped().is_some() || v6.is_unicast_link_local(),
    };
    !nobody && !address.is_loopback() && !address.is_multicast()
}
