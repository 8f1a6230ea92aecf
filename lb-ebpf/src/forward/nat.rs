// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Masquerading: one end of the packet gets another address and port.

use core::mem::offset_of;

use lb_common::{
    checksum::Delta,
    packet::{ETHERNET_LEN, Parsed, Part, address_frame, load, offset_of_checksum, store},
    protocol,
    reason::Reason,
    schema::Real,
    wire::{Be16, Be32},
};
use network_types::{ip::Ipv4Hdr, udp::UdpHdr};

use super::hop;
use crate::frame::Frame;

/// Which end of a packet changes.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum End {
    Source,
    Destination,
}

impl End {
    /// Offset of the address in an IPv4 header.
    #[inline(always)]
    pub const fn address(self) -> usize {
        match self {
            Self::Source => offset_of!(Ipv4Hdr, src_addr),
            Self::Destination => offset_of!(Ipv4Hdr, dst_addr),
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
pub fn forward(frame: &Frame, parsed: &Parsed, real: &Real) -> Result<(), Reason> {
    translate(frame, parsed, End::Destination, real.address, real.port)?;
    address_frame(frame, real.macs)
}

/// Gives one end of the packet another address and, unless it is 0, another port, and takes a hop.
///
/// A later fragment and an ICMP message have no ports; the checksum of ICMP does not cover addresses.
#[inline(always)]
pub fn translate(frame: &Frame, parsed: &Parsed, end: End, address: Be32, port: Be16) -> Result<(), Reason> {
    let offset = ETHERNET_LEN + end.address();
    let old: u32 = load(frame, offset)?;
    let change = Delta::new().replace32(old, address.0);
    if parsed.part != Part::Later && parsed.flow.protocol != u32::from(protocol::ICMP) {
        translate_transport(frame, parsed, end, change, port)?;
    }
    store(frame, offset, address.0)?;
    hop(frame, change)
}

/// The port and the checksum of TCP or UDP, which covers the addresses too (the pseudo-header).
#[inline(always)]
fn translate_transport(
    frame: &Frame,
    parsed: &Parsed,
    end: End,
    mut change: Delta,
    port: Be16,
) -> Result<(), Reason> {
    if port != Be16::ZERO {
        let at = parsed.l4 + end.port();
        let old: u16 = load(frame, at)?;
        change = change.replace16(old, port.0);
        store(frame, at, port.0)?;
    }
    if parsed.flow.protocol == u32::from(protocol::TCP) {
        let at = parsed.l4 + offset_of_checksum(protocol::TCP);
        store(frame, at, change.apply(load(frame, at)?))
    } else {
        let at = parsed.l4 + offset_of_checksum(protocol::UDP);
        store(frame, at, change.apply_udp(load(frame, at)?))
    }
}
