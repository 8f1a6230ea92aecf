// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Decapsulation on real servers: removes the outer header, and leaves the rest to the kernel.

use core::mem::offset_of;

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    checksum::Delta,
    ecn,
    packet::{
        ETHERNET_LEN, IPV4_LEN, IPV6_LEN, Ip, Packet as _, address_frame, ether_type, frame_macs, load, store,
    },
    protocol,
    reason::Reason,
    schema::{Tunnel, TunnelEnd},
    wire::{Be16, Be32, Be128},
};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    forward::tun::{CHECKSUM_PRESENT, behind_outer},
    frame::Frame,
    tables::{gue_port, is_tunnel_end},
};

/// The reason why a packet is not decapsulated.
enum Kept {
    /// The packet is left to the kernel's own stack, which counts packets that it cannot process.
    Passed,
    /// The packet is dropped, because a router has marked a packet that it would otherwise have dropped (RFC 6040).
    Dropped,
}

impl From<Reason> for Kept {
    #[inline(always)]
    fn from(_: Reason) -> Self {
        Self::Passed
    }
}

/// Removes the outer header of an IP in IP, GRE or GUE packet, as the kernel's tunnel devices do, if the tunnel ends at
/// this host and begins at a director. The kernel then accepts the inner packet if its destination is an address of
/// this host. Other packets remain unmodified. Returns the XDP action.
#[inline(always)]
pub fn strip(frame: &Frame) -> u32 {
    let stripped = match ether_type(frame) {
        Be32::ETHER_TYPE => strip_ipv4(frame),
        Be128::ETHER_TYPE => strip_ipv6(frame),
        _ => Ok(()),
    };
    match stripped {
        Ok(()) | Err(Kept::Passed) => xdp_action::XDP_PASS,
        Err(Kept::Dropped) => xdp_action::XDP_DROP,
    }
}

/// Checks by the addresses of the outer header that the tunnel ends at this host.
#[inline(always)]
fn is_for_us<O: Ip>(frame: &Frame) -> Result<(), Kept> {
    let source = O::load(frame, ETHERNET_LEN + O::SOURCE)?;
    let destination = O::load(frame, ETHERNET_LEN + O::DESTINATION)?;
    if is_tunnel_end(destination, TunnelEnd::HERE) && is_tunnel_end(source, TunnelEnd::DIRECTOR) {
        Ok(())
    } else {
        Err(Kept::Passed)
    }
}

/// Removes an outer IPv4 header without options.
#[inline(always)]
fn strip_ipv4(frame: &Frame) -> Result<(), Kept> {
    let version: u8 = load(frame, ETHERNET_LEN)?;
    let fragment: u16 = load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, frags))?;
    let protocol: u8 = load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, proto))?;
    if version != 0x45 || fragment & Be16::new(0x3fff).0 != 0 {
        return Err(Kept::Passed);
    }
    // The stack never gets the outer header, so its checksum is verified here.
    if frame.sum(ETHERNET_LEN, IPV4_LEN as u32)?.checksum() != 0 {
        return Err(Kept::Passed);
    }
    let length: u16 = load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, tot_len))?;
    strip_behind::<Be32>(frame, protocol, u32::from(Be16(length).get()).wrapping_sub(IPV4_LEN as u32))
}

/// Removes an outer IPv6 header without extensions.
#[inline(always)]
fn strip_ipv6(frame: &Frame) -> Result<(), Kept> {
    let version: u8 = load(frame, ETHERNET_LEN)?;
    let protocol: u8 = load(frame, ETHERNET_LEN + offset_of!(Ipv6Hdr, next_hdr))?;
    if version >> 4 != 6 {
        return Err(Kept::Passed);
    }
    let length: u16 = load(frame, ETHERNET_LEN + offset_of!(Ipv6Hdr, payload_len))?;
    strip_behind::<Be128>(frame, protocol, Be16(length).get().into())
}

/// Removes an outer header and the tunnel header, by protocol. `length` is the number of bytes behind the outer header.
#[inline(always)]
fn strip_behind<O: Ip>(frame: &Frame, protocol: u8, length: u32) -> Result<(), Kept> {
    match protocol {
        protocol::IPIP => strip_header::<O>(frame, O::HEADER_LEN, Be32::ETHER_TYPE),
        protocol::IPV6 => strip_header::<O>(frame, O::HEADER_LEN, Be128::ETHER_TYPE),
        protocol::GRE => strip_gre::<O>(frame, length),
        protocol::UDP => strip_gue::<O>(frame, length),
        _ => Err(Kept::Passed),
    }
}

/// Removes a GRE header without key or sequence number (RFC 2784); the director makes no other.
#[inline(always)]
fn strip_gre<O: Ip>(frame: &Frame, length: u32) -> Result<(), Kept> {
    const GRE: u16 = Tunnel::Gre as u16;
    let header: u32 = load(frame, ETHERNET_LEN + O::HEADER_LEN)?;
    let [flags, version, e0, e1] = header.to_ne_bytes();
    let inner = Be16(u16::from_ne_bytes([e0, e1]));
    match (flags, version) {
        (0, 0) => strip_header::<O>(frame, O::HEADER_LEN + Tunnel::length(GRE), inner),
        (CHECKSUM_PRESENT, 0) => {
            is_whole::<O>(frame, true, length)?;
            strip_header::<O>(frame, O::HEADER_LEN + Tunnel::length(GRE | Tunnel::CHECKED), inner)
        }
        _ => Err(Kept::Passed),
    }
}

/// Verifies a checksum that covers `length` bytes behind the outer header.
#[inline(always)]
fn is_whole<O: Ip>(frame: &Frame, gre: bool, length: u32) -> Result<(), Kept> {
    if behind_outer::<O>(frame, gre, length)?.checksum() == 0 { Ok(()) } else { Err(Kept::Passed) }
}

/// Removes a UDP header to the port of generic UDP encapsulation, and a header of version 0 without options.
#[inline(always)]
fn strip_gue<O: Ip>(frame: &Frame, length: u32) -> Result<(), Kept> {
    let udp = ETHERNET_LEN + O::HEADER_LEN;
    let port: u16 = load(frame, udp + offset_of!(UdpHdr, dst))?;
    let checksum: u16 = load(frame, udp + offset_of!(UdpHdr, check))?;
    let header: u32 = load(frame, udp + size_of::<UdpHdr>())?;
    let inner = match header.to_ne_bytes() {
        [0, protocol::IPIP, 0, 0] => Be32::ETHER_TYPE,
        [0, protocol::IPV6, 0, 0] => Be128::ETHER_TYPE,
        _ => return Err(Kept::Passed),
    };
    if Be16(port) != gue_port() {
        return Err(Kept::Passed);
    }
    if checksum != 0 {
        is_whole::<O>(frame, false, length)?;
    }
    strip_header::<O>(frame, O::HEADER_LEN + Tunnel::length(Tunnel::Gue as u16), inner)
}

/// Removes the first `length` bytes of a packet, if a packet of the inner type follows. The inner packet keeps the
/// congestion mark of routers in the outer header.
#[inline(always)]
fn strip_header<O: Ip>(frame: &Frame, length: usize, inner: Be16) -> Result<(), Kept> {
    is_for_us::<O>(frame)?;
    let macs = frame_macs(frame)?;
    let outer_class = O::traffic_class(frame)?;
    let first: u16 = load(frame, ETHERNET_LEN + length)?;
    let version = first.to_ne_bytes()[0] >> 4;
    let (header, class) = match (inner, version) {
        (Be32::ETHER_TYPE, 4) => (IPV4_LEN, Be16(first).get() as u8),
        (Be128::ETHER_TYPE, 6) => (IPV6_LEN, (Be16(first).get() >> 4) as u8),
        _ => return Err(Kept::Passed),
    };
    if frame.len() < ETHERNET_LEN + length + header {
        return Err(Kept::Passed);
    }
    let Some(mark) = ecn::decapsulated(class, outer_class) else { return Err(Kept::Dropped) };
    frame.shrink(length)?;
    address_frame(frame, macs)?;
    store(frame, offset_of!(EthHdr, ether_type), inner.0)?;
    if mark != class & ecn::MASK {
        mark_inner(frame, first, mark, version == 4)?;
    }
    Ok(())
}

/// Writes another ECN mark into the first word of the packet, and updates the IPv4 checksum.
#[inline(always)]
fn mark_inner(frame: &Frame, first: u16, mark: u8, is_ipv4: bool) -> Result<(), Reason> {
    let word = Be16(first).get();
    // In IPv6 the traffic class ends four bits further up.
    let shift = if is_ipv4 { 0 } else { 4 };
    let marked = word & !(u16::from(ecn::MASK) << shift) | u16::from(mark) << shift;
    let new = Be16::new(marked).0;
    if is_ipv4 {
        Be32::apply(frame, Delta::new().replace16(first, new))?;
    }
    store(frame, ETHERNET_LEN, new)
}
