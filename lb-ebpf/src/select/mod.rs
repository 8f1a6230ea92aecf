// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Which real gets the packet: the one that its flow is on, else the one that the scheduler chooses.

mod locality; //    lblc, lblcr
mod persistence; // a client's connections stay together
mod schedule; //    a new connection gets a real
mod slot; //        schedulers that hash

use aya_log_ebpf::debug;
use lb_common::{
    packet::{self, Ip, Parsed},
    protocol,
    reason::Reason,
    schema::{Flow, FlowKey, Load, Method, Real, Scheduler, Service, Source, Tracking, UNSET, WayBack},
    track::{self, State, flags},
    wire::{Be16, MacPair},
};
pub use locality::Look;
use slot::Slot;

use crate::{
    frame::Frame,
    tables::{self, Version},
};

/// Ticks after which a flow's time is written again: writing at each packet would move the entry's cache
/// line between CPUs for nothing.
const REFRESH: u32 = track::ticks_of_seconds(1);

/// A real and its id.
type Chosen = (u32, &'static Real);

/// The real of a client's packet, recorded if it begins a flow that is to be recorded.
#[inline(always)]
pub fn real<A: Version>(frame: &Frame, parsed: &Parsed<A>, service: &Service) -> Result<Chosen, Reason> {
    let mut hashed = None;
    if service.tracking != Tracking::Full as u32 {
        let slot = Slot::of(service, &parsed.flow)?;
        let untracked = !slot.is_moved() || service.tracking == Tracking::None as u32;
        // The replies of a nat real that services share need the flow's entry.
        if untracked
            && let Some(real) = tables::real(slot.now())
            && !(real.method == Method::Nat as u16 && real.is(Real::SHARED))
        {
            remember_way_back(frame, parsed, real)?;
            if opens(parsed) {
                tables::count_flow(slot.now());
            }
            return Ok((slot.now(), real));
        }
        hashed = Some(slot);
    }
    if service.is(Service::ONE_PACKET) && parsed.flow.protocol as u8 == protocol::UDP {
        return one_packet(frame, parsed, service);
    }
    tracked(frame, parsed, service, hashed)
}

/// Whether the packet opens a TCP connection.
#[inline(always)]
const fn opens<A>(parsed: &Parsed<A>) -> bool {
    parsed.tcp_flags & (flags::SYN | flags::ACK) == flags::SYN
}

/// The real of a datagram that is scheduled by itself. Only `nat` writes it down, for the reply's way back.
#[inline(always)]
fn one_packet<A: Version>(frame: &Frame, parsed: &Parsed<A>, service: &Service) -> Result<Chosen, Reason> {
    let id = schedule::choose(service, &parsed.flow)?;
    let real = tables::real(id).ok_or(Reason::NoReal)?;
    tables::count_flow(id);
    if real.method == Method::Nat as u16 {
        let flow = Flow {
            real: id,
            seen: tables::now(),
            ifindex: frame.ifindex(),
            to_client: packet::frame_macs(frame)?.swapped(),
            state: State::Udp as u32,
        };
        tables::remember_flow(&parsed.flow, &flow);
        if real.is(Real::SHARED) {
            remember_reply(&parsed.flow, real);
        }
    }
    Ok((id, real))
}

/// The real of a packet whose flow may be written down.
#[inline(always)]
fn tracked<A: Version>(
    frame: &Frame,
    parsed: &Parsed<A>,
    service: &Service,
    slot: Option<Slot>,
) -> Result<Chosen, Reason> {
    let now = tables::now();
    let to_client = packet::frame_macs(frame)?.swapped();
    let protocol = parsed.flow.protocol as u8;
    let known = tables::flow(&parsed.flow);
    if let Some(flow) = known
        && let Some(real) = living(parsed, service, &flow, now)?
    {
        refresh(frame, parsed, &flow, real, to_client, now);
        if slot.is_some() {
            remember_way_back(frame, parsed, real)?;
        }
        if service.persistent != 0 && track::age(flow.seen, now) >= REFRESH {
            persistence::keep(service, &parsed.flow, flow.real, now);
        }
        return Ok((flow.real, real));
    }
    let hashes = Scheduler::hashes(service.scheduler);
    let begins = track::begins(protocol, parsed.tcp_flags, !hashes);
    let (id, record) = choose(parsed, service, slot, begins, now)?;
    let real = tables::real(id).ok_or(Reason::NoReal)?;
    if real.is(Real::RESET) && protocol == protocol::TCP {
        return Err(Reason::RealRemoved);
    }
    let nat = real.method == Method::Nat as u16;
    if slot.is_some() {
        remember_way_back(frame, parsed, real)?;
    }
    // A stray RST is worth nothing to anyone, yet by hash it still reaches the real that may know it.
    if !begins || !(record || nat && real.is(Real::SHARED)) {
        return Ok((id, real));
    }
    let state = State::first(protocol, parsed.tcp_flags);
    let flow = Flow { real: id, seen: now, ifindex: frame.ifindex(), to_client, state: state as u32 };
    if !tables::remember_flow(&parsed.flow, &flow) {
        debug!(frame.ctx(), "the flow table takes no new flow: affinity is lost");
    }
    // What the entry counted for before, if there was one, it does not any more.
    if let Some(old) = known {
        tables::add_load(old.real, load(State::from_number(old.state)).wrapping_neg());
    }
    tables::add_load(id, load(state));
    if real.is(Real::SHARED) {
        remember_reply(&parsed.flow, real);
    }
    if service.persistent != 0 {
        persistence::remember(service, &parsed.flow, id, now);
    }
    // In a moved slot an old flow is written down when it speaks: it did not begin now.
    if slot.is_none() || !track::is_connection(protocol) || parsed.tcp_flags & flags::SYN != 0 {
        tables::count_flow(id);
    }
    Ok((id, real))
}

/// What a flow in that state adds to the load of its real.
#[inline(always)]
const fn load(state: State) -> u64 {
    if state.is_active() { Load::ACTIVE } else { Load::INACTIVE }
}

/// The real of a known flow, if the flow goes on there.
#[inline(always)]
fn living<A>(
    parsed: &Parsed<A>,
    service: &Service,
    flow: &Flow,
    now: u32,
) -> Result<Option<&'static Real>, Reason> {
    let state = State::from_number(flow.state);
    if track::is_over(state, flow.seen, now, parsed.tcp_flags, &tables::timeouts()) {
        return Ok(None);
    }
    let Some(real) = tables::real(flow.real) else { return Ok(None) };
    if real.service != service.id {
        return Ok(None);
    }
    if real.is(Real::LEAVING) {
        // UDP moves at once: nothing would ever tell its sender (kubernetes #76664). So does SCTP, which the new real tells.
        if parsed.flow.protocol as u8 != protocol::TCP || opens(parsed) {
            return Ok(None);
        }
        if real.is(Real::RESET) {
            return Err(Reason::RealRemoved);
        }
    }
    Ok(Some(real))
}

/// The real for a flow that is not known, and whether it must be written down.
#[inline(always)]
fn choose<A: Version>(
    parsed: &Parsed<A>,
    service: &Service,
    hashed: Option<Slot>,
    begins: bool,
    now: u32,
) -> Result<(u32, bool), Reason> {
    let protocol = parsed.flow.protocol as u8;
    if let Some(slot) = hashed {
        let (id, record) = slot.choose(service, protocol, now, opens(parsed));
        if id == UNSET {
            return Err(Reason::NoReal);
        }
        // Only TCP follows its slot's old real when that was removed.
        let moves = protocol != protocol::TCP && tables::real(id).is_some_and(|real| real.is(Real::LEAVING));
        return Ok((if moves { slot.now() } else { id }, record));
    }
    if !begins && !Scheduler::hashes(service.scheduler) {
        return Err(Reason::NoFlow);
    }
    if service.persistent != 0
        && let Some(id) = persistence::real(service, &parsed.flow, now)
    {
        return Ok((id, true));
    }
    Ok((schedule::choose(service, &parsed.flow)?, true))
}

/// The real of a flow that an ICMP error speaks of: nothing is recorded.
#[inline(always)]
pub fn peek<A: Version>(service: &Service, key: &FlowKey<A>) -> Result<Chosen, Reason> {
    if let Some(flow) = tables::flow(key)
        && let Some(real) = tables::real(flow.real)
        && real.service == service.id
    {
        return Ok((flow.real, real));
    }
    if !Scheduler::hashes(service.scheduler) {
        return Err(Reason::IcmpUnknownFlow);
    }
    let slot = Slot::of(service, key).map_err(|_| Reason::IcmpUnknownFlow)?;
    let (id, _) = slot.choose(service, key.protocol as u8, tables::now(), false);
    Ok((id, tables::real(id).ok_or(Reason::IcmpUnknownFlow)?))
}

/// Writes down what changed about a known flow.
#[inline(always)]
fn refresh<A: Version>(
    frame: &Frame,
    parsed: &Parsed<A>,
    flow: &Flow,
    real: &Real,
    to_client: MacPair,
    now: u32,
) {
    if real.is(Real::SHARED) {
        remember_reply(&parsed.flow, real);
    }
    let state = State::from_number(flow.state).next(parsed.tcp_flags) as u32;
    let moved = flow.to_client != to_client || flow.ifindex != frame.ifindex();
    if state == flow.state && !moved && track::age(flow.seen, now) < REFRESH {
        return;
    }
    let new = Flow { seen: now, ifindex: frame.ifindex(), to_client, state, ..*flow };
    tables::update_flow(&parsed.flow, &new);
    count_state(flow, state);
}

/// Counts a flow's change of state at its real.
#[inline(always)]
pub fn count_state(flow: &Flow, state: u32) {
    let (old, new) = (load(State::from_number(flow.state)), load(State::from_number(state)));
    if old != new {
        tables::add_load(flow.real, new.wrapping_sub(old));
    }
}

/// Records how replies of a nat real get back to the client, which they need where flows are not written down.
#[inline(always)]
fn remember_way_back<A: Version>(frame: &Frame, parsed: &Parsed<A>, real: &Real) -> Result<(), Reason> {
    if real.method != Method::Nat as u16 || real.is(Real::SHARED) {
        return Ok(());
    }
    let way = WayBack { ifindex: frame.ifindex(), to_client: packet::frame_macs(frame)?.swapped() };
    if tables::way_back(parsed.flow.source) != Some(way) {
        tables::remember_way_back(parsed.flow.source, &way);
    }
    if opens(parsed) {
        tables::forget_direct(&reply_to(&parsed.flow, real));
    }
    Ok(())
}

/// The reply to a request, as a nat real sends it.
#[inline(always)]
fn reply_to<A: Ip>(request: &FlowKey<A>, real: &Real) -> FlowKey<A> {
    let port = if real.port == Be16::ZERO { request.destination_port } else { real.port };
    FlowKey::new(A::narrow(real.address), request.source, port, request.source_port, request.protocol as u8)
}

/// Records which service the replies of a flow to a shared nat real belong to, unless that is known: a flow
/// may be older than the sharing, and its entry may have been evicted.
#[inline(always)]
fn remember_reply<A: Version>(request: &FlowKey<A>, real: &Real) {
    if Method::from_number(real.method) != Some(Method::Nat) {
        return;
    }
    let key = reply_to(request, real);
    let (vip, port) = (request.destination, request.destination_port);
    let source = Source { vip, port, flags: Source::SHARED, real: 0, service: 0 };
    if tables::reply(&key) != Some(source) {
        tables::remember_reply(&key, &source);
    }
}
