// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Tunnelling: an outer header of either IP version carries the packet to the real, by IP in IP, GRE or GUE.

use core::mem::offset_of;

use lb_common::{
    checksum::{Delta, Sum},
    hash,
    ids::RealId,
    packet::{ETHERNET_LEN, Header, Ip, Parsed, address_frame, store, store_words},
    protocol,
    reason::Reason,
    schema::{Real, Tunnel},
    wire::{Be16, Be32, Be128},
};
use network_types::{eth::EthHdr, udp::UdpHdr};

use super::fits;
use crate::{
    frame::Frame,
    out_of_line::Truncated,
    tables::{self, IpFamily},
};

#[inline(always)]
pub fn forward<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    id: RealId,
    real: &Real,
) -> Result<(), Reason> {
    if real.is(Real::IPV6) {
        match A::as_ipv4(parsed) {
            Some(parsed) => ipv4_within_ipv6(frame, parsed, id)?,
            None => within::<A, Be128>(frame, parsed, real)?,
        }
    } else {
        within::<A, Be32>(frame, parsed, real)?;
    }
    if real.tunnel & Tunnel::CHECKED == 0 {
        return Ok(());
    }
    let length = parsed.length + Tunnel::length(real.tunnel) as u32;
    Ok(write_outer_checksum(frame, real.is(Real::IPV6), real.tunnel.into(), length)?)
}

out_of_line! {
    /// Encapsulates an IPv4 packet in an IPv6 packet to the real with this id. IPv6 packets have more stack left, since
    /// their parts are in programs of their own.
    fn ipv4_within_ipv6 [ipv4_within_ipv6](frame; parsed: &Parsed<Be32>; id: RealId) -> Result<(), Reason> {
        let real = tables::real(id).ok_or(Reason::NoReal)?;
        within::<Be32, Be128>(frame, parsed, real)
    }
}

/// Encapsulates a packet of version `A` in one of version `O`.
#[inline(always)]
fn within<A: Ip, O: IpFamily>(frame: &Frame, parsed: &Parsed<A>, real: &Real) -> Result<(), Reason> {
    let growth = O::HEADER_LEN + Tunnel::length(real.tunnel);
    let length = parsed.length as usize + growth;
    fits(parsed, growth, real)?;
    // 1. Read the fields that the outer header copies, and finish the inner packet.
    let traffic_class = A::traffic_class(frame)?;
    A::decrement_ttl(frame, Delta::new())?;
    // 2. Grow the frame. Every offset into the frame is now `growth` bytes further.
    frame.grow(growth)?;
    // 3. Write each field once.
    address_frame(frame, real.macs)?;
    store(frame, offset_of!(EthHdr, ether_type), O::ETHER_TYPE.0)?;
    let source = O::tunnel_source(|| hash::flow(&parsed.flow, 0), real.source);
    let destination = O::narrow(real.address);
    let kind = Tunnel::kind(real.tunnel);
    let protocol = if kind == Tunnel::Gre as u16 {
        if real.tunnel == kind {
            store_words::<u32, 4, 1>(frame, ETHERNET_LEN + O::HEADER_LEN, [gre::<A>(0)])?;
        } else {
            store_words::<u32, 8, 2>(frame, ETHERNET_LEN + O::HEADER_LEN, [gre::<A>(CHECKSUM_PRESENT), 0])?;
        }
        protocol::GRE
    } else if kind == Tunnel::Gue as u16 {
        let udp = length - O::HEADER_LEN;
        store_words::<u32, 12, 3>(frame, ETHERNET_LEN + O::HEADER_LEN, gue(parsed, real.tunnel_port, udp))?;
        protocol::UDP
    } else {
        A::TUNNELLED
    };
    O::write(frame, &Header { length, traffic_class, protocol, source, destination })
}

/// Flag in the first byte of a GRE header: a checksum is present.
pub const CHECKSUM_PRESENT: u8 = 0x80;
/// Offset of the checksum in a GRE header.
pub const GRE_CHECK: usize = 4;

/// Returns a GRE header with the type of the inner packet (RFC 2784, section 2.1).
#[inline(always)]
fn gre<A: Ip>(flags: u8) -> u32 {
    let [e0, e1] = A::ETHER_TYPE.0.to_ne_bytes();
    u32::from_ne_bytes([flags, 0, e0, e1])
}

/// Returns a UDP header and a header of generic UDP encapsulation (version 0, data, no options). `length` is the length
/// of both and of the packet inside, in bytes.
///
/// The source port is one of the 16,384 dynamic ports, by the hash of the flow: network cards spread packets over their
/// queues by ports, and one flow stays on one queue. There is no checksum unless [`write_outer_checksum`] adds one, as in IPVS without
/// `--tun-csum` (in IPv6 by RFC 6935), since the inner packet has one.
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

out_of_line! {
    /// Writes the checksum of the GRE header, or of the UDP header around GUE, which covers `length` bytes behind the
    /// outer IP header.
    fn write_outer_checksum [write_outer_checksum](
        frame;; is_ipv6: bool, tunnel: u32, length: u32
    ) -> Result<(), Truncated> {
        let gre = Tunnel::kind(tunnel as u16) == Tunnel::Gre as u16;
        if is_ipv6 {
            write_checksum::<Be128>(frame, gre, length)?;
        } else {
            write_checksum::<Be32>(frame, gre, length)?;
        }
        Ok(())
    }
}

#[inline(always)]
fn write_checksum<O: Ip>(frame: &Frame, gre: bool, length: u32) -> Result<(), Reason> {
    let behind = ETHERNET_LEN + O::HEADER_LEN;
    let checksum = behind_outer::<O>(frame, gre, length)?.checksum();
    if gre {
        store(frame, behind + GRE_CHECK, checksum)
    } else {
        // A checksum of 0 would mean that there is none (RFC 768).
        store(frame, behind + offset_of!(UdpHdr, check), if checksum == 0 { 0xffff } else { checksum })
    }
}

/// Returns the sum for the checksum of a GRE header or of UDP around GUE.
#[inline(always)]
pub fn behind_outer<O: Ip>(frame: &Frame, gre: bool, length: u32) -> Result<Sum, Reason> {
    let sum = frame.sum(ETHERNET_LEN + O::HEADER_LEN, length)?;
    if gre {
        return Ok(sum);
    }
    let source = O::load(frame, ETHERNET_LEN + O::SOURCE)?;
    let destination = O::load(frame, ETHERNET_LEN + O::DESTINATION)?;
    let [l0, l1] = (length as u16).to_be_bytes();
    Ok(source.add_to(destination.add_to(sum)).word(u32::from_ne_bytes([l0, l1, 0, protocol::UDP])))
}
