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
    flow_table::{Seen, Value},
    ids::RealId,
    packet::{Parsed, tcp_flags},
    protocol,
    reason::Reason,
    schema::{FlowKey, Method, Real, Scheduler, Service, SnatBinding, Tracking},
    ticks::Ticks,
};
use pick::{Picked, pick};
use slot::Slot;

use crate::{
    frame::{Frame, opaque},
    tables::{self, IpFamily},
};

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

/// Returns the real of a packet whose flow may be tracked, and the SNAT address and port of a `fnat` flow.
#[inline(always)]
fn tracked<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    service: &Service,
    slot: Slot,
) -> Result<Chosen, Reason> {
    // The verifier walks through what follows once, not once for each origin of the id.
    let mut id = real_of_flow(frame, parsed, service, slot)?.0 as usize;
    opaque(&mut id);
    let id = RealId(id as u32);
    let real = tables::real(id).ok_or(Reason::NoReal)?;
    if real.method != Method::Fnat as u16 {
        return Ok(Chosen::new(id, real));
    }
    // Another CPU begins the flow on another real, and has replaced the lease.
    let snat = snat::of(&parsed.flow, id).ok_or(Reason::FlowContended)?;
    Ok(Chosen { id, real, snat })
}

/// Returns whether the scheduler finds the real of a connection whose begin is unknown.
#[inline(always)]
fn places_unknown(service: &Service) -> bool {
    Scheduler::hashes(service.scheduler) && !tables::is_beside_ipvs()
}

/// Returns the id of the real of a packet whose flow may be tracked.
#[inline(always)]
fn real_of_flow<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    service: &Service,
    slot: Slot,
) -> Result<RealId, Reason> {
    let mut known = Value::NONE;
    if !is_one_packet(parsed, service)
        && let Some(value) = tables::flow(&parsed.flow, service)
    {
        known = value;
        let now = Seen::of(tables::now());
        if let Some(real) = living(parsed, service, value, now)? {
            if real.is(Real::SHARED) {
                return_path::remember_reply(&parsed.flow, value.real());
            }
            if renew::is_due(parsed, real, value, now) {
                let _ = renew::renew(frame, parsed, service, value.0);
            }
            if slot.is_some() {
                let _ = return_path::learn(frame, parsed, value.real());
            }
            return Ok(value.real());
        }
    }
    let picked = pick(parsed, service, slot)?;
    if picked.moved || picked.one_packet {
        let _ = return_path::learn(frame, parsed, picked.id);
    }
    if picked.record {
        return record(frame, parsed, service, known, picked);
    }
    if picked.one_packet {
        tables::count_flow(picked.id);
    }
    Ok(picked.id)
}

/// Adds all entries of a new tracked flow, and returns the id of its real: that of `picked`, unless another CPU has begun
/// the flow at the same time.
#[inline(always)]
fn record<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    service: &Service,
    known: Value,
    picked: Picked,
) -> Result<RealId, Reason> {
    let real = tables::real(picked.id).ok_or(Reason::NoReal)?;
    if real.method == Method::Fnat as u16 {
        if !real.reachable() {
            // The DIP towards an unreachable real is unknown too.
            return Err(Reason::NextHopUnknown);
        }
        if snat::allocate(&parsed.flow, picked.id).is_none() {
            return Err(Reason::PortsExhausted);
        }
    }
    let id = match begin::begin(frame, parsed, picked, known) {
        Ok(id) => id,
        // The packet alone determines the real: only a pool change breaks a flow that has no entry.
        Err(Reason::FlowTableFull) if Scheduler::hashes(service.scheduler) && !real.is(Real::NEEDS_FLOW) => {
            picked.id
        }
        Err(reason) => return Err(reason),
    };
    if real.is(Real::SHARED) {
        return_path::remember_reply(&parsed.flow, id);
    }
    if service.persistent != Ticks::ZERO {
        persistence::remember(service, &parsed.flow, id);
    }
    Ok(id)
}

/// Returns whether the packet is a datagram under one-packet scheduling.
#[inline(always)]
const fn is_one_packet<A>(parsed: &Parsed<A>, service: &Service) -> bool {
    service.is(Service::ONE_PACKET) && parsed.flow.protocol as u8 == protocol::UDP
}

/// Returns the real of a known flow, if the flow continues there.
#[inline(always)]
fn living<A: IpFamily>(
    parsed: &Parsed<A>,
    service: &Service,
    value: Value,
    now: Seen,
) -> Result<Option<&'static Real>, Reason> {
    let Some(limits) = tables::flow_limits() else { return Ok(None) };
    if value.is_over(limits, now, parsed.tcp_flags) {
        return Ok(None);
    }
    let Some(real) = tables::real(value.real()) else {
        let is_cut = value.real().is(RealId::CUT) && !opens(parsed);
        return if is_cut { Err(Reason::RealRemoved) } else { Ok(None) };
    };
    if real.service != service.id {
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
    // There is no lease if the real had another method when the flow began.
    if real.method == Method::Fnat as u16 && snat::of(&parsed.flow, value.real()).is_none() {
        return Ok(None);
    }
    Ok(Some(real))
}

/// Returns the real of the flow that an ICMP error quotes. Records nothing.
#[inline(always)]
pub fn peek<A: IpFamily>(service: &Service, key: &FlowKey<A>) -> Result<Chosen, Reason> {
    if let Some(value) = tables::flow(key, service)
        && let Some(real) = tables::real(value.real())
        && real.service == service.id
    {
        let id = value.real();
        if real.method != Method::Fnat as u16 {
            return Ok(Chosen::new(id, real));
        }
        let snat = snat::of(key, id).ok_or(Reason::IcmpUnknownFlow)?;
        return Ok(Chosen { id, real, snat });
    }
    if !places_unknown(service) {
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
