// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Later fragments follow the first fragment, which alone has the ports.

use lb_common::{
    packet::{ETHERNET_LEN, Ip, Parsed},
    protocol,
    reason::Reason,
    schema::{AddressUse, Adds, Covered, Dip, FlowKey, Fragment, FragmentKey, WayBack},
    track,
    wire::{MacPair, Tags},
};

use crate::{
    Verdict, forward,
    frame::Frame,
    reply,
    select::Chosen,
    subprograms::Subprograms,
    tables::{self, IpFamily},
};

/// Time for which later fragments of a datagram are accepted, in ticks; the kernel's `ipfrag_time`.
const LIFETIME: u32 = track::ticks_of_seconds(30);

#[inline(always)]
fn key<A: Ip>(parsed: &Parsed<A>) -> FragmentKey<A> {
    let FlowKey { source, destination, protocol, .. } = parsed.flow;
    // An IPv6 later fragment may have the number of the extension header with which the fragmented part begins.
    let protocol = if A::ICMP == protocol::ICMPV6 { 0 } else { protocol };
    FragmentKey { source, destination, id: parsed.id, protocol }
}

/// Returns the number of bytes of the datagram in a fragment, without the extension headers of a first fragment.
#[inline(always)]
const fn bytes<A>(parsed: &Parsed<A>) -> u32 {
    (parsed.length + ETHERNET_LEN as u32).saturating_sub(parsed.l4() as u32)
}

/// Records the real of the later fragments of a client's datagram.
#[inline(always)]
pub fn remember_request<A: IpFamily>(parsed: &Parsed<A>, real: u32, dip: Dip) {
    let fragment = Fragment {
        real,
        seen: tables::now(),
        vip: A::default(),
        ifindex: 0,
        to_client: MacPair::ZERO,
        client: A::default(),
        dip,
        tags: Tags::NONE,
        covered: Covered::first(bytes(parsed)),
    };
    tables::remember_fragment(&key(parsed), &fragment);
}

/// Records the return path of the later fragments of a nat real's datagram.
#[inline(always)]
pub fn remember_reply<A: IpFamily>(parsed: &Parsed<A>, way: &reply::Way<A>) {
    let WayBack { ifindex, to_client, tags } = way.back();
    let fragment = Fragment {
        real: way.real,
        seen: tables::now(),
        vip: way.vip,
        ifindex,
        to_client,
        client: way.client,
        dip: Dip::NONE,
        tags,
        covered: Covered::first(bytes(parsed)),
    };
    tables::remember_fragment(&key(parsed), &fragment);
}

/// Sends a later fragment to the destination of its first fragment.
#[inline(always)]
pub fn later<A: Subprograms>(frame: &Frame, parsed: &Parsed<A>) -> Result<u32, Verdict> {
    if let Some((fragment, covered)) = tables::fragment(&key(parsed))
        && track::age(fragment.seen, tables::now()) <= LIFETIME
        && let Some(real) = tables::real(fragment.real)
    {
        let verdict = |reason| Verdict::for_real(real, reason);
        let start = A::fragment_offset(frame, parsed.l4())?;
        if tables::cover(covered, start.into(), bytes(parsed)) != Adds::New as u32 {
            return Err(verdict(Reason::FragmentOverlap));
        }
        return if fragment.vip == A::default() {
            let chosen = Chosen { id: fragment.real, real, dip: fragment.dip };
            forward::send(frame, parsed, &chosen).map_err(verdict)
        } else {
            reply::send(frame, parsed, &reply::Way::of_fragment(fragment)).map_err(verdict)
        };
    }
    if !tables::address_use(parsed.flow.destination).is(AddressUse::VIP) {
        return Err(Reason::NotOurs.into());
    }
    // The director's own stack reassembles a large ping.
    let ping = parsed.flow.protocol == u32::from(A::ICMP);
    Err(if ping { Reason::IcmpOther } else { Reason::FragmentUnknown }.into())
}
