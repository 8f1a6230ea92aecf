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
    wire::{Be16, Be32, Be128},
};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
};

use crate::frame::Frame;

/// Strips the outer header of a packet in a packet (RFC 2003, RFC 2473), as the kernel's tunnel devices do: the kernel then
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
    strip_header::<IPV4_LEN>(frame, protocol)
}

/// An outer header of IPv6, without extensions.
#[inline(always)]
fn strip_ipv6(frame: &Frame) -> Result<(), Reason> {
    let version: u8 = load(frame, ETHERNET_LEN)?;
    let protocol: u8 = load(frame, ETHERNET_LEN + offset_of!(Ipv6Hdr, next_hdr))?;
    if version >> 4 != 6 {
        return Err(Reason::NotOurs);
    }
    strip_header::<IPV6_LEN>(frame, protocol)
}

/// Takes the first `LENGTH` bytes off a packet, if a packet of that protocol is behind them.
#[inline(always)]
fn strip_header<const LENGTH: usize>(frame: &Frame, protocol: u8) -> Result<(), Reason> {
    let macs = frame_macs(frame)?;
    let version: u8 = load(frame, ETHERNET_LEN + LENGTH)?;
    let (inner, header) = match (protocol, version >> 4) {
        (protocol::IPIP, 4) => (Be32::ETHER_TYPE, IPV4_LEN),
        (protocol::IPV6, 6) => (Be128::ETHER_TYPE, IPV6_LEN),
        _ => return Err(Reason::NotOurs),
    };
    if frame.len() < ETHERNET_LEN + LENGTH + header {
        return Err(Reason::Truncated);
    }
    frame.shrink::<LENGTH>()?;
    address_frame(frame, macs)?;
    store(frame, offset_of!(EthHdr, ether_type), inner.0)
}
