// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Decapsulation on real servers: takes the outer header off, and leaves the rest to the kernel.

use core::mem::offset_of;

use lb_common::{
    packet::{
        ETHERNET_LEN, IPV4_LEN, IPV6_LEN, Ip, Packet as _, address_frame, ether_type, frame_macs, load, store,
    },
    protocol,
    reason::Reason,
    schema::Tunnel,
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
    tables::gue_port,
};

/// Strips the outer header of a packet in a packet, by IP in IP, GRE or GUE, as the kernel's tunnel devices do: the kernel then
/// takes the inner packet if its destination is an address of this host. Anything else stays as it is.
#[inline(always)]
pub fn strip(frame: &Frame) {
    // A packet that cannot be stripped goes to the kernel's own stack, which counts what it cannot take.
    let _ = match ether_type(frame) {
        Be32::ETHER_TYPE => strip_ipv4(frame),
        Be128::ETHER_TYPE => strip_ipv6(frame),
        _ => Ok(()),
    };
}

/// An outer header of IPv4, without options.
#[inline(always)]
fn strip_ipv4(frame: &Frame) -> Result<(), Reason> {
    let version: u8 = load(frame, ETHERNET_LEN)?;
    let fragment: u16 = load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, frags))?;
    let protocol: u8 = load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, proto))?;
    if version != 0x45 || fragment & Be16::new(0x3fff).0 != 0 {
        return Err(Reason::NotOurs);
    }
    let length: u16 = load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, tot_len))?;
    strip_behind::<Be32>(frame, protocol, u32::from(Be16(length).get()).wrapping_sub(IPV4_LEN as u32))
}

/// An outer header of IPv6, without extensions.
#[inline(always)]
fn strip_ipv6(frame: &Frame) -> Result<(), Reason> {
    let version: u8 = load(frame, ETHERNET_LEN)?;
    let protocol: u8 = load(frame, ETHERNET_LEN + offset_of!(Ipv6Hdr, next_hdr))?;
    if version >> 4 != 6 {
        return Err(Reason::NotOurs);
    }
    let length: u16 = load(frame, ETHERNET_LEN + offset_of!(Ipv6Hdr, payload_len))?;
    strip_behind::<Be128>(frame, protocol, Be16(length).get().into())
}

/// What is behind an outer header: so many bytes.
#[inline(always)]
fn strip_behind<O: Ip>(frame: &Frame, protocol: u8, length: u32) -> Result<(), Reason> {
    match protocol {
        protocol::IPIP => strip_header(frame, O::HEADER_LEN, Be32::ETHER_TYPE),
        protocol::IPV6 => strip_header(frame, O::HEADER_LEN, Be128::ETHER_TYPE),
        protocol::GRE => strip_gre::<O>(frame, length),
        protocol::UDP => strip_gue::<O>(frame, length),
        _ => Err(Reason::NotOurs),
    }
}

/// A GRE header without key or sequence number (RFC 2784): the only ones that the director makes.
#[inline(always)]
fn strip_gre<O: Ip>(frame: &Frame, length: u32) -> Result<(), Reason> {
    const GRE: u16 = Tunnel::Gre as u16;
    let header: u32 = load(frame, ETHERNET_LEN + O::HEADER_LEN)?;
    let [flags, version, e0, e1] = header.to_ne_bytes();
    let inner = Be16(u16::from_ne_bytes([e0, e1]));
    match (flags, version) {
        (0, 0) => strip_header(frame, O::HEADER_LEN + Tunnel::length(GRE), inner),
        (CHECKSUM_PRESENT, 0) => {
            is_whole::<O>(frame, true, length)?;
            strip_header(frame, O::HEADER_LEN + Tunnel::length(GRE | Tunnel::CHECKED), inner)
        }
        _ => Err(Reason::NotOurs),
    }
}

/// Whether a checksum is right that covers so many bytes behind the outer header.
#[inline(always)]
fn is_whole<O: Ip>(frame: &Frame, gre: bool, length: u32) -> Result<(), Reason> {
    if behind_outer::<O>(frame, gre, length)?.checksum() == 0 { Ok(()) } else { Err(Reason::NotOurs) }
}

/// A UDP header to the port of generic UDP encapsulation, and a header of version 0 without options.
#[inline(always)]
fn strip_gue<O: Ip>(frame: &Frame, length: u32) -> Result<(), Reason> {
    let udp = ETHERNET_LEN + O::HEADER_LEN;
    let port: u16 = load(frame, udp + offset_of!(UdpHdr, dst))?;
    let checksum: u16 = load(frame, udp + offset_of!(UdpHdr, check))?;
    let header: u32 = load(frame, udp + size_of::<UdpHdr>())?;
    let inner = match header.to_ne_bytes() {
        [0, protocol::IPIP, 0, 0] => Be32::ETHER_TYPE,
        [0, protocol::IPV6, 0, 0] => Be128::ETHER_TYPE,
        _ => return Err(Reason::NotOurs),
    };
    if Be16(port) != gue_port() {
        return Err(Reason::NotOurs);
    }
    if checksum != 0 {
        is_whole::<O>(frame, false, length)?;
    }
    strip_header(frame, O::HEADER_LEN + Tunnel::length(Tunnel::Gue as u16), inner)
}

/// Takes the first `length` bytes off a packet, if a packet of that version is behind them.
#[inline(always)]
fn strip_header(frame: &Frame, length: usize, inner: Be16) -> Result<(), Reason> {
    let macs = frame_macs(frame)?;
    let version: u8 = load(frame, ETHERNET_LEN + length)?;
    let header = match (inner, version >> 4) {
        (Be32::ETHER_TYPE, 4) => IPV4_LEN,
        (Be128::ETHER_TYPE, 6) => IPV6_LEN,
        _ => return Err(Reason::NotOurs),
    };
    if frame.len() < ETHERNET_LEN + length + header {
        return Err(Reason::Truncated);
    }
    frame.shrink(length)?;
    address_frame(frame, macs)?;
    store(frame, offset_of!(EthHdr, ether_type), inner.0)
}
