// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Masquerading: one end of the packet gets another address and port. Full NAT changes both ends.

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

/// The end of a packet that changes.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(u8)]
pub enum End {
    Source = 0,
    Destination = 1,
}

register! {
    End as u32: |end| end as u32, |bits| if bits == End::Source as u32 { End::Source } else { End::Destination };
}

impl End {
    /// Returns the offset of the address in an IP header.
    #[inline(always)]
    pub const fn address<A: Ip>(self) -> usize {
        match self {
            Self::Source => A::SOURCE,
            Self::Destination => A::DESTINATION,
        }
    }

    /// Returns the address and the port of a flow at this end.
    #[inline(always)]
    const fn of<A: Ip>(self, flow: &FlowKey<A>) -> (A, Be16) {
        match self {
            Self::Source => (flow.source, flow.source_port),
            Self::Destination => (flow.destination, flow.destination_port),
        }
    }

    /// Returns the offset of the port in a TCP or UDP header.
    #[inline(always)]
    pub const fn port(self) -> usize {
        match self {
            Self::Source => offset_of!(UdpHdr, src),
            Self::Destination => offset_of!(UdpHdr, dst),
        }
    }
}

/// The new address and port of one end of a packet.
#[derive(Clone, Copy)]
pub struct Change<A> {
    pub end: End,
    pub address: A,
    /// The new port; 0 keeps the port.
    pub port: Be16,
}

impl<A: Ip> Change<A> {
    /// Returns the effect of the change on the checksums of a packet of this flow.
    #[inline(always)]
    fn sums(&self, flow: &FlowKey<A>) -> Sums {
        let (address, port) = self.end.of(flow);
        let header = A::replace(Delta::new(), address, self.address);
        let transport = if self.port == Be16::ZERO { header } else { header.replace16(port.0, self.port.0) };
        Sums { header, transport }
    }
}

/// The effect of a change on the checksums of a packet.
#[derive(Clone, Copy)]
pub struct Sums {
    /// Effect of the address on the checksum of the IP header.
    pub header: Delta,
    /// Effect of the address, which is in the pseudo-header, and of the port on the TCP or UDP checksum.
    pub transport: Delta,
}

/// Replaces the destination of a packet with the RIP and port of the real.
#[inline(always)]
pub fn forward<A: Ip>(frame: &Frame, parsed: &Parsed<A>, real: &Real) -> Result<(), Reason> {
    let change = Change { end: End::Destination, address: A::narrow(real.address), port: real.port };
    translate(frame, parsed, change)?;
    address_frame(frame, real.macs)
}

/// Replaces the address and port of one end of the packet, and decrements the TTL.
///
/// Later fragments and ICMP messages have no ports.
#[inline(always)]
pub fn translate<A: Ip>(frame: &Frame, parsed: &Parsed<A>, change: Change<A>) -> Result<(), Reason> {
    translate_by(frame, parsed, change, change.sums(&parsed.flow))
}

/// Does the work of [`translate`] with precomputed checksum changes.
#[inline(always)]
pub fn translate_by<A: Ip>(
    frame: &Frame,
    parsed: &Parsed<A>,
    change: Change<A>,
    sums: Sums,
) -> Result<(), Reason> {
    write(frame, parsed, change, sums)?;
    A::decrement_ttl(frame, sums.header)
}

/// Replaces the address and port of one end without a hop, and leaves the checksum of the IP header unchanged. Returns
/// the change that must be applied to that checksum.
#[inline(always)]
pub fn translate_end<A: Ip>(frame: &Frame, parsed: &Parsed<A>, change: Change<A>) -> Result<Delta, Reason> {
    let sums = change.sums(&parsed.flow);
    write(frame, parsed, change, sums)?;
    Ok(sums.header)
}

/// Writes the new address, the port and the transport checksum, but not the checksum of the IP header.
#[inline(always)]
fn write<A: Ip>(frame: &Frame, parsed: &Parsed<A>, change: Change<A>, sums: Sums) -> Result<(), Reason> {
    if parsed.part != Part::Later {
        write_transport(frame, parsed, change, sums)?;
    }
    change.address.store(frame, ETHERNET_LEN + change.end.address::<A>())
}

/// Writes the port and the transport checksum. The checksums of TCP, UDP and `ICMPv6` cover the addresses (the
/// pseudo-header); ICMP has no port. The checksum of SCTP covers no address, and SCTP ports never change.
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
