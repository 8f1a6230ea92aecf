// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Selection of the real: the real of the flow table entry, else the choice of the scheduler.

mod begin; //       adds the entry of a new flow
mod locality; //    lblc, lblcr
mod persistence; // keeps a client on one real
mod pick; //        chooses the real of an untracked flow
mod renew; //       updates the entry of a known flow
mod return_path; // return paths of nat replies
mod schedule; //    chooses the real of a new connection
mod slot; //        slots of hashing schedulers
mod snat; //        the SNAT port of a fnat flow
mod walk; //        walks over the reals of a service

use lb_common::{
    ids::RealId,
    packet::{Parsed, tcp_flags},
    protocol,
    reason::Reason,
    schema::{Flow, FlowKey, Load, Method, Real, Scheduler, Service, SnatBinding, Tracking},
    ticks::{Tick, Ticks},
    track::{self, State},
};
use pick::{Picked, pick};
pub use renew::count_state;
use slot::Slot;

use crate::{
    frame::Frame,
    tables::{self, IpFamily},
};

/// Time after which the timestamp of a flow is written again. A write at each packet would move the cache line of the
/// entry between CPUs for nothing.
const REFRESH: Ticks = Ticks::of_seconds(1);

/// The real that was selected for a packet.
#[derive(Clone, Copy)]
pub struct Chosen {
    /// Id of the real.
    pub id: RealId,
    pub real: &'static Real,
    /// For `fnat`: the SNAT address and port that replace the packet's source.
    pub snat: SnatBinding,
}

impl Chosen {
    /// Returns a choice of a real with any method but `fnat`.
    #[inline(always)]
    const fn new(id: RealId, real: &'static Real) -> Self {
        Self { id, real, snat: SnatBinding::NONE }
    }
}

/// Returns the real of a client's packet. Adds a flow table entry if the packet begins a flow that is tracked.
#[inline(always)]
pub fn real<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>, service: &Service) -> Result<Chosen, Reason> {
    let mut hashed = Slot::NONE;
    if service.tracking != Tracking::Full as u32 {
        let slot = Slot::of(service, &parsed.flow)?;
        let untracked = !slot.is_moved() || service.tracking == Tracking::None as u32;
        if untracked
            && let Some(real) = tables::real(slot.current())
            && !real.is(Real::NEEDS_FLOW)
        {
            if real.method == Method::Nat as u16 && !return_path::is_known(frame, parsed)? {
                let _ = return_path::learn(frame, parsed, slot.current());
            }
            if opens(parsed) {
                tables::count_flow(slot.current());
            }
            return Ok(Chosen::new(slot.current(), real));
        }
        hashed = slot;
    }
    tracked(frame, parsed, service, hashed)
}

/// Returns whether the packet opens a TCP connection.
#[inline(always)]
const fn opens<A>(parsed: &Parsed<A>) -> bool {
    parsed.tcp_flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN
}

/// Returns the real of a packet whose flow may be tracked.
#[inline(always)]
fn tracked<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    service: &Service,
    slot: Slot,
) -> Result<Chosen, Reason> {
    // Not an `Option`: LLVM would copy the absent value, which the verifier rejects.
    let mut known = Flow::NONE;
    if !is_one_packet(parsed, service)
        && let Some(flow) = tables::flow(&parsed.flow)
    {
        known = flow;
        let now = tables::now();
        if let Some(real) = living(parsed, service, &known, now)? {
            if real.is(Real::SHARED) {
                return_path::remember_reply(&parsed.flow, known.real);
            }
            if renew::is_due(frame, parsed, &known, now)? {
                let _ = renew::renew(frame, parsed, service, &known);
            }
            if slot.is_some() {
                let _ = return_path::learn(frame, parsed, known.real);
            }
            return Ok(Chosen { id: known.real, real, snat: known.snat });
        }
    }
    let picked = pick(parsed, service, slot)?;
    let real = tables::real(picked.id).ok_or(Reason::NoReal)?;
    if picked.moved || picked.one_packet {
        let _ = return_path::learn(frame, parsed, picked.id);
    }
    let snat =
        if picked.record { record(frame, parsed, service, &known, picked, real)? } else { SnatBinding::NONE };
    if picked.one_packet && !picked.record {
        tables::count_flow(picked.id);
    }
    Ok(Chosen { id: picked.id, real, snat })
}

/// Adds all entries of a new tracked flow. Returns the SNAT address and port of a `fnat` flow.
#[inline(always)]
fn record<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    service: &Service,
    known: &Flow,
    picked: Picked,
    real: &Real,
) -> Result<SnatBinding, Reason> {
    let mut snat = SnatBinding::NONE;
    if real.method == Method::Fnat as u16 {
        if !real.reachable() {
            // The DIP towards an unreachable real is unknown too.
            return Err(Reason::NextHopUnknown);
        }
        snat = snat::allocate(&parsed.flow, picked.id, known.snat, known.real);
        if snat.is_none() {
            return Err(Reason::PortsExhausted);
        }
    }
    let _ = begin::begin(frame, parsed, known, picked, snat);
    if real.is(Real::SHARED) {
        return_path::remember_reply(&parsed.flow, picked.id);
    }
    if service.persistent != Ticks::ZERO && !picked.one_packet {
        persistence::remember(service, &parsed.flow, picked.id);
    }
    Ok(snat)
}

/// Returns whether the packet is a datagram under one-packet scheduling.
#[inline(always)]
const fn is_one_packet<A>(parsed: &Parsed<A>, service: &Service) -> bool {
    service.is(Service::ONE_PACKET) && parsed.flow.protocol as u8 == protocol::UDP
}

/// Returns the share of a flow in this state in the load of its real.
#[inline(always)]
const fn load(state: State) -> u64 {
    if state.is_active() { Load::ACTIVE } else { Load::INACTIVE }
}

/// Returns the real of a known flow, if the flow continues there.
#[inline(always)]
fn living<A>(
    parsed: &Parsed<A>,
    service: &Service,
    flow: &Flow,
    now: Tick,
) -> Result<Option<&'static Real>, Reason> {
    let state = State::from_number(flow.state);
    if track::is_over(state, flow.seen, now, parsed.tcp_flags, &tables::timeouts()) {
        return Ok(None);
    }
    let Some(real) = tables::real(flow.real) else { return Ok(None) };
    if real.service != service.id {
        return Ok(None);
    }
    if real.method == Method::Fnat as u16 && flow.snat.is_none() {
        // The real had another method when the flow began.
        return Ok(None);
    }
    if real.is(Real::LEAVING) {
        // A UDP flow of a removed real moves at once, since nothing would ever inform its sender (kubernetes #76664).
        // An SCTP association moves too: the new real informs the sender.
        if opens(parsed) || parsed.flow.protocol as u8 != protocol::TCP && real.is_removed() {
            return Ok(None);
        }
        if real.is(Real::RESET) {
            return Err(Reason::RealRemoved);
        }
    }
    Ok(Some(real))
}

/// Returns the real of the flow that an ICMP error quotes. Records nothing.
#[inline(always)]
pub fn peek<A: IpFamily>(service: &Service, key: &FlowKey<A>) -> Result<Chosen, Reason> {
    if let Some(flow) = tables::flow(key)
        && let Some(real) = tables::real(flow.real)
        && real.service == service.id
    {
        return Ok(Chosen { id: flow.real, real, snat: flow.snat });
    }
    if !Scheduler::hashes(service.scheduler) {
        return Err(Reason::IcmpUnknownFlow);
    }
    let slot = Slot::of(service, key).map_err(|_| Reason::IcmpUnknownFlow)?;
    let (id, _) = slot.choose(service, key.protocol as u8, tables::now(), false);
    let real = tables::real(id).ok_or(Reason::IcmpUnknownFlow)?;
    if real.method == Method::Fnat as u16 {
        return Err(Reason::IcmpUnknownFlow);
    }
    Ok(Chosen::new(id, real))
}
