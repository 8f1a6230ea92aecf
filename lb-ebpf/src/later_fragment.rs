// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Later fragments follow the first fragment of their datagram, which alone has the ports.

use lb_common::{
    packet::Parsed,
    reason::Reason,
    schema::{Added, AddressUse},
    ticks::Ticks,
};

use crate::{
    first_fragment::{bytes, key},
    forward,
    frame::Frame,
    reply,
    select::Chosen,
    tables::{self, IpFamily},
    verdict::Verdict,
    way::Way,
};

/// Time for which later fragments of a datagram are accepted; the kernel's `ipfrag_time`.
const LIFETIME: Ticks = Ticks::of_seconds(30);

/// Sends a later fragment to the destination of its first fragment.
#[inline(always)]
pub fn handle<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> Result<u32, Verdict> {
    if let Some((fragment, covered)) = tables::fragment(&key(parsed))
        && fragment.seen.age(tables::now()) <= LIFETIME
        && let Some(real) = tables::real(fragment.real)
    {
        let verdict = |reason| Verdict::for_real(real, reason);
        let start = A::fragment_offset(frame, parsed.l4())?;
        if tables::cover(covered, start.into(), bytes(parsed)) != Added::New as u32 {
            return Err(verdict(Reason::FragmentOverlap));
        }
        return if fragment.vip == A::default() {
            let chosen = Chosen { id: fragment.real, real, snat: fragment.snat };
            forward::send::<A, true>(frame, parsed, &chosen).map_err(verdict)
        } else {
            reply::send(frame, parsed, &Way::of_fragment(fragment)).map_err(verdict)
        };
    }
    if !tables::address_use(parsed.flow.destination).is(AddressUse::VIP) {
        return Err(Reason::NotOurs.into());
    }
    // The director's own stack reassembles a large ping.
    let ping = parsed.flow.protocol == u32::from(A::ICMP);
    Err(if ping { Reason::IcmpOther } else { Reason::FragmentUnknown }.into())
}
