// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Masquerading: one end of the packet gets another address and port.

use core::mem::offset_of;

use lb_common::{
    checksum::Delta,
    packet::{ETHERNET_LEN, Ip, Parsed, Part, address_frame, load, offset_of_checksum, store},
    protocol,
    reason::Reason,
    schema::Real,
    wire::Be16,
};
use network_types::{icmp::Icmpv4Hdr, udp::UdpHdr};

use crate::frame::Frame;

/// Which end of a packet changes.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum End {
    Source,
    Destination,
}

impl End {
    /// Offset of the address in an IP header.
    #[inline(always)]
    pub const fn address<A: Ip>(self) -> usize {
        match self {
            Self::Source => A::SOURCE,
            Self::Destination => A::DESTINATION,
        }
    }

    /// Offset of the port in a header of TCP or UDP.
    #[inline(always)]
    pub const fn port(self) -> usize {
        match self {
            Self::Source => offset_of!(UdpHdr, src),
            Self::Destination => offset_of!(UdpHdr, dst),
        }
    }
}

/// Towards the real: the destination becomes RIP and port.
#[inline(always)]
pub fn forward<A: Ip>(frame: &Frame, parsed: &Parsed<A>, real: &Real) -> Result<(), Reason> {
    translate(frame, parsed, End::Destination, A::narrow(real.address), real.port)?;
    address_frame(frame, real.macs)
}

/// Gives one end of the packet another address and, unless it is 0, another port, and takes a hop.
///
/// A later fragment and an ICMP message have no ports.
#[inline(always)]
pub fn translate<A: Ip>(
    frame: &Frame,
    parsed: &Parsed<A>,
    end: End,
    address: A,
    port: Be16,
) -> Result<(), Reason> {
    let offset = ETHERNET_LEN + end.address::<A>();
    let change = A::replace(Delta::new(), A::load(frame, offset)?, address);
    if parsed.part != Part::Later {
        translate_transport(frame, parsed, end, change, port)?;
    }
    address.store(frame, offset)?;
    A::hop(frame, change)
}

/// The port and the checksum of TCP or UDP, which covers the addresses too (the pseudo-header), as that of ICMP does in
/// IPv6. That of SCTP covers no address, and its ports never change.
#[inline(always)]
fn translate_transport<A: Ip>(
    frame: &Frame,
    parsed: &Parsed<A>,
    end: End,
    mut change: Delta,
    port: Be16,
) -> Result<(), Reason> {
    if parsed.flow.protocol == u32::from(A::ICMP) {
        if A::ICMP_COVERS_ADDRESSES {
            let at = parsed.l4() + offset_of!(Icmpv4Hdr, check);
            store(frame, at, change.apply(load(frame, at)?))?;
        }
        return Ok(());
    }
    if parsed.flow.protocol == u32::from(protocol::SCTP) {
        return Ok(());
    }
    if port != Be16::ZERO {
        let at = parsed.l4() + end.port();
        let old: u16 = load(frame, at)?;
        change = change.replace16(old, port.0);
        store(frame, at, port.0)?;
    }
    if parsed.flow.protocol == u32::from(protocol::TCP) {
        let at = parsed.l4() + offset_of_checksum(protocol::TCP);
        store(frame, at, change.apply(load(frame, at)?))
    } else {
        let at = parsed.l4() + offset_of_checksum(protocol::UDP);
        store(frame, at, change.apply_udp(load(frame, at)?))
    }
}
