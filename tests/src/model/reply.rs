// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets for no service: replies of `nat` and `fnat` reals, and packets that are not ours.

use std::net::SocketAddr;

use lb_common::reason::Reason;

use super::{
    Model, Tuple,
    director::{Arrival, Sent, Stop},
    forward::may_hop,
    frame::Frame,
    parse::Part,
    state::{Decision, ReturnPath},
    translate::{End, hop, replace_end},
    world::{Method, Source},
};

/// The request that a reply answers.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The request, as the client sent it.
    pub request: Tuple,
    /// The real that sent it.
    pub real: u32,
    /// Id of the service.
    pub service: u32,
    /// True if the reply is for a SNAT address of the director, with `fnat`.
    pub full: bool,
    /// The return path to the client.
    pub back: ReturnPath,
    /// True if the flow is tracked.
    pub known: bool,
}

impl Answered {
    /// Returns the client, if the destination of the packet must become its address.
    pub fn client(&self) -> Option<SocketAddr> {
        self.full.then_some(self.request.source)
    }
}

impl Model {
    /// Handles a packet for no service.
    pub fn reply(&mut self, arrival: &Arrival) -> Result<Sent, Stop> {
        let tuple = arrival.packet.tuple;
        self.notice_direct(&tuple);
        let answered = self.answered_by(&tuple).ok_or(Reason::NotOurs)?;
        let Answered { request, real, service, known, .. } = answered;
        if known {
            self.keep(&request, arrival.packet.flags);
        }
        if arrival.packet.header.part == Part::First {
            let decision = Decision::Reply {
                real,
                vip: request.destination.ip(),
                client: answered.client().map(|client| client.ip()),
                back: answered.back.clone(),
            };
            self.state.datagrams.insert(arrival.datagram(), (decision, arrival.come()));
        }
        self.send_back(arrival, real, request.destination, answered.client(), &answered.back, service)
    }

    /// Records that a client contacts a `nat` real directly, so that the replies remain unmodified.
    fn notice_direct(&mut self, tuple: &Tuple) {
        if self.world.nat_reals.contains(&tuple.destination.ip())
            && self.source_of(&tuple.reversed()).is_some_and(|source| source.hashed)
        {
            self.state.direct.insert(tuple.reversed());
        }
    }

    /// Returns the request that a real's packet answers, if any.
    pub fn answered_by(&self, reply: &Tuple) -> Option<Answered> {
        let from = reply.source.ip();
        if self.world.fnat_reals.contains(&from)
            && let Some(request) = self.state.translations.get(reply)
        {
            let flow = self.state.flows.get(request)?;
            let real = self.world.reals.get(&flow.real)?;
            let mine = flow.dip == Some(reply.destination.port()) && real.address.ip() == from;
            return (mine && real.method == Method::Fnat).then(|| Answered {
                request: *request,
                real: flow.real,
                service: real.service,
                full: true,
                back: flow.back.clone(),
                known: true,
            });
        }
        let source = self.source_of(reply)?;
        let port = if source.vip.port() == 0 { reply.source.port() } else { source.vip.port() };
        let vip = SocketAddr::new(source.vip.ip(), port);
        let request = Tuple { protocol: reply.protocol, source: reply.destination, destination: vip };
        if source.hashed
            && let Some(back) = self.state.ways_back.get(&reply.destination.ip())
        {
            let (real, service, back) = (source.real, source.service, back.clone());
            let answered = Answered { request, real, service, full: false, back, known: false };
            return (!self.state.direct.contains(reply)).then_some(answered);
        }
        let flow = self.state.flows.get(&request)?;
        let real = self.world.reals.get(&flow.real)?;
        let same_port = [0, reply.source.port()].contains(&real.address.port());
        let mine = real.method == Method::Nat && real.address.ip() == from && same_port;
        mine.then(|| Answered {
            request,
            real: flow.real,
            service: real.service,
            full: false,
            back: flow.back.clone(),
            known: true,
        })
    }

    /// Returns the service of replies from an address and port: by the port, else by port 0. The flow decides
    /// if several services share them.
    fn source_of(&self, reply: &Tuple) -> Option<Source> {
        let at = |port| (reply.protocol, SocketAddr::new(reply.source.ip(), port));
        let sources = &self.world.sources;
        let source = *sources.get(&at(reply.source.port())).or_else(|| sources.get(&at(0)))?;
        match self.state.replies.get(reply) {
            Some(&vip) if source.shared => Some(Source { vip, hashed: false, ..source }),
            _ => Some(source),
        }
    }

    /// Updates the flow of a real's packet, which may end the flow.
    fn keep(&mut self, request: &Tuple, flags: u8) {
        let flow = self.state.flows.get_mut(request).expect("it is known");
        let (real, before, after) = (flow.real, flow.state, flow.state.after_real(flags));
        flow.state = after;
        self.state.load(real, before, -1);
        self.state.load(real, after, 1);
    }

    /// Sends a reply back as from `vip`; to `client`, if it came to the director. Port 0 leaves the port.
    pub fn send_back(
        &mut self,
        arrival: &Arrival,
        real: u32,
        vip: SocketAddr,
        client: Option<SocketAddr>,
        back: &ReturnPath,
        service: u32,
    ) -> Result<Sent, Stop> {
        let packet = arrival.frame.packet.clone();
        self.send_back_changed(arrival, packet, real, vip, client, back)
            .map_err(|reason| Stop::at(service, reason))
    }

    /// Sends back a reply in which another part has already been changed.
    pub fn send_back_changed(
        &mut self,
        arrival: &Arrival,
        mut packet: Vec<u8>,
        real: u32,
        vip: SocketAddr,
        client: Option<SocketAddr>,
        back: &ReturnPath,
    ) -> Result<Sent, Reason> {
        may_hop(arrival)?;
        let header = arrival.packet.header;
        hop(&mut packet, header.version);
        if let Some(client) = client {
            replace_end(&mut packet, &arrival.packet, End::Destination, client);
        }
        replace_end(&mut packet, &arrival.packet, End::Source, vip);
        let action = self.action(arrival, back.device)?;
        // A client gets the tags that it sends with.
        let frame = Frame { macs: back.macs, tags: back.tags.clone(), version: header.version, packet };
        let counters = self.state.count(real);
        counters.packets_out += 1;
        counters.bytes_out += header.length as u64;
        Ok(Sent { action, frame, real })
    }
}
