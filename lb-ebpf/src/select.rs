// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Which real gets the packet: the one that its flow is on, else the one that the scheduler's table names.

use aya_log_ebpf::debug;
use lb_common::{
    packet::{self, Parsed},
    reason::Reason,
    schema::{Choice, Flow, FlowKey, Method, Real, Service, Source, UNSET},
    track::{self, State},
    wire::{Be16, MacPair},
};

use crate::{frame::Frame, tables};

/// Ticks after which a flow's time is written again: writing at each packet would move the entry's cache
/// line between CPUs for nothing.
const REFRESH: u32 = track::ticks_of_seconds(1);

/// The real of a client's packet, recorded if it begins a flow.
#[inline(always)]
pub fn real(frame: &Frame, parsed: &Parsed, service: &Service) -> Result<(u32, &'static Real), Reason> {
    let now = tables::now();
    let to_client = packet::frame_macs(frame)?.swapped();
    if let Some(flow) = tables::flow(&parsed.flow)
        && !track::is_over(
            State::from_number(flow.state),
            flow.seen,
            now,
            parsed.tcp_flags,
            &tables::settings(),
        )
        && let Some(real) = tables::real(flow.real)
        && real.service == service.id
    {
        refresh(frame, parsed, &flow, real, to_client, now);
        return Ok((flow.real, real));
    }
    if !track::begins(parsed.flow.protocol as u8, parsed.tcp_flags, rotates(service)) {
        // A stray RST is worth nothing to anyone, yet by hash it still reaches the real that may know it.
        return if rotates(service) { Err(Reason::NoFlow) } else { by_table(service, &parsed.flow) };
    }
    let (id, real) = by_table(service, &parsed.flow)?;
    let flow = Flow {
        real: id,
        seen: now,
        ifindex: frame.ifindex(),
        to_client,
        state: State::first(parsed.flow.protocol as u8, parsed.tcp_flags) as u32,
    };
    if !tables::remember_flow(&parsed.flow, &flow) {
        debug!(frame.ctx(), "the flow table takes no new flow: affinity is lost");
    }
    if real.shared != 0 {
        remember_reply(&parsed.flow, real);
    }
    tables::count_flow(id);
    Ok((id, real))
}

/// The real of a flow that an ICMP error speaks of: nothing is recorded.
#[inline(always)]
pub fn peek(service: &Service, key: &FlowKey) -> Result<(u32, &'static Real), Reason> {
    if let Some(flow) = tables::flow(key)
        && let Some(real) = tables::real(flow.real)
        && real.service == service.id
    {
        return Ok((flow.real, real));
    }
    if rotates(service) {
        return Err(Reason::IcmpUnknownFlow);
    }
    by_table(service, key).map_err(|_| Reason::IcmpUnknownFlow)
}

/// Whether the scheduler moves on with each connection, so that the packet alone does not name the real.
#[inline(always)]
fn rotates(service: &Service) -> bool {
    service.choice == Choice::Rotate as u32
}

/// The real that the scheduler's table names for a new flow.
#[inline(always)]
fn by_table(service: &Service, key: &FlowKey) -> Result<(u32, &'static Real), Reason> {
    if service.slots == 0 {
        return Err(Reason::NoReal);
    }
    let index = if rotates(service) {
        let position = tables::next_position(service.id).ok_or(Reason::NoReal)?;
        (position % u64::from(service.slots)) as u32
    } else {
        tables::index_by_hash(key, service.slots)
    };
    let id = tables::table_entry(service.id, index).ok_or(Reason::NoReal)?;
    if id == UNSET {
        return Err(Reason::NoReal);
    }
    Ok((id, tables::real(id).ok_or(Reason::NoReal)?))
}

/// Writes down what changed about a known flow.
#[inline(always)]
fn refresh(frame: &Frame, parsed: &Parsed, flow: &Flow, real: &Real, to_client: MacPair, now: u32) {
    let state = State::from_number(flow.state).next(parsed.tcp_flags) as u32;
    let moved = flow.to_client != to_client || flow.ifindex != frame.ifindex();
    if state == flow.state && !moved && track::age(flow.seen, now) < REFRESH {
        return;
    }
    let new = Flow { seen: now, ifindex: frame.ifindex(), to_client, state, ..*flow };
    tables::update_flow(&parsed.flow, &new);
    if real.shared != 0 {
        // The reply's entry is as old as the flow's: a flow that lives keeps both.
        remember_reply(&parsed.flow, real);
    }
}

/// Records which service the replies of a flow to a shared nat real belong to.
#[inline(always)]
fn remember_reply(request: &FlowKey, real: &Real) {
    if Method::from_number(real.method) != Some(Method::Nat) {
        return;
    }
    let port = if real.port == Be16::ZERO { request.destination_port } else { real.port };
    let key = FlowKey::new(real.address, request.source, port, request.source_port, request.protocol as u8);
    let source = Source { vip: request.destination, port: request.destination_port, shared: 1 };
    tables::remember_reply(&key, &source);
}
