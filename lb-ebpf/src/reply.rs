// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! A nat real's packet on its way back: its source becomes the service again.

use lb_common::{
    packet::{Parsed, Part, address_frame},
    reason::Reason,
    schema::{AddressUse, Flow, FlowKey, Fragment, Method, Source, SourceKey},
    track::{self, State},
    wire::{Be16, Be32, MacPair},
};

use crate::{
    Stop, forward,
    forward::nat::{self, End},
    fragment,
    frame::Frame,
    select, tables,
};

/// Where a reply goes, and as whom.
pub struct Way {
    /// The real that it comes from.
    pub real: u32,
    /// The address that its source becomes.
    pub vip: Be32,
    /// The port that its source becomes; 0 leaves it.
    pub port: Be16,
    ifindex: u32,
    to_client: MacPair,
}

impl Way {
    /// The way of a later fragment.
    #[inline(always)]
    pub fn of_fragment(fragment: &Fragment) -> Self {
        Self {
            real: fragment.real,
            vip: fragment.vip,
            port: Be16::ZERO,
            ifindex: fragment.ifindex,
            to_client: fragment.to_client,
        }
    }

    /// The way back to the client of a flow.
    #[inline(always)]
    pub fn of_flow(flow: &Flow, request: &FlowKey) -> Self {
        Self {
            real: flow.real,
            vip: request.destination,
            port: request.destination_port,
            ifindex: flow.ifindex,
            to_client: flow.to_client,
        }
    }
}

/// A packet for no service: a reply of a nat real, or not ours.
#[inline(always)]
pub fn direct(frame: &Frame, parsed: &Parsed) -> Result<u32, Stop> {
    let (request, flow, service) = request_of(&parsed.flow)?;
    let now = tables::now();
    let state = State::from_number(flow.state).after_reply(parsed.tcp_flags) as u32;
    if state != flow.state {
        tables::update_flow(&request, &Flow { seen: now, state, ..flow });
        select::count_state(&flow, state);
    } else if track::age(flow.seen, now) >= track::ticks_of_seconds(1) {
        // What the real sends keeps the flow alive too: one-way streams exist.
        tables::touch_flow(&request, now);
    }
    if parsed.part == Part::First {
        fragment::remember_reply(parsed, &flow, request.destination);
    }
    send(frame, parsed, &Way::of_flow(&flow, &request)).map_err(|reason| Stop::at(service, reason))
}

/// The request that a packet from a nat real answers, its flow, and its service's id. A packet from a real
/// that is part of no tracked flow was not sent by the VIP: it is not ours.
#[inline(always)]
pub fn request_of(reply: &FlowKey) -> Result<(FlowKey, Flow, u32), Reason> {
    if !tables::address_use(reply.source).is(AddressUse::NAT_REAL) {
        return Err(Reason::NotOurs);
    }
    let source = source_of(reply).ok_or(Reason::NotOurs)?;
    let port = if source.port == Be16::ZERO { reply.source_port } else { source.port };
    let request =
        FlowKey::new(reply.destination, source.vip, reply.destination_port, port, reply.protocol as u8);
    let flow = tables::flow(&request).ok_or(Reason::NotOurs)?;
    let real = tables::real(flow.real).ok_or(Reason::NotOurs)?;
    let same_port = real.port == reply.source_port || real.port == Be16::ZERO;
    if real.address != reply.source || !same_port || real.method != Method::Nat as u16 {
        return Err(Reason::NotOurs);
    }
    Ok((request, flow, real.service))
}

/// Which service a real's address and port belong to: by the port, else by port 0, else by the flow.
#[inline(always)]
fn source_of(reply: &FlowKey) -> Option<Source> {
    let exact = tables::source(&SourceKey::new(reply.source, reply.source_port, reply.protocol as u8));
    let source = match exact {
        Some(source) => source,
        None => tables::source(&SourceKey::new(reply.source, Be16::ZERO, reply.protocol as u8))?,
    };
    if source.shared == 0 { Some(source) } else { tables::reply(reply) }
}

/// Sends a reply back to its client and counts it.
#[inline(always)]
pub fn send(frame: &Frame, parsed: &Parsed, way: &Way) -> Result<u32, Reason> {
    forward::may_hop(frame)?;
    nat::translate(frame, parsed, End::Source, way.vip, way.port)?;
    address_frame(frame, way.to_client)?;
    let action = forward::transmit(frame, way.ifindex)?;
    tables::count_out(way.real, parsed.length);
    Ok(action)
}
