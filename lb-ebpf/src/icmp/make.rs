// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Conversion of a packet into an ICMP error about it.
//!
//! The packet remains in place and becomes the quote: an IP header and an ICMP header are added before it, and its end
//! is cut off.

use core::mem::offset_of;

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    checksum::Sum,
    ids::ServiceId,
    packet::{
        ETHERNET_LEN, Error, Header, ICMP_LEN, Ip, Parsed, address_frame, frame_macs, load, store,
        store_words,
    },
    reason::Reason,
};
use network_types::eth::EthHdr;

use crate::{frame::Frame, tables};

/// Maximum length of a quote in words of 4 bytes: 256 bytes in IPv6; in IPv4, all options that fit, and 8 bytes more.
const LONGEST: usize = 64;
/// The precedence of internetwork control (RFC 1812, section 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// Answers a packet of a service with an error, out of the interface that the packet came in by.
#[inline(always)]
pub fn answer<A: Ip>(frame: &Frame, parsed: &Parsed<A>, error: Error, service: ServiceId) -> u32 {
    if !tables::may_make_icmp() {
        tables::count_reason(service, Reason::IcmpLimited);
        return xdp_action::XDP_DROP;
    }
    if make(frame, parsed, error).is_ok() { xdp_action::XDP_TX } else { xdp_action::XDP_DROP }
}

/// Converts the packet into an error.
#[inline(always)]
fn make<A: Ip>(frame: &Frame, parsed: &Parsed<A>, error: Error) -> Result<(), Reason> {
    let growth = A::HEADER_LEN + ICMP_LEN;
    // 1. Read the fields that the next steps overwrite.
    let flow = &parsed.flow;
    let quote = A::quote(parsed.length as usize, parsed.l4() - ETHERNET_LEN);
    let macs = frame_macs(&Frame::new(&frame.afresh()))?;
    let (kind, code, last) = A::error(error);
    let mut sum = Sum::new().word(u32::from_ne_bytes([kind, code, 0, 0])).word(last);
    let mut word = 0;
    while word < LONGEST && 4 * word < quote {
        // `black_box` hides the offset from LLVM, which would move a part of the sum across the comparison with the
        // frame's end, where the verifier allows none.
        let at = core::hint::black_box(ETHERNET_LEN + 4 * word);
        sum = sum.word(load(frame, at)?);
        word += 1;
    }
    if A::ICMP_COVERS_ADDRESSES {
        let [l0, l1] = ((ICMP_LEN + quote) as u16).to_be_bytes();
        sum = flow.source.add_to(flow.destination.add_to(sum)).word(u32::from_ne_bytes([l0, l1, 0, A::ICMP]));
    }
    // 2. Grow before the packet, and cut after the quote.
    frame.grow(growth)?;
    frame.truncate(ETHERNET_LEN + growth + quote)?;
    // 3. Write each field once.
    let [c0, c1] = sum.checksum().to_ne_bytes();
    address_frame(frame, macs.swapped())?;
    store(frame, offset_of!(EthHdr, ether_type), A::ETHER_TYPE.0)?;
    let header = Header {
        length: growth + quote,
        traffic_class: INTERNETWORK_CONTROL,
        protocol: A::ICMP,
        source: flow.destination,
        destination: flow.source,
    };
    A::write(frame, &header)?;
    let icmp = [u32::from_ne_bytes([kind, code, c0, c1]), last];
    store_words::<u32, ICMP_LEN, 2>(frame, ETHERNET_LEN + A::HEADER_LEN, icmp)
}
