// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Later fragments follow their first one, which alone has the ports.

use lb_common::{
    packet::Parsed,
    protocol,
    reason::Reason,
    schema::{AddressUse, Fragment, FragmentKey, WayBack},
    track,
    wire::{Be32, MacPair},
};

use crate::{Stop, forward, frame::Frame, reply, tables};

/// How long a datagram's fragments are waited for, as the kernel has it (`ipfrag_time`).
const LIFETIME: u32 = track::ticks_of_seconds(30);

#[inline(always)]
fn key(parsed: &Parsed) -> FragmentKey {
    FragmentKey::new(parsed.flow.source, parsed.flow.destination, parsed.id, parsed.flow.protocol as u8)
}

/// Records where the later fragments of a client's datagram go.
#[inline(always)]
pub fn remember_request(parsed: &Parsed, real: u32) {
    let fragment =
        Fragment { real, seen: tables::now(), vip: Be32::ZERO, ifindex: 0, to_client: MacPair::ZERO };
    tables::remember_fragment(&key(parsed), &fragment);
}

/// Records where the later fragments of a nat real's datagram go.
#[inline(always)]
pub fn remember_reply(parsed: &Parsed, way: &reply::Way) {
    let WayBack { ifindex, to_client } = way.back();
    let fragment = Fragment { real: way.real, seen: tables::now(), vip: way.vip, ifindex, to_client };
    tables::remember_fragment(&key(parsed), &fragment);
}

/// Sends a later fragment where its first one went.
#[inline(always)]
pub fn later(frame: &Frame, parsed: &Parsed) -> Result<u32, Stop> {
    if let Some(fragment) = tables::fragment(&key(parsed))
        && track::age(fragment.seen, tables::now()) <= LIFETIME
        && let Some(real) = tables::real(fragment.real)
    {
        let stop = |reason| Stop::on_the_way_to(real, reason);
        return if fragment.vip == Be32::ZERO {
            forward::send(frame, parsed, fragment.real, real).map_err(stop)
        } else {
            reply::send(frame, parsed, &reply::Way::of_fragment(&fragment)).map_err(stop)
        };
    }
    if !tables::address_use(parsed.flow.destination).is(AddressUse::VIP) {
        return Err(Reason::NotOurs.into());
    }
    // The director's own stack puts a large ping together.
    let ping = parsed.flow.protocol == u32::from(protocol::ICMP);
    Err(if ping { Reason::IcmpOther } else { Reason::FragmentUnknown }.into())
}
