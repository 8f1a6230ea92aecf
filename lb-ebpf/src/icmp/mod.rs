// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! ICMP: errors about flows follow the flow, and the director itself makes some errors.

mod make;
pub mod quote;

use lb_common::{
    packet::{self, Icmp, Parsed, Part, load},
    reason::Reason,
    schema::{AddressUse, Method},
};
pub use make::answer;

use crate::{
    forward,
    forward::nat::{Change, End},
    frame::Frame,
    reply::{self, Answered},
    request, select,
    tables::{self, IpFamily},
    verdict::Verdict,
};

/// Handles an ICMP message: to a VIP, about the flow of a `nat` or `fnat` real, or not ours.
#[inline(always)]
pub fn handle<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> Result<u32, Verdict> {
    let icmp_type: u8 = load(frame, parsed.l4())?;
    let kind = A::icmp(icmp_type);
    if kind == Icmp::Link {
        return Err(Reason::NotOurs.into());
    }
    let error = kind == Icmp::Error && parsed.part == Part::Whole;
    let used = tables::address_use(parsed.flow.destination);
    match (used.is(AddressUse::VIP), error) {
        (true, true) => to_real(frame, parsed),
        (true, false) if kind == Icmp::Echo && used.is(AddressUse::SILENT) => {
            Err(Reason::IcmpEchoSilent.into())
        }
        (true, false) if kind == Icmp::Echo => Err(Reason::IcmpEcho.into()),
        (true, false) => Err(Reason::IcmpOther.into()),
        (false, true) => to_client(frame, parsed),
        (false, false) => Err(Reason::NotOurs.into()),
    }
}

/// Sends an error about a real's packet to a client, such as "fragmentation needed", to the real.
#[inline(always)]
fn to_real<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> Result<u32, Verdict> {
    let quoted = packet::quoted(frame, parsed)?;
    let key = quoted.flow.reversed();
    if key.destination != parsed.flow.destination {
        return Err(Reason::IcmpUnknownFlow.into());
    }
    let service = request::service(&key).map_err(|_| Reason::IcmpUnknownFlow)?;
    let chosen = select::peek(service, &key).map_err(|reason| Verdict::at(service.id, reason))?;
    let real = chosen.real;
    let verdict = |reason| match reason {
        // An error is never answered with an error (RFC 1122, section 3.2.2).
        Reason::TooBig => Verdict::for_real(real, Reason::TooBigIcmp),
        _ => Verdict::for_real(real, reason),
    };
    let translates = real.method == Method::Nat as u16 || real.method == Method::Fnat as u16;
    if translates && real.reachable() {
        forward::check_ttl::<A>(frame).map_err(verdict)?;
        let source = Change { end: End::Source, address: A::narrow(real.address), port: real.port };
        quote::translate(frame, parsed, &quoted, &source).map_err(|error| verdict(error.into()))?;
    }
    if real.method == Method::Fnat as u16 && real.reachable() {
        let address = tables::snat_address(chosen.snat, real).ok_or(Reason::IcmpUnknownFlow)?;
        let destination = Change { end: End::Destination, address, port: chosen.snat.port };
        quote::translate(frame, parsed, &quoted, &destination).map_err(|error| verdict(error.into()))?;
    }
    forward::send::<A, true>(frame, parsed, &chosen).map_err(verdict)
}

/// Sends an error about a client's packet to a `nat` or `fnat` real to the client. Its quote then has the address of
/// the service.
#[inline(always)]
fn to_client<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> Result<u32, Verdict> {
    let quoted = packet::quoted(frame, parsed).map_err(|_| Reason::NotOurs)?;
    let Answered { mut way, service, .. } = reply::answered_by(&quoted.flow.reversed())?;
    if parsed.flow.destination != quoted.flow.source {
        return Err(Reason::NotOurs.into());
    }
    let [icmp_type, code] = load::<u16>(frame, parsed.l4())?.to_ne_bytes();
    if A::is_unreachable(icmp_type, code) {
        tables::note_sign(way.real);
    }
    let verdict = |reason| Verdict::at(service, reason);
    forward::check_ttl::<A>(frame).map_err(verdict)?;
    let destination = Change { end: End::Destination, address: way.vip, port: way.port };
    quote::translate(frame, parsed, &quoted, &destination).map_err(|error| verdict(error.into()))?;
    if way.client != A::default() {
        let source = Change { end: End::Source, address: way.client, port: way.client_port };
        quote::translate(frame, parsed, &quoted, &source).map_err(|error| verdict(error.into()))?;
    }
    if parsed.flow.source != quoted.flow.destination {
        // The sender is a router on the path to the real: its address stays.
        way.vip = parsed.flow.source;
    }
    reply::send(frame, parsed, &way).map_err(verdict)
}
