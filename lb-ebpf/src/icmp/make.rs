// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Making an ICMP error out of the packet that it is about.
//!
//! The packet stays where it is and becomes the quote: an IP header and an ICMP header grow before it, and
//! its end is cut off. Quoted are the header and eight bytes after it (RFC 792).

use core::mem::offset_of;

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    checksum::Sum,
    packet::{
        ETHERNET_LEN, ICMP_LEN, IPV4_LEN, address_frame, error_header, frame_macs, load, store, store_words,
    },
    reason::Reason,
    wire::Be32,
};
use network_types::{eth::EthHdr, ip::Ipv4Hdr};

use crate::{Stop, frame::Frame, tables};

/// Bytes that are quoted after the IP header.
const QUOTED: usize = 8;
/// Words of the longest quote: of a packet with all the options that fit.
const LONGEST: usize = (60 + QUOTED) / 4;
/// Destination unreachable (RFC 792).
const UNREACHABLE: u8 = 3;
/// Code of "port unreachable".
const PORT: u8 = 3;
/// Code of "fragmentation needed and DF set".
const FRAGMENTATION_NEEDED: u8 = 4;

/// Answers a packet that was stopped with the error that fits, out of the device that it came by.
#[inline(always)]
pub fn answer(frame: &Frame, stop: Stop) -> u32 {
    if !tables::may_make_icmp() {
        tables::count_reason(stop.service, Reason::IcmpLimited);
        return xdp_action::XDP_DROP;
    }
    let (code, mtu) = match stop.reason {
        Reason::TooBig => (FRAGMENTATION_NEEDED, stop.mtu),
        _ => (PORT, 0),
    };
    if make(frame, code, mtu).is_ok() { xdp_action::XDP_TX } else { xdp_action::XDP_DROP }
}

#[inline(always)]
fn make(frame: &Frame, code: u8, mtu: u16) -> Result<(), Reason> {
    // 1. Read what must survive. The packet was parsed: it has all of its header and eight bytes more.
    let version_and_length: u8 = load(frame, ETHERNET_LEN)?;
    let quote = (((version_and_length & 0x0f) as usize) << 2) + QUOTED;
    let macs = frame_macs(frame)?;
    let ether_type: u16 = load(frame, offset_of!(EthHdr, ether_type))?;
    let source = Be32(load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, dst_addr))?);
    let destination = Be32(load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, src_addr))?);
    let [m0, m1] = mtu.to_be_bytes();
    let last = u32::from_ne_bytes([0, 0, m0, m1]);
    let mut sum = Sum::new().word(u32::from_ne_bytes([UNREACHABLE, code, 0, 0])).word(last);
    let mut word = 0;
    while word < LONGEST && 4 * word < quote {
        sum = sum.word(load(frame, ETHERNET_LEN + 4 * word)?);
        word += 1;
    }
    // 2. Grow before the packet, cut after the quote.
    frame.grow::<{ IPV4_LEN + ICMP_LEN }>()?;
    frame.truncate(ETHERNET_LEN + IPV4_LEN + ICMP_LEN + quote)?;
    // 3. Write once.
    let [c0, c1] = sum.checksum().to_ne_bytes();
    let length = (IPV4_LEN + ICMP_LEN + quote) as u16;
    address_frame(frame, macs.swapped())?;
    store(frame, offset_of!(EthHdr, ether_type), ether_type)?;
    store_words::<IPV4_LEN, 5>(frame, ETHERNET_LEN, error_header(length, source, destination))?;
    let icmp = [u32::from_ne_bytes([UNREACHABLE, code, c0, c1]), last];
    store_words::<ICMP_LEN, 2>(frame, ETHERNET_LEN + IPV4_LEN, icmp)
}
