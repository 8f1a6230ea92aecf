// SPDX-License-Identifier: MIT OR Apache-2.0
//! ICMP: pings, and errors about flows, which go where the flow goes.

use std::net::SocketAddr;

use lb_common::reason::Reason;

use super::{
    Model, Tuple, Version,
    director::{Arrival, Sent, Stop},
    forward::may_hop,
    parse::{self, Part},
    reply::Answered,
    select::Chosen,
    translate::{End, replace_quoted_end},
    world::{Method, Service},
};

/// The kind of an ICMP message.
enum Kind {
    /// An error, which quotes a packet.
    Error,
    Ping,
    /// A message about the link, which does for IPv6 what ARP does for IPv4.
    Link,
    Other,
}

/// Returns the kind of a message by its type: RFC 792; RFC 4443, and for the link RFC 4861, RFC 2710, RFC
/// 3810.
fn kind(version: Version, number: u8) -> Kind {
    match (version, number) {
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        (Version::V4, 3 | 4 | 5 | 11 | 12) | (Version::V6, ..128) => Kind::Error,
        (Version::V4, 8) | (Version::V6, 128) => Kind::Ping,
        (Version::V6, 130..=137 | 143) => Kind::Link,
        _ => Kind::Other,
    }
}

impl Model {
    /// Handles an ICMP message.
    pub fn icmp(&mut self, arrival: &Arrival) -> Result<Sent, Stop> {
        let header = &arrival.packet.header;
        let to_vip = self.world.is_vip(header.destination);
        let kind = kind(header.version, arrival.frame.packet[header.transport]);
        match (kind, header.part) {
            (Kind::Link, _) => Err(Reason::NotOurs.into()),
            (Kind::Error, Part::Whole) if to_vip => self.error_about_a_reply(arrival),
            (Kind::Error, Part::Whole) => self.error_about_a_request(arrival),
            _ if !to_vip => Err(Reason::NotOurs.into()),
            (Kind::Ping, _) if !self.world.answers_pings(header.destination) => {
                Err(Reason::IcmpEchoSilent.into())
            }
            (Kind::Ping, _) => Err(Reason::IcmpEcho.into()),
            _ => Err(Reason::IcmpOther.into()),
        }
    }

    /// Sends an error about a real's packet to a client, which arrives at a VIP, to the real.
    fn error_about_a_reply(&mut self, arrival: &Arrival) -> Result<Sent, Stop> {
        let mut packet = arrival.frame.packet.clone();
        let quote = parse::quote(&packet, &arrival.packet).ok_or(Reason::IcmpUnknownFlow)?;
        let request = quote.tuple.reversed();
        if request.destination.ip() != arrival.packet.header.destination {
            return Err(Reason::IcmpUnknownFlow.into());
        }
        let service = self.world.service(&request).cloned().ok_or(Reason::IcmpUnknownFlow)?;
        let chosen = self.peek(&request, &service);
        let Chosen { real: id, dip } = chosen.ok_or(Stop::at(service.id, Reason::IcmpUnknownFlow))?;
        let real = &self.world.reals[&id];
        // What the client sees as the service's is, at the real, its own.
        if matches!(real.method, Method::Nat | Method::Fnat) {
            replace_quoted_end(&mut packet, &arrival.packet, &quote, End::Source, real.address);
        }
        if real.method == Method::Fnat {
            let director = SocketAddr::new(real.director, dip.unwrap_or(0));
            replace_quoted_end(&mut packet, &arrival.packet, &quote, End::Destination, director);
        }
        self.forward_changed(arrival, packet, id, dip).map_err(|stop| match stop.reason {
            // An error is never answered with an error (RFC 1122, section 3.2.2).
            Reason::TooBig => Stop { reason: Reason::TooBigIcmp, ..stop },
            _ => stop,
        })
    }

    /// Returns the real of the flow that an error quotes. Records nothing.
    fn peek(&self, request: &Tuple, service: &Service) -> Option<Chosen> {
        if let Some(flow) = self.state.flows.get(request)
            && self.world.reals.get(&flow.real).is_some_and(|real| real.service == service.id)
        {
            return Some(Chosen { real: flow.real, dip: flow.dip });
        }
        if !service.hashes() || service.table.is_empty() {
            return None;
        }
        let slot = service.table[service.place(request, self.world.seed)];
        let (id, _) = slot.choose(service, false);
        let real = self.world.reals.get(&id)?;
        (real.method != Method::Fnat).then_some(Chosen { real: id, dip: None })
    }

    /// Sends an error about a client's packet to a `nat` or `fnat` real to the client. Its quote then has the
    /// address of the service.
    fn error_about_a_request(&mut self, arrival: &Arrival) -> Result<Sent, Stop> {
        let mut packet = arrival.frame.packet.clone();
        let quote = parse::quote(&packet, &arrival.packet).ok_or(Reason::NotOurs)?;
        let answered = self.answered_by(&quote.tuple.reversed()).ok_or(Reason::NotOurs)?;
        let header = &arrival.packet.header;
        if header.destination != quote.tuple.source.ip() {
            return Err(Reason::NotOurs.into());
        }
        let Answered { request, real, service, ref back, .. } = answered;
        may_hop(arrival).map_err(|reason| Stop::at(service, reason))?;
        replace_quoted_end(&mut packet, &arrival.packet, &quote, End::Destination, request.destination);
        if let Some(client) = answered.client() {
            replace_quoted_end(&mut packet, &arrival.packet, &quote, End::Source, client);
        }
        // An error from a router on the path to the real keeps its source.
        let by_the_real = header.source == quote.tuple.destination.ip();
        let speaker = if by_the_real { request.destination.ip() } else { header.source };
        let sent =
            self.send_back_changed(arrival, packet, real, (speaker, 0).into(), answered.client(), back);
        sent.map_err(|reason| Stop::at(service, reason))
    }
}
