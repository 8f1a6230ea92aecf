// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Making an ICMP error out of the packet that it is about.
//!
//! The packet stays where it is and becomes the quote: an IP header and an ICMP header grow before it, and
//! its end is cut off. Quoted are the header and at least eight bytes after it (RFC 792).

use core::mem::offset_of;

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    checksum::Sum,
    packet::{
        ETHERNET_LEN, ICMP_LEN, IPV4_LEN, address_frame, error_header, frame_macs, load, load_words, store,
        store_words,
    },
    reason::Reason,
    wire::Be32,
};
use network_types::{eth::EthHdr, ip::Ipv4Hdr};

use crate::{Stop, frame::Frame, tables};

/// Bytes of the quote of a packet without IP options.
const SHORT: usize = IPV4_LEN + 8;
/// Bytes of the quote of a packet with IP options, however many.
const LONG: usize = 60 + 8;
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
    let made = match load::<u8>(frame, ETHERNET_LEN) {
        Ok(0x45) => make::<SHORT, { SHORT / 4 }>(frame, code, mtu),
        _ => make::<LONG, { LONG / 4 }>(frame, code, mtu),
    };
    if made.is_ok() { xdp_action::XDP_TX } else { xdp_action::XDP_DROP }
}

#[inline(always)]
fn make<const BYTES: usize, const WORDS: usize>(frame: &Frame, code: u8, mtu: u16) -> Result<(), Reason> {
    // 1. Read what must survive.
    let macs = frame_macs(frame)?;
    let ether_type: u16 = load(frame, offset_of!(EthHdr, ether_type))?;
    let source = Be32(load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, dst_addr))?);
    let destination = Be32(load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, src_addr))?);
    let [m0, m1] = mtu.to_be_bytes();
    let last = u32::from_ne_bytes([0, 0, m0, m1]);
    let mut sum = Sum::new().word(u32::from_ne_bytes([UNREACHABLE, code, 0, 0])).word(last);
    for word in load_words::<BYTES, WORDS>(frame, ETHERNET_LEN)? {
        sum = sum.word(word);
    }
    // 2. Grow before the packet, cut after the quote.
    frame.grow::<{ IPV4_LEN + ICMP_LEN }>()?;
    frame.truncate(ETHERNET_LEN + IPV4_LEN + ICMP_LEN + BYTES)?;
    // 3. Write once.
    let [c0, c1] = sum.checksum().to_ne_bytes();
    let length = (IPV4_LEN + ICMP_LEN + BYTES) as u16;
    address_frame(frame, macs.swapped())?;
    store(frame, offset_of!(EthHdr, ether_type), ether_type)?;
    store_words::<IPV4_LEN, 5>(frame, ETHERNET_LEN, error_header(length, source, destination))?;
    let icmp = [u32::from_ne_bytes([UNREACHABLE, code, c0, c1]), last];
    store_words::<ICMP_LEN, 2>(frame, ETHERNET_LEN + IPV4_LEN, icmp)
}
