// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Which real gets the packet: the one that its flow is on, else the one that the scheduler's table names.

use aya_log_ebpf::debug;
use lb_common::{
    packet::{self, Parsed},
    reason::Reason,
    schema::{Choice, Flow, FlowKey, Method, Real, Service, Source, Tracking, UNSET},
    slot::{self, MOVED},
    track::{self, State, flags},
    wire::{Be16, MacPair},
};

use crate::{frame::Frame, tables};

/// Ticks after which a flow's time is written again: writing at each packet would move the entry's cache
/// line between CPUs for nothing.
const REFRESH: u32 = track::ticks_of_seconds(1);

/// A real and its id.
type Chosen = (u32, &'static Real);

/// The real of a client's packet, recorded if it begins a flow that is to be recorded.
#[inline(always)]
pub fn real(frame: &Frame, parsed: &Parsed, service: &Service) -> Result<Chosen, Reason> {
    let mut hashed = None;
    if service.tracking != Tracking::Full as u32 {
        let slot = Slot::of(service, &parsed.flow)?;
        let untracked = !slot.is_moved() || service.tracking == Tracking::None as u32;
        // The replies of a nat real need the way back that the flow's entry has.
        if untracked
            && let Some(real) = tables::real(slot.now())
            && real.method != Method::Nat as u16
        {
            if parsed.tcp_flags & (flags::SYN | flags::ACK) == flags::SYN {
                tables::count_flow(slot.now());
            }
            return Ok((slot.now(), real));
        }
        hashed = Some(slot);
    }
    tracked(frame, parsed, service, hashed)
}

/// The real of a packet whose flow may be written down.
#[inline(always)]
fn tracked(
    frame: &Frame,
    parsed: &Parsed,
    service: &Service,
    hashed: Option<Slot>,
) -> Result<Chosen, Reason> {
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
    let protocol = parsed.flow.protocol as u8;
    let begins = track::begins(protocol, parsed.tcp_flags, rotates(service));
    let (id, record) = match hashed {
        Some(slot) => slot.choose(service, parsed, now)?,
        None if begins || !rotates(service) => (by_table(service, &parsed.flow)?, true),
        None => return Err(Reason::NoFlow),
    };
    let real = existing(id)?;
    // A stray RST is worth nothing to anyone, yet by hash it still reaches the real that may know it.
    if !begins || !(record || real.method == Method::Nat as u16) {
        return Ok((id, real));
    }
    let flow = Flow {
        real: id,
        seen: now,
        ifindex: frame.ifindex(),
        to_client,
        state: State::first(protocol, parsed.tcp_flags) as u32,
    };
    if !tables::remember_flow(&parsed.flow, &flow) {
        debug!(frame.ctx(), "the flow table takes no new flow: affinity is lost");
    }
    if real.shared != 0 {
        remember_reply(&parsed.flow, real);
    }
    // In a moved slot an old flow is written down when it speaks: it did not begin now.
    if hashed.is_none() || protocol != lb_common::protocol::TCP || parsed.tcp_flags & flags::SYN != 0 {
        tables::count_flow(id);
    }
    Ok((id, real))
}

/// The real of a flow that an ICMP error speaks of: nothing is recorded.
#[inline(always)]
pub fn peek(service: &Service, key: &FlowKey) -> Result<Chosen, Reason> {
    if let Some(flow) = tables::flow(key)
        && let Some(real) = tables::real(flow.real)
        && real.service == service.id
    {
        return Ok((flow.real, real));
    }
    if rotates(service) {
        return Err(Reason::IcmpUnknownFlow);
    }
    let slot = Slot::of(service, key).map_err(|_| Reason::IcmpUnknownFlow)?;
    let (id, _) = slot.choose_old(service, key.protocol as u8, tables::now());
    Ok((id, tables::real(id).ok_or(Reason::IcmpUnknownFlow)?))
}

/// A slot of a hashing scheduler's table.
#[derive(Clone, Copy)]
struct Slot {
    index: u32,
    entry: u32,
}

impl Slot {
    #[inline(always)]
    fn of(service: &Service, key: &FlowKey) -> Result<Self, Reason> {
        if service.slots == 0 {
            return Err(Reason::NoReal);
        }
        let index = tables::index_by_hash(key, service.slots);
        let entry = tables::table_entry(service.id, index).ok_or(Reason::NoReal)?;
        Ok(Self { index, entry })
    }

    /// The real that new flows go to.
    #[inline(always)]
    const fn now(self) -> u32 {
        self.entry & !MOVED
    }

    #[inline(always)]
    const fn is_moved(self) -> bool {
        self.entry & MOVED != 0
    }

    /// The real of a flow that is not written down, and whether it must be.
    #[inline(always)]
    fn choose(self, service: &Service, parsed: &Parsed, now: u32) -> Result<(u32, bool), Reason> {
        let opens = parsed.tcp_flags & (flags::SYN | flags::ACK) == flags::SYN;
        let (id, record) = self.resolve(service, parsed.flow.protocol as u8, now, opens);
        if id == UNSET { Err(Reason::NoReal) } else { Ok((id, record)) }
    }

    /// The same for a flow that is there already.
    #[inline(always)]
    fn choose_old(self, service: &Service, protocol: u8, now: u32) -> (u32, bool) {
        self.resolve(service, protocol, now, false)
    }

    #[inline(always)]
    fn resolve(self, service: &Service, protocol: u8, now: u32, opens: bool) -> (u32, bool) {
        if !self.is_moved() || service.tracking != Tracking::Auto as u32 {
            return (self.now(), false);
        }
        let Some(moved) = tables::slot_move(service.id, self.index) else { return (self.now(), false) };
        let timeout = track::longest_timeout(protocol, &tables::settings());
        let choice = slot::choose(self.now(), moved.base, moved.since, now, timeout, opens);
        (choice.real, choice.record)
    }
}

/// Whether the scheduler moves on with each connection, so that the packet alone does not name the real.
#[inline(always)]
fn rotates(service: &Service) -> bool {
    service.choice == Choice::Rotate as u32
}

/// The real that the scheduler's table names for a new flow.
#[inline(always)]
fn by_table(service: &Service, key: &FlowKey) -> Result<u32, Reason> {
    if !rotates(service) {
        return Ok(Slot::of(service, key)?.now());
    }
    if service.slots == 0 {
        return Err(Reason::NoReal);
    }
    let position = tables::next_position(service.id).ok_or(Reason::NoReal)?;
    let index = (position % u64::from(service.slots)) as u32;
    // While a service changes from hashing to rotating, its table may still have marks of moved slots.
    Ok(tables::table_entry(service.id, index).ok_or(Reason::NoReal)? & !MOVED)
}

/// The real of that id.
#[inline(always)]
fn existing(id: u32) -> Result<&'static Real, Reason> {
    if id == UNSET {
        return Err(Reason::NoReal);
    }
    tables::real(id).ok_or(Reason::NoReal)
}

/// Writes down what changed about a known flow.
#[inline(always)]
fn refresh(frame: &Frame, parsed: &Parsed, flow: &Flow, real: &Real, to_client: MacPair, now: u32) {
    if real.shared != 0 {
        remember_reply(&parsed.flow, real);
    }
    let state = State::from_number(flow.state).next(parsed.tcp_flags) as u32;
    let moved = flow.to_client != to_client || flow.ifindex != frame.ifindex();
    if state == flow.state && !moved && track::age(flow.seen, now) < REFRESH {
        return;
    }
    let new = Flow { seen: now, ifindex: frame.ifindex(), to_client, state, ..*flow };
    tables::update_flow(&parsed.flow, &new);
}

/// Records which service the replies of a flow to a shared nat real belong to, unless that is known: a flow
/// may be older than the sharing, and its entry may have been evicted.
#[inline(always)]
fn remember_reply(request: &FlowKey, real: &Real) {
    if Method::from_number(real.method) != Some(Method::Nat) {
        return;
    }
    let port = if real.port == Be16::ZERO { request.destination_port } else { real.port };
    let key = FlowKey::new(real.address, request.source, port, request.source_port, request.protocol as u8);
    let source = Source { vip: request.destination, port: request.destination_port, shared: 1 };
    if tables::reply(&key) != Some(source) {
        tables::remember_reply(&key, &source);
    }
}
