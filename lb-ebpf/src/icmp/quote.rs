// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Translation of the packet inside an ICMP error, so that the receiver recognises its flow.

use core::mem::offset_of;

use lb_common::{
    checksum::Delta,
    packet::{ETHERNET_LEN, IPV4_LEN, IcmpError, Parsed, load, offset_of_checksum, store},
    protocol,
    wire::Be16,
};
use network_types::{icmp::Icmpv4Hdr, ip::Ipv4Hdr};

use crate::{forward::nat::Change, out_of_line::Truncated};

out_of_line! {
    /// Replaces the address and port of one end of the quoted packet. A port of 0 keeps the port.
    ///
    /// The ICMP checksum covers the quote, so it includes every change. The quoted transport checksum is updated if the
    /// quote contains it: always for UDP, often for TCP. The SCTP checksum covers no address.
    pub fn translate [quoted_end, quoted_end6](frame; outer: &Parsed<A>, quote: &IcmpError<A>, change: &Change<A>;) -> Result<(), Truncated> {
        let Change { end, address, port } = *change;
        let at = quote.l3() + end.address::<A>();
        let addresses = A::replace(Delta::new(), A::load(frame, at)?, address);
        address.store(frame, at)?;

        let (mut icmp, mut transport) = (addresses, addresses);
        if A::HEADER_LEN == IPV4_LEN {
            // Only the IPv4 header has a checksum.
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
        // The frame may be longer than the packet: the padding has no checksum.
        if !sctp
            && at + 2 <= ETHERNET_LEN + outer.length as usize
            && let Ok(old) = load::<u16>(frame, at)
        {
            let new = if tcp { transport.apply(old) } else { transport.apply_udp(old) };
            store(frame, at, new)?;
            icmp = icmp.replace16(old, new);
        }

        let at = outer.l4() + offset_of!(Icmpv4Hdr, check);
        Ok(store(frame, at, icmp.apply(load(frame, at)?))?)
    }
}
