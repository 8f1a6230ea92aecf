// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Replies of `nat` and `fnat` reals: their source becomes the service again.

use core::mem::offset_of;

use lb_common::{
    checksum::Delta,
    flow_table::{Seen, Value},
    ids::{RealId, ServiceId},
    packet::{Ip, Parsed, Part, TcpHeader, address_frame, load, tcp_flags},
    protocol,
    reason::Reason,
    schema::{AddressUse, CachedSource, FlowKey, Method, Real, ReturnPath, Source, Step},
    ticks::Ticks,
    track,
    wire::{Be16, Be32},
};

use crate::{
    first_fragment,
    forward::{
        self, fnat,
        nat::{self, Change, End, Sums},
    },
    frame::Frame,
    request,
    tables::{self, IpFamily},
    verdict::{Verdict, into_action, let_through},
    vlan,
    way::Way,
};

const SECOND: Ticks = Ticks::of_seconds(1);

/// The service and the flow that a reply belongs to, and its return path.
pub struct Answered<A> {
    /// The return path and the new addresses of the reply.
    pub way: Way<A>,
    /// Id of the service.
    pub service: ServiceId,
    /// The flow table entry, if the lookup was necessary.
    flow: Option<Value>,
}

/// Handles a packet for no service: a reply of a `nat` or `fnat` real, or a packet that is not ours. `to` has the uses
/// of the destination address; `FIRST` is whether the packet may be a first fragment.
#[inline(always)]
pub fn handle<A: IpFamily, const FIRST: bool>(
    frame: &Frame,
    parsed: &Parsed<A>,
    to: AddressUse,
) -> Result<u32, Verdict> {
    if to.is(AddressUse::NAT_REAL) {
        notice_direct(&parsed.flow);
    }
    let Answered { way, service, flow } = answered_by(&parsed.flow)?;
    if let Some(value) = flow {
        keep(parsed, value);
    }
    if FIRST && parsed.part == Part::First {
        first_fragment::remember_reply(parsed, &way);
    }
    send(frame, parsed, &way).map_err(|reason| Verdict::at(service, reason))
}

out_of_line! {
    /// Runs [`handle`] for an IPv4 packet that is no first fragment: the function has no stack left to record the path
    /// of the later ones.
    pub fn handle_ipv4 [reply](frame; parsed: &Parsed<Be32>; used: AddressUse) -> u32 {
        // Until Linux 6.3 a map key could not be in memory that a global function was given. Hence the copy, which LLVM
        // must not remove.
        let copy = *parsed;
        let action = into_action(handle::<_, false>(frame, core::hint::black_box(&copy), used));
        let_through(parsed, action)
    }
}

/// Updates the flow of a reply, which was looked up last. Replies keep a flow alive too, since one-way streams exist, and
/// may end it.
#[inline(always)]
fn keep<A: IpFamily>(parsed: &Parsed<A>, value: Value) {
    if !value.is_steady(parsed.tcp_flags, Seen::of(tables::now())) {
        keep_changed(value.0, parsed.tcp_flags.into());
    }
}

out_of_line! {
    /// Writes the changes of a reply to the flow that was looked up last.
    fn keep_changed [keep_flow](;; value: u64, tcp_flags: u32) -> () {
        let old = Value(value);
        let new = old.after_reply(tcp_flags as u8, Seen::of(tables::now()));
        if new.0 == old.0 {
            return;
        }
        tables::update_flow(old, new);
        if new.load() != old.load() {
            tables::note(Step::CountLoad, new.real().0, 0);
        }
    }
}

/// Records that a client contacts a nat real directly, so that the replies remain unmodified.
#[inline(always)]
fn notice_direct<A: IpFamily>(flow: &FlowKey<A>) {
    let reply = flow.reversed();
    let from = tables::source(reply.source, reply.source_port, reply.protocol as u8);
    if from.and_then(|from| source_of(&reply, from)).is_none_or(|source| !source.is(Source::HASHED)) {
        // Replies of other services are identified by their flow table entry.
        return;
    }
    let now = tables::now();
    if tables::bypass(&reply).is_none_or(|seen| seen.age(now) >= SECOND) {
        tables::remember_bypass(&reply, now);
    }
}

/// Returns whether the client contacted the nat real directly, so that the reply must remain unmodified.
#[inline(always)]
fn is_direct<A: IpFamily>(reply: &FlowKey<A>) -> bool {
    if !tables::may_be_bypassed() {
        return false;
    }
    let Some(seen) = tables::bypass(reply) else { return false };
    seen.age(tables::now()) <= track::longest_timeout(reply.protocol as u8, &tables::timeouts())
}

/// Returns the request that a packet from a nat or fnat real answers. A packet that answers no packet to a VIP is not
/// ours.
#[inline(always)]
pub fn answered_by<A: IpFamily>(reply: &FlowKey<A>) -> Result<Answered<A>, Reason> {
    if !tables::may_be_used(reply.source) {
        return Err(Reason::NotOurs);
    }
    let from =
        tables::source(reply.source, reply.source_port, reply.protocol as u8).ok_or(Reason::NotOurs)?;
    if from.used.is(AddressUse::FNAT_REAL)
        && let Some(request) = tables::translation(reply)
    {
        return translated(reply, request);
    }
    let source = source_of(reply, from).ok_or(Reason::NotOurs)?;
    let request = source.request_of(reply);
    if source.is(Source::HASHED)
        && let Some(back) = tables::return_path(reply.destination)
    {
        tables::note(Step::ReturnPath, back.ifindex.0, 0);
        if is_direct(reply) {
            return Err(Reason::NotOurs);
        }
        let way = Way::of_request(&request, source.real, *back);
        return Ok(Answered { way, service: source.service, flow: None });
    }
    let flow = flow_of(&request)?;
    let (id, real, back) = path_of(&request, flow)?;
    if !sends(real, reply) {
        return Err(Reason::NotOurs);
    }
    let way = Way::of_request(&request, id, *back);
    Ok(Answered { way, service: real.service, flow: Some(flow) })
}

/// Returns the flow table entry of a request.
#[inline(always)]
fn flow_of<A: IpFamily>(request: &FlowKey<A>) -> Result<Value, Reason> {
    let Some(value) = find(request) else {
        tables::note(Step::NoFlow, 0, 0);
        return Err(Reason::NotOurs);
    };
    tables::note(Step::Flow, value.real().0, value.state_number());
    Ok(value)
}

/// Returns the flow table entry of a request without a trace of the step.
#[inline(always)]
fn find<A: IpFamily>(request: &FlowKey<A>) -> Option<Value> {
    if prepare(request) { tables::prepared_flow() } else { None }
}

out_of_line! {
    /// Prepares the lookup of a request's flow, and returns whether the request is for a service.
    fn prepare [prepare_request, prepare_request6](; request: &FlowKey<A>;) -> bool {
        match request::service_of_flow(request) {
            Some(service) => tables::prepare_flow(request, service).is_some(),
            None => false,
        }
    }
}

/// Returns the real of a flow, and the return path of its replies.
#[inline(always)]
fn path_of<A: IpFamily>(
    request: &FlowKey<A>,
    value: Value,
) -> Result<(RealId, &'static Real, &'static ReturnPath), Reason> {
    let real = tables::real(value.real()).ok_or(Reason::NotOurs)?;
    let back = tables::path_of_flow(request.source, value.gateway()).ok_or(Reason::NotOurs)?;
    Ok((value.real(), real, back))
}

/// Sends most replies back: those of reals that belong to one service, if the return path or the flow table entry is
/// known. Returns `None` for other packets. The entry program does nothing else with replies, because its stack is
/// small.
#[inline(always)]
pub fn send_at_once<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> Option<Result<u32, Verdict>> {
    let reply = &parsed.flow;
    let source = tables::source(reply.source, reply.source_port, reply.protocol as u8)?;
    if source.service.is_none() || !source.used.only_replies_by_nat() || parsed.part != Part::Whole {
        return None;
    }
    if source.flags == 0 {
        return send_of_flow(frame, parsed, source);
    }
    if source.flags != Source::HASHED || tables::may_be_bypassed() {
        return None;
    }
    let back = tables::return_path(reply.destination)?;
    tables::note(Step::Source, source.service.0, source.real.0);
    tables::note(Step::ReturnPath, back.ifindex.0, 0);
    let sent = leave_as(frame, parsed, source, source.real, back);
    Some(sent.map_err(|reason| Verdict::at(source.service, reason)))
}

/// Sends back a reply of a service that tracks every flow, if its entry is known.
#[inline(always)]
fn send_of_flow<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    source: &CachedSource<A>,
) -> Option<Result<u32, Verdict>> {
    let request = source.source().request_of(&parsed.flow);
    let value = find(&request)?;
    let (id, real, back) = path_of(&request, value).ok()?;
    if !sends(real, &parsed.flow) {
        return None;
    }
    tables::note(Step::Source, source.service.0, source.real.0);
    tables::note(Step::Flow, id.0, value.state_number());
    keep(parsed, value);
    let sent = leave_as(frame, parsed, source, id, back);
    Some(sent.map_err(|reason| Verdict::at(real.service, reason)))
}

/// Returns whether a packet may come from this `nat` real.
#[inline(always)]
fn sends<A: Ip>(real: &Real, reply: &FlowKey<A>) -> bool {
    let same_port = real.port == reply.source_port || real.port == Be16::ZERO;
    real.address == reply.source.wide() && same_port && real.method == Method::Nat as u16
}

/// Returns the request that a packet to a SNAT address and port answers, if a `fnat` flow still has that port.
#[inline(always)]
fn translated<A: IpFamily>(reply: &FlowKey<A>, request: FlowKey<A>) -> Result<Answered<A>, Reason> {
    let flow = flow_of(&request)?;
    let (id, real, back) = path_of(&request, flow)?;
    // The flow may meanwhile be on another real: then its previous port is released.
    if real.address != reply.source.wide() || real.method != Method::Fnat as u16 {
        return Err(Reason::NotOurs);
    }
    let way = Way::of_request(&request, id, *back).for_client_of(&request);
    Ok(Answered { way, service: real.service, flow: Some(flow) })
}

/// Returns the service that replies from a real's address and port belong to. If several services share the real, the
/// entry of the flow in `REPLIES` takes precedence.
#[inline(always)]
fn source_of<A: IpFamily>(reply: &FlowKey<A>, from: &CachedSource<A>) -> Option<Source<A>> {
    if from.service.is_none() || !from.used.is(AddressUse::NAT_REAL) {
        return None;
    }
    tables::note(Step::Source, from.service.0, from.real.0);
    let source = from.source();
    if source.is(Source::SHARED)
        && let Some(known) = tables::reply(reply)
    {
        return Some(known);
    }
    Some(source)
}

/// Sends a reply back to its client and counts it.
#[inline(always)]
pub fn send<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>, way: &Way<A>) -> Result<u32, Reason> {
    forward::check_ttl::<A>(frame)?;
    if way.client != A::default() {
        // A copy: LLVM would keep the whole path in memory, and copy its absent value, which the verifier rejects.
        let client = way.client;
        tables::sample_client(&client, way.client_port);
        fnat::change_end(frame, parsed, &client, End::Destination, way.client_port)?;
    }
    nat::translate(frame, parsed, Change { end: End::Source, address: way.vip, port: way.port })?;
    leave(frame, parsed, way.real, &way.back())
}

/// Replaces the source of a reply with the address and port of its service, and sends the reply to its client.
#[inline(always)]
fn leave_as<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    source: &CachedSource<A>,
    real: RealId,
    back: &ReturnPath,
) -> Result<u32, Reason> {
    forward::check_ttl::<A>(frame)?;
    let change = Change { end: End::Source, address: source.vip, port: source.port };
    let sums =
        Sums { header: Delta::from_folded(source.of_address), transport: Delta::from_folded(source.of_both) };
    nat::translate_by(frame, parsed, change, sums)?;
    leave(frame, parsed, real, back)
}

/// Sends a reply to its client, and counts it. Takes a reference to the return path, because the stack is small.
#[inline(always)]
fn leave<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    real: RealId,
    back: &ReturnPath,
) -> Result<u32, Reason> {
    if parsed.tcp_flags & tcp_flags::RST != 0 {
        notice_reset(frame, parsed.flow.protocol, parsed.l4() as u32, real);
    }
    address_frame(frame, back.to_client)?;
    vlan::push_tags(frame, back.tags)?;
    let action = forward::transmit(frame, back.ifindex)?;
    tables::count_out(real, parsed.length);
    Ok(action)
}

out_of_line! {
    /// Notes a sign if a reset refuses a connection: the answer to a SYN at a closed port has the sequence number 0
    /// (RFC 9293, section 3.10.7.1), and that of any other reset is 0 by chance only.
    fn notice_reset [notice_reset](frame;; protocol: u32, l4: u32, real: RealId) -> () {
        // The verifier knows no bounds of an argument.
        let l4 = (l4 & 0xfff) as usize;
        if protocol == protocol::TCP.into()
            && load::<u32>(frame, l4 + offset_of!(TcpHeader, sequence)) == Ok(0)
        {
            tables::note_sign(real);
        }
    }
}
