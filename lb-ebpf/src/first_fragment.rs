// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! First fragments: records where a datagram goes, since only its first fragment has the ports.

use lb_common::{
    ids::{IfIndex, RealId},
    packet::{ETHERNET_LEN, Ip, Parsed},
    protocol,
    schema::{Coverage, FlowKey, Fragment, FragmentKey, ReturnPath, SnatBinding},
    wire::{MacPair, Tags},
};

use crate::{
    tables::{self, IpFamily},
    way::Way,
};

/// Returns the key of the datagram that a fragment belongs to.
#[inline(always)]
pub fn key<A: Ip>(parsed: &Parsed<A>) -> FragmentKey<A> {
    let FlowKey { source, destination, protocol, .. } = parsed.flow;
    // An IPv6 later fragment may have the number of the extension header with which the fragmented part begins.
    let protocol = if A::ICMP == protocol::ICMPV6 { 0 } else { protocol };
    FragmentKey { source, destination, id: parsed.id, protocol }
}

/// Returns the number of bytes of the datagram in a fragment, without the extension headers of a first fragment.
#[inline(always)]
pub const fn bytes<A>(parsed: &Parsed<A>) -> u32 {
    (parsed.length + ETHERNET_LEN as u32).saturating_sub(parsed.l4() as u32)
}

out_of_line! {
    /// Records the real of the later fragments of a client's datagram.
    pub fn remember_request [remember_fragment, remember_fragment6](; parsed: &Parsed<A>; real: RealId, snat: SnatBinding) -> () {
        let fragment = Fragment {
            real,
            seen: tables::now(),
            vip: A::default(),
            ifindex: IfIndex::NONE,
            to_client: MacPair::ZERO,
            client: A::default(),
            snat,
            tags: Tags::NONE,
            covered: Coverage::first(bytes(parsed)),
        };
        tables::remember_fragment(&key(parsed), &fragment);
    }
}

/// Records the return path of the later fragments of a nat real's datagram.
#[inline(always)]
pub fn remember_reply<A: IpFamily>(parsed: &Parsed<A>, way: &Way<A>) {
    let ReturnPath { ifindex, to_client, tags } = way.back();
    let fragment = Fragment {
        real: way.real,
        seen: tables::now(),
        vip: way.vip,
        ifindex,
        to_client,
        client: way.client,
        snat: SnatBinding::NONE,
        tags,
        covered: Coverage::first(bytes(parsed)),
    };
    tables::remember_fragment(&key(parsed), &fragment);
}
