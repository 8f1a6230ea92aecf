// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Decapsulation on real servers: takes the outer header off, and leaves the rest to the kernel.

use core::mem::offset_of;

use lb_common::{
    packet::{ETHERNET_LEN, IPV4_LEN, Ip as _, address_frame, frame_macs, load, store},
    protocol,
    reason::Reason,
    wire::{Be16, Be32},
};
use network_types::{eth::EthHdr, ip::Ipv4Hdr};

use crate::frame::Frame;

/// Strips the outer IPv4 header of an IPIP packet, as the kernel's `tunl0` does: the kernel then takes the
/// inner packet if its destination is an address of this host. Anything else stays as it is.
#[inline(always)]
pub fn strip(frame: &Frame) {
    // A packet that cannot be stripped goes to the kernel's own stack, which counts what it cannot take.
    let _ = try_strip(frame);
}

#[inline(always)]
fn try_strip(frame: &Frame) -> Result<(), Reason> {
    let macs = frame_macs(frame)?;
    let ether_type: u16 = load(frame, offset_of!(EthHdr, ether_type))?;
    let version: u8 = load(frame, ETHERNET_LEN)?;
    let protocol: u8 = load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, proto))?;
    let fragment: u16 = load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, frags))?;
    let inner = ETHERNET_LEN + IPV4_LEN;
    let inner_version: u8 = load(frame, inner)?;
    let ours = ether_type == Be32::ETHER_TYPE.0
        && version == 0x45
        && protocol == protocol::IPIP
        && fragment & Be16::new(0x3fff).0 == 0
        && inner_version >> 4 == 4;
    if !ours {
        return Err(Reason::NotOurs);
    }
    frame.shrink::<IPV4_LEN>()?;
    address_frame(frame, macs)?;
    store(frame, offset_of!(EthHdr, ether_type), ether_type)
}
