// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Health probes on the forwarding path.
//!
//! The daemon's prober sends a probe to a VIP, in a network namespace of its own whose only way out is a veth pair.
//! [`forward`] runs at the director's end of the pair: it takes the real from `PROBES`, not from a service, and forwards
//! the packet with the code for clients' packets. A probe has no flow table entry, and no counter includes it.
//!
//! [`give_back`] returns replies, and ICMP errors about probes, to the namespace. It runs only for packets from a VIP or
//! a real that would be left to the director's stack, and for ICMP errors, so that clients' packets cost no more than
//! without probes. A fragment is neither a probe nor a reply: the stack gets fragments of replies, and drops them.

use core::mem::offset_of;

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    ids::ServiceId,
    packet::{self, Icmp, Ip, Parsed, Part, address_frame, load},
    reason::Reason,
    schema::{FlowKey, ProbeReply, Program},
    wire::Be16,
};
use network_types::icmp::Icmpv4Hdr;

use crate::{
    answer::answer,
    forward::{
        self, fnat,
        nat::{Change, End},
    },
    frame::Frame,
    icmp::quote,
    select::Chosen,
    tables::{self, IpFamily},
    verdict::Verdict,
};

/// Offset of the identifier in an ICMP echo message of both IP versions.
const IDENTIFIER: usize = offset_of!(Icmpv4Hdr, data);

/// Sends a probe to its real. Answers a probe that is too big for the path, and drops every other packet.
#[inline(always)]
pub fn forward<A: IpFamily>(frame: &Frame) -> u32 {
    let Ok(parsed) = packet::parse_any::<A>(frame) else { return xdp_action::XDP_DROP };
    match to_real(frame, &parsed) {
        Ok(action) => action,
        Err(verdict) if matches!(verdict.reason, Reason::TooBig | Reason::TtlExceeded) => {
            answer(frame, &parsed, verdict)
        }
        Err(_) => xdp_action::XDP_DROP,
    }
}

#[inline(always)]
fn to_real<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> Result<u32, Verdict> {
    let key = key(frame, parsed, End::Source)?;
    let probe = tables::probe(&key).ok_or(Reason::NotOurs)?;
    if probe.real.is_none() {
        return Ok(there_and_back(frame, parsed, &key)?);
    }
    let real = tables::real(probe.real).ok_or(Reason::NoReal)?;
    let chosen = Chosen { id: probe.real, real, snat: probe.snat };
    forward::send::<A, false>(frame, parsed, &chosen)
        // No service counts the packet.
        .map_err(|reason| Verdict { service: ServiceId::NONE, ..Verdict::for_real(real, reason) })
}

/// Returns a datagram of the prober to itself, its canary, by the maps and the redirect that replies of reals take. It
/// shows whether the link, this program and its maps work, whatever becomes of the reals.
#[inline(always)]
fn there_and_back<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>, key: &FlowKey) -> Result<u32, Reason> {
    let reply = tables::probe_reply(&key.reversed()).ok_or(Reason::NotOurs)?;
    change(frame, parsed, End::Source, reply)?;
    change(frame, parsed, End::Destination, reply)?;
    leave(frame, reply)
}

/// Returns the key of a whole packet in `PROBES` or `PROBE_REPLIES`. `prober` is the end of the packet at which the
/// identifier of an ICMP echo message takes the place of a port.
#[inline(always)]
fn key<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>, prober: End) -> Result<FlowKey, Reason> {
    if parsed.part != Part::Whole {
        return Err(Reason::NotOurs);
    }
    let mut key = wide(&parsed.flow);
    if parsed.flow.protocol == u32::from(A::ICMP) {
        let identifier = Be16(load(frame, parsed.l4() + IDENTIFIER)?);
        match prober {
            End::Source => key.source_port = identifier,
            End::Destination => key.destination_port = identifier,
        }
    }
    Ok(key)
}

/// Returns a 5-tuple with addresses of 128 bits.
#[inline(always)]
fn wide<A: Ip>(flow: &FlowKey<A>) -> FlowKey {
    FlowKey::new(
        flow.source.wide(),
        flow.destination.wide(),
        flow.source_port,
        flow.destination_port,
        flow.protocol as u8,
    )
}

/// Continues in the program that runs [`give_back`], if a packet that would be left to the stack may be a reply to a
/// probe, or an ICMP error. Returns `action` if not.
#[inline(always)]
pub fn try_give_back<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>, action: u32) -> u32 {
    if action == xdp_action::XDP_PASS && may_be_about_probe(frame, parsed) {
        tables::tail_call(frame.ctx(), Program::ProbeReply);
    }
    action
}

#[inline(always)]
fn may_be_about_probe<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> bool {
    if parsed.flow.protocol == u32::from(A::ICMP) {
        // `parse` has checked that a whole packet has the header.
        let Ok(icmp_type) = load::<u8>(frame, parsed.l4()) else { return false };
        match A::icmp(icmp_type) {
            Icmp::Error => return true,
            Icmp::Echo | Icmp::Link => return false,
            Icmp::Other => {}
        }
    }
    tables::may_be_used(parsed.flow.source)
}

/// Sends a reply to a probe, or an ICMP error about a probe, to the prober. Passes every other packet, whose reason the
/// program before has counted. Drops a packet that is incomplete when a part of it is rewritten already.
#[inline(always)]
pub fn give_back<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> u32 {
    match to_prober(frame, parsed) {
        Ok(action) => action,
        Err(Reason::NotOurs) => xdp_action::XDP_PASS,
        Err(_) => xdp_action::XDP_DROP,
    }
}

#[inline(always)]
fn to_prober<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> Result<u32, Reason> {
    if parsed.part != Part::Whole {
        return Err(Reason::NotOurs);
    }
    if parsed.flow.protocol == u32::from(A::ICMP) {
        let icmp_type: u8 = load(frame, parsed.l4()).map_err(|_| Reason::NotOurs)?;
        if A::icmp(icmp_type) == Icmp::Error {
            return error_to_prober(frame, parsed);
        }
    }
    let key = key(frame, parsed, End::Destination).map_err(|_| Reason::NotOurs)?;
    let reply = tables::probe_reply(&key).ok_or(Reason::NotOurs)?;
    change(frame, parsed, End::Source, reply)?;
    change(frame, parsed, End::Destination, reply)?;
    leave(frame, reply)
}

/// Sends an ICMP error to the prober whose probe the error quotes.
#[inline(always)]
fn error_to_prober<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> Result<u32, Reason> {
    let quoted = packet::quoted(frame, parsed).map_err(|_| Reason::NotOurs)?;
    let reply = tables::probe_reply(&wide(&quoted.flow.reversed())).ok_or(Reason::NotOurs)?;
    let (vip, port) = (A::narrow(reply.source), reply.source_port);
    quote::translate(frame, parsed, &quoted, &Change { end: End::Destination, address: vip, port })?;
    let (prober, port) = (A::narrow(reply.destination), reply.destination_port);
    quote::translate(frame, parsed, &quoted, &Change { end: End::Source, address: prober, port })?;
    // The address of a router on the path to the real stays.
    if parsed.flow.source == quoted.flow.destination {
        change(frame, parsed, End::Source, reply)?;
    }
    change(frame, parsed, End::Destination, reply)?;
    leave(frame, reply)
}

/// Gives one end of a packet the address and port that the prober expects. Packets of `dr` and `tun` reals have them
/// already.
#[inline(always)]
fn change<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    end: End,
    reply: &ProbeReply,
) -> Result<(), Reason> {
    let (old, address, port) = match end {
        End::Source => (parsed.flow.source, reply.source, reply.source_port),
        End::Destination => (parsed.flow.destination, reply.destination, reply.destination_port),
    };
    let address = A::narrow(address);
    let has_ports = parsed.flow.protocol != u32::from(A::ICMP);
    let old_port = match end {
        End::Source => parsed.flow.source_port,
        End::Destination => parsed.flow.destination_port,
    };
    if old == address && (!has_ports || old_port == port) {
        return Ok(());
    }
    Ok(fnat::change_end(frame, parsed, &address, end, port)?)
}

/// Sends the frame to the prober's end of the veth pair.
#[inline(always)]
fn leave(frame: &Frame, reply: &ProbeReply) -> Result<u32, Reason> {
    address_frame(frame, reply.to_prober)?;
    forward::transmit(frame, reply.ifindex)
}
