// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Decapsulation on real servers: takes the outer header off, and leaves the rest to the kernel.

use core::mem::offset_of;

use lb_common::{
    packet::{
        ETHERNET_LEN, IPV4_LEN, IPV6_LEN, Ip as _, Packet as _, address_frame, ether_type, frame_macs, load,
        store,
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

use crate::{frame::Frame, tables::settings};

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
    strip_behind::<IPV4_LEN>(frame, protocol)
}

/// An outer header of IPv6, without extensions.
#[inline(always)]
fn strip_ipv6(frame: &Frame) -> Result<(), Reason> {
    let version: u8 = load(frame, ETHERNET_LEN)?;
    let protocol: u8 = load(frame, ETHERNET_LEN + offset_of!(Ipv6Hdr, next_hdr))?;
    if version >> 4 != 6 {
        return Err(Reason::NotOurs);
    }
    strip_behind::<IPV6_LEN>(frame, protocol)
}

/// What is behind an outer header of `LENGTH` bytes.
#[inline(always)]
fn strip_behind<const LENGTH: usize>(frame: &Frame, protocol: u8) -> Result<(), Reason> {
    match protocol {
        protocol::IPIP => strip_header(frame, LENGTH, Be32::ETHER_TYPE),
        protocol::IPV6 => strip_header(frame, LENGTH, Be128::ETHER_TYPE),
        protocol::GRE => strip_gre::<LENGTH>(frame),
        protocol::UDP => strip_gue::<LENGTH>(frame),
        _ => Err(Reason::NotOurs),
    }
}

/// A GRE header without checksum, key or sequence number (RFC 2784): the only one that the director makes.
#[inline(always)]
fn strip_gre<const LENGTH: usize>(frame: &Frame) -> Result<(), Reason> {
    let header: u32 = load(frame, ETHERNET_LEN + LENGTH)?;
    let [flags, version, e0, e1] = header.to_ne_bytes();
    if flags != 0 || version != 0 {
        return Err(Reason::NotOurs);
    }
    strip_header(frame, LENGTH + Tunnel::length(Tunnel::Gre as u16), Be16(u16::from_ne_bytes([e0, e1])))
}

/// A UDP header to the port of generic UDP encapsulation, and a header of version 0 without options.
#[inline(always)]
fn strip_gue<const LENGTH: usize>(frame: &Frame) -> Result<(), Reason> {
    let port: u16 = load(frame, ETHERNET_LEN + LENGTH + offset_of!(UdpHdr, dst))?;
    let header: u32 = load(frame, ETHERNET_LEN + LENGTH + size_of::<UdpHdr>())?;
    let inner = match header.to_ne_bytes() {
        [0, protocol::IPIP, 0, 0] => Be32::ETHER_TYPE,
        [0, protocol::IPV6, 0, 0] => Be128::ETHER_TYPE,
        _ => return Err(Reason::NotOurs),
    };
    if u64::from(Be16(port).get()) != settings().gue_port {
        return Err(Reason::NotOurs);
    }
    strip_header(frame, LENGTH + Tunnel::length(Tunnel::Gue as u16), inner)
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
