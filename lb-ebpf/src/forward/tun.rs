// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Tunnelling: the packet travels to the real inside another one of either version, by IP in IP, GRE or GUE.

use core::mem::offset_of;

use lb_common::{
    checksum::Delta,
    hash,
    packet::{ETHERNET_LEN, Header, Ip, Parsed, Part, address_frame, store, store_words},
    protocol,
    reason::Reason,
    schema::{Real, Tunnel},
    wire::{Be16, Be32},
};
use network_types::eth::EthHdr;

use crate::{frame::Frame, functions::Functions};

#[inline(always)]
pub fn forward<A: Functions>(frame: &Frame, parsed: &Parsed<A>, id: u32, real: &Real) -> Result<(), Reason> {
    if real.is(Real::IPV6) {
        A::within_ipv6(frame, parsed, id)
    } else {
        within::<A, Be32>(frame, parsed, real)
    }
}

/// The packet of version `A` within one of version `O`.
#[inline(always)]
pub fn within<A: Ip, O: Ip>(frame: &Frame, parsed: &Parsed<A>, real: &Real) -> Result<(), Reason> {
    let growth = O::HEADER_LEN + Tunnel::length(real.tunnel);
    let length = parsed.length as usize + growth;
    if length > real.mtu as usize {
        return Err(if parsed.part == Part::Later { Reason::TooBigFragment } else { Reason::TooBig });
    }
    // 1. Read what must survive, and finish with the inner packet.
    let traffic_class = A::traffic_class(frame)?;
    A::hop(frame, Delta::new())?;
    // 2. Grow. Every offset into the frame is now `growth` further.
    frame.grow(growth)?;
    // 3. Write once.
    address_frame(frame, real.macs)?;
    store(frame, offset_of!(EthHdr, ether_type), O::ETHER_TYPE.0)?;
    let (source, destination) = (O::narrow(real.source), O::narrow(real.address));
    let protocol = if real.tunnel == Tunnel::Gre as u16 {
        store_words::<4, 1>(frame, ETHERNET_LEN + O::HEADER_LEN, [gre::<A>()])?;
        protocol::GRE
    } else if real.tunnel == Tunnel::Gue as u16 {
        let udp = length - O::HEADER_LEN;
        store_words::<12, 3>(frame, ETHERNET_LEN + O::HEADER_LEN, gue(parsed, real.tunnel_port, udp))?;
        protocol::UDP
    } else {
        A::TUNNELLED
    };
    O::write(frame, &Header { length, traffic_class, protocol, source, destination })
}

/// A header that says what is behind it, and nothing else (RFC 2784, section 2.1).
#[inline(always)]
fn gre<A: Ip>() -> u32 {
    let [e0, e1] = A::ETHER_TYPE.0.to_ne_bytes();
    u32::from_ne_bytes([0, 0, e0, e1])
}

/// A UDP header of `length` bytes in all, and a header of generic UDP encapsulation: version 0, data, no options.
///
/// The source port is one of the 16,384 dynamic ones, by the hash of the flow: network cards spread packets over their
/// queues by ports, and one flow stays on one. There is no checksum, as IPVS has it without `--tun-csum` (in IPv6 by RFC
/// 6935): the packet inside has one.
#[inline(always)]
fn gue<A: Ip>(parsed: &Parsed<A>, port: Be16, length: usize) -> [u32; 3] {
    let [s0, s1] = (0xc000 | hash::flow(&parsed.flow, 0) as u16 >> 2).to_be_bytes();
    let [d0, d1] = port.0.to_ne_bytes();
    let [l0, l1] = (length as u16).to_be_bytes();
    [
        u32::from_ne_bytes([s0, s1, d0, d1]),
        u32::from_ne_bytes([l0, l1, 0, 0]),
        u32::from_ne_bytes([0, A::TUNNELLED, 0, 0]),
    ]
}
