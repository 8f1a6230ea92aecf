// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Masquerading: one end of the packet gets another address and port. Full NAT does it to both.

use core::mem::offset_of;

use lb_common::{
    checksum::Delta,
    packet::{ETHERNET_LEN, Ip, Parsed, Part, address_frame, load, offset_of_checksum, store},
    protocol,
    reason::Reason,
    schema::{FlowKey, Real},
    wire::Be16,
};
use network_types::{icmp::Icmpv4Hdr, udp::UdpHdr};

use crate::frame::Frame;

/// Which end of a packet changes.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(u8)]
pub enum End {
    Source = 0,
    Destination = 1,
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

    /// The address and the port that a flow has there.
    #[inline(always)]
    const fn of<A: Ip>(self, flow: &FlowKey<A>) -> (A, Be16) {
        match self {
            Self::Source => (flow.source, flow.source_port),
            Self::Destination => (flow.destination, flow.destination_port),
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

/// What one end of a packet becomes.
#[derive(Clone, Copy)]
pub struct Change<A> {
    pub end: End,
    pub address: A,
    /// 0 leaves it.
    pub port: Be16,
}

/// Towards the real: the destination becomes RIP and port.
#[inline(always)]
pub fn forward<A: Ip>(frame: &Frame, parsed: &Parsed<A>, real: &Real) -> Result<(), Reason> {
    let change = Change { end: End::Destination, address: A::narrow(real.address), port: real.port };
    translate(frame, parsed, change)?;
    address_frame(frame, real.macs)
}

/// Gives one end of the packet another address and port, and takes a hop.
///
/// A later fragment and an ICMP message have no ports.
#[inline(always)]
pub fn translate<A: Ip>(frame: &Frame, parsed: &Parsed<A>, change: Change<A>) -> Result<(), Reason> {
    let delta = translate_end(frame, parsed, change)?;
    A::hop(frame, delta)
}

/// The same without a hop, so that the header's checksum is left as it was: what must be applied to it is returned.
#[inline(always)]
pub fn translate_end<A: Ip>(frame: &Frame, parsed: &Parsed<A>, change: Change<A>) -> Result<Delta, Reason> {
    let delta = A::replace(Delta::new(), change.end.of(&parsed.flow).0, change.address);
    if parsed.part != Part::Later {
        translate_transport(frame, parsed, change, delta)?;
    }
    change.address.store(frame, ETHERNET_LEN + change.end.address::<A>())?;
    Ok(delta)
}

/// The port and the checksum of TCP or UDP, which covers the addresses too (the pseudo-header), as that of ICMP does in
/// IPv6. That of SCTP covers no address, and its ports never change.
#[inline(always)]
fn translate_transport<A: Ip>(
    frame: &Frame,
    parsed: &Parsed<A>,
    change: Change<A>,
    mut delta: Delta,
) -> Result<(), Reason> {
    if parsed.flow.protocol == u32::from(A::ICMP) {
        if A::ICMP_COVERS_ADDRESSES {
            let at = parsed.l4() + offset_of!(Icmpv4Hdr, check);
            store(frame, at, delta.apply(load(frame, at)?))?;
        }
        return Ok(());
    }
    if parsed.flow.protocol == u32::from(protocol::SCTP) {
        return Ok(());
    }
    if change.port != Be16::ZERO {
        delta = delta.replace16(change.end.of(&parsed.flow).1.0, change.port.0);
        store(frame, parsed.l4() + change.end.port(), change.port.0)?;
    }
    if parsed.flow.protocol == u32::from(protocol::TCP) {
        let at = parsed.l4() + offset_of_checksum(protocol::TCP);
        store(frame, at, delta.apply(load(frame, at)?))
    } else {
        let at = parsed.l4() + offset_of_checksum(protocol::UDP);
        store(frame, at, delta.apply_udp(load(frame, at)?))
    }
}
