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

impl<A: Ip> Change<A> {
    /// What it does to the checksums of such a packet.
    #[inline(always)]
    fn sums(&self, flow: &FlowKey<A>) -> Sums {
        let (address, port) = self.end.of(flow);
        let header = A::replace(Delta::new(), address, self.address);
        let transport = if self.port == Be16::ZERO { header } else { header.replace16(port.0, self.port.0) };
        Sums { header, transport }
    }
}

/// What a change does to the checksums of a packet.
#[derive(Clone, Copy)]
pub struct Sums {
    /// To that of the IP header: by the address.
    pub header: Delta,
    /// To that of TCP or UDP: by the address, which is in the pseudo-header, and the port.
    pub transport: Delta,
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
    translate_by(frame, parsed, change, change.sums(&parsed.flow))
}

/// The same where it is known what that does to checksums.
#[inline(always)]
pub fn translate_by<A: Ip>(
    frame: &Frame,
    parsed: &Parsed<A>,
    change: Change<A>,
    sums: Sums,
) -> Result<(), Reason> {
    write(frame, parsed, change, sums)?;
    A::hop(frame, sums.header)
}

/// The same without a hop, so that the header's checksum is left as it was: what must be applied to it is returned.
#[inline(always)]
pub fn translate_end<A: Ip>(frame: &Frame, parsed: &Parsed<A>, change: Change<A>) -> Result<Delta, Reason> {
    let sums = change.sums(&parsed.flow);
    write(frame, parsed, change, sums)?;
    Ok(sums.header)
}

/// Writes all but the header's checksum.
#[inline(always)]
fn write<A: Ip>(frame: &Frame, parsed: &Parsed<A>, change: Change<A>, sums: Sums) -> Result<(), Reason> {
    if parsed.part != Part::Later {
        write_transport(frame, parsed, change, sums)?;
    }
    change.address.store(frame, ETHERNET_LEN + change.end.address::<A>())
}

/// The port and the checksum of TCP or UDP, which covers the addresses too (the pseudo-header), as that of ICMP does in
/// IPv6. That of SCTP covers no address, and its ports never change.
#[inline(always)]
fn write_transport<A: Ip>(
    frame: &Frame,
    parsed: &Parsed<A>,
    change: Change<A>,
    sums: Sums,
) -> Result<(), Reason> {
    if parsed.flow.protocol == u32::from(A::ICMP) {
        if A::ICMP_COVERS_ADDRESSES {
            let at = parsed.l4() + offset_of!(Icmpv4Hdr, check);
            store(frame, at, sums.header.apply(load(frame, at)?))?;
        }
        return Ok(());
    }
    if parsed.flow.protocol == u32::from(protocol::SCTP) {
        return Ok(());
    }
    if change.port != Be16::ZERO {
        store(frame, parsed.l4() + change.end.port(), change.port.0)?;
    }
    if parsed.flow.protocol == u32::from(protocol::TCP) {
        let at = parsed.l4() + offset_of_checksum(protocol::TCP);
        store(frame, at, sums.transport.apply(load(frame, at)?))
    } else {
        let at = parsed.l4() + offset_of_checksum(protocol::UDP);
        store(frame, at, sums.transport.apply_udp(load(frame, at)?))
    }
}
