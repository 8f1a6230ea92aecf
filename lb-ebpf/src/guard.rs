// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The guard: drops packets of services before the director's stack if no XDP program has processed them.
//!
//! The VIPs are addresses of the director, so its stack would reset every connection whose packets it gets: after a
//! detach, while the mode of an interface changes, or after a pin was removed. The guard runs after XDP and before the
//! stack (`tcx` or `clsact`, ingress). Clients send the dropped packets again. The guard passes the packets that the
//! XDP programs leave to the stack on purpose ([`tables::was_left_to_stack`]).

use core::mem::offset_of;

use aya_ebpf::programs::TcContext;
use lb_common::{
    ids::ServiceId,
    packet::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN},
    protocol,
    reason::Reason,
    schema::{AddressUse, FlowKey, SourceKey},
    wire::{Be16, Be32, Be128, Tags},
};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
};

use crate::{
    request,
    tables::{self, IpFamily},
};

/// Continue with the next program and the stack (`TCX_NEXT`, `TC_ACT_UNSPEC`).
const NEXT: i32 = -1;
/// Drop the packet (`TCX_DROP`, `TC_ACT_SHOT`).
const DROP: i32 = 2;

/// Length of a VLAN tag, in bytes. The kernel has already removed the outermost tag.
const TAG: usize = 4;
/// Offset of the `EtherType` in a frame.
const ETHER_TYPE: usize = offset_of!(EthHdr, ether_type);
/// Mask of the fragment offset in the IPv4 header: set bits mean a later fragment. The stack reassembles fragments
/// before it answers, and never gets the first ones.
const LATER: u16 = Be16::new(0x1fff).0;

/// Returns the verdict on a packet on its way to the stack.
#[inline(always)]
pub fn watch(ctx: &TcContext) -> i32 {
    let Ok(mut ether_type) = ctx.load::<u16>(ETHER_TYPE) else { return NEXT };
    let mut l3 = ETHERNET_LEN;
    if Tags::is_tag(Be16(ether_type)) {
        let Ok(inner) = ctx.load::<u16>(ETHER_TYPE + TAG) else { return NEXT };
        (ether_type, l3) = (inner, ETHERNET_LEN + TAG);
    }
    match Be16(ether_type) {
        <Be32 as lb_common::packet::Ip>::ETHER_TYPE => flow4(ctx, l3).map_or(NEXT, |flow| judge(&flow)),
        <Be128 as lb_common::packet::Ip>::ETHER_TYPE => flow6(ctx, l3).map_or(NEXT, |flow| judge(&flow)),
        _ => NEXT,
    }
}

#[inline(always)]
fn flow4(ctx: &TcContext, l3: usize) -> Option<FlowKey<Be32>> {
    let version: u8 = ctx.load(l3).ok()?;
    let fragment: u16 = ctx.load(l3 + offset_of!(Ipv4Hdr, frags)).ok()?;
    if version >> 4 != 4 || fragment & LATER != 0 {
        return None;
    }
    let protocol: u8 = ctx.load(l3 + offset_of!(Ipv4Hdr, proto)).ok()?;
    let source: u32 = ctx.load(l3 + offset_of!(Ipv4Hdr, src_addr)).ok()?;
    let destination: u32 = ctx.load(l3 + offset_of!(Ipv4Hdr, dst_addr)).ok()?;
    let header = usize::from(version & 0xf) << 2;
    let (from, to) = ports(ctx, l3 + header.max(IPV4_LEN), protocol)?;
    Some(FlowKey::new(Be32(source), Be32(destination), from, to, protocol))
}

/// Returns the 5-tuple of an IPv6 packet. Extension headers are not parsed: no client's stack sends one with TCP, and
/// the stack does not answer a fragment.
#[inline(always)]
fn flow6(ctx: &TcContext, l3: usize) -> Option<FlowKey<Be128>> {
    let protocol: u8 = ctx.load(l3 + offset_of!(Ipv6Hdr, next_hdr)).ok()?;
    let source: [u64; 2] = ctx.load(l3 + offset_of!(Ipv6Hdr, src_addr)).ok()?;
    let destination: [u64; 2] = ctx.load(l3 + offset_of!(Ipv6Hdr, dst_addr)).ok()?;
    let (from, to) = ports(ctx, l3 + IPV6_LEN, protocol)?;
    Some(FlowKey::new(Be128(source), Be128(destination), from, to, protocol))
}

#[inline(always)]
fn ports(ctx: &TcContext, l4: usize, protocol: u8) -> Option<(Be16, Be16)> {
    if protocol != protocol::TCP && protocol != protocol::UDP && protocol != protocol::SCTP {
        return None;
    }
    let [source, destination]: [u16; 2] = ctx.load(l4).ok()?;
    Some((Be16(source), Be16(destination)))
}

#[inline(always)]
fn judge<A: IpFamily>(flow: &FlowKey<A>) -> i32 {
    let service = match request::service(flow) {
        Ok(service) => service.id,
        Err(_) if is_reply(flow) => ServiceId::NONE,
        Err(_) => return NEXT,
    };
    if tables::was_left_to_stack(flow) {
        return NEXT;
    }
    tables::count_reason(service, Reason::Guarded);
    DROP
}

/// Returns whether a packet is a reply of a `nat` or `fnat` real. The stack would forward it with the real's own
/// address, or reset the real's end of the connection.
#[inline(always)]
fn is_reply<A: IpFamily>(flow: &FlowKey<A>) -> bool {
    let used = tables::address_use(flow.source);
    if used.is(AddressUse::FNAT_REAL) && tables::translation(flow).is_some() {
        return true;
    }
    let mut key = SourceKey::new(flow.source, flow.source_port, flow.protocol as u8);
    if !used.is(AddressUse::NAT_REAL) {
        return false;
    }
    if tables::is_source(&key) {
        return true;
    }
    key.port = Be16::ZERO;
    tables::is_source(&key)
}
