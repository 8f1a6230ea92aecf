// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Translating the packet inside an ICMP error, so that its receiver recognises it.

use core::mem::offset_of;

use lb_common::{
    checksum::Delta,
    packet::{ETHERNET_LEN, IPV4_LEN, IcmpError, Ip, Parsed, load, offset_of_checksum, store},
    protocol,
    reason::Reason,
    wire::Be16,
};
use network_types::{icmp::Icmpv4Hdr, ip::Ipv4Hdr};

use crate::{forward::nat::Change, frame::Frame};

/// Gives one end of the quoted packet another address and, unless it is 0, another port.
///
/// The checksum of ICMP covers the quote, so every change counts there too. The quoted transport checksum
/// is kept right where the quote reaches that far: always for UDP, often for TCP. That of SCTP covers no address.
#[inline(always)]
pub fn translate<A: Ip>(
    frame: &Frame,
    outer: &Parsed<A>,
    quote: &IcmpError<A>,
    change: &Change<A>,
) -> Result<(), Reason> {
    let Change { end, address, port } = *change;
    let at = quote.l3() + end.address::<A>();
    let addresses = A::replace(Delta::new(), A::load(frame, at)?, address);
    address.store(frame, at)?;

    let (mut icmp, mut transport) = (addresses, addresses);
    if A::HEADER_LEN == IPV4_LEN {
        // Only IPv4's header has a checksum of its own.
        let at = quote.l3() + offset_of!(Ipv4Hdr, check);
        let old: u16 = load(frame, at)?;
        let new = addresses.apply(old);
        store(frame, at, new)?;
        icmp = icmp.replace16(old, new);
    }

    if port != Be16::ZERO {
        let at = quote.l4() + end.port();
        let old: u16 = load(frame, at)?;
        transport = transport.replace16(old, port.0);
        icmp = icmp.replace16(old, port.0);
        store(frame, at, port.0)?;
    }

    let tcp = quote.flow.protocol == u32::from(protocol::TCP);
    let sctp = quote.flow.protocol == u32::from(protocol::SCTP);
    let at = quote.l4() + offset_of_checksum(if tcp { protocol::TCP } else { protocol::UDP });
    // The frame may be longer than the packet: padding is no checksum.
    if !sctp
        && at + 2 <= ETHERNET_LEN + outer.length as usize
        && let Ok(old) = load::<u16>(frame, at)
    {
        let new = if tcp { transport.apply(old) } else { transport.apply_udp(old) };
        store(frame, at, new)?;
        icmp = icmp.replace16(old, new);
    }

    let at = outer.l4() + offset_of!(Icmpv4Hdr, check);
    store(frame, at, icmp.apply(load(frame, at)?))
}
