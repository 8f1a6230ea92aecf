// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Tunnelling: the packet travels to the real inside another one (IP in IP, RFC 2003).

use core::mem::offset_of;

use aya_log_ebpf::debug;
use lb_common::{
    checksum::Delta,
    packet::{
        ETHERNET_LEN, IPV4, IPV4_LEN, Parsed, Part, address_frame, load, store, store_words, tunnel_header,
    },
    reason::Reason,
    schema::Real,
};
use network_types::{eth::EthHdr, ip::Ipv4Hdr};

use super::hop;
use crate::frame::Frame;

#[inline(always)]
pub fn forward(frame: &Frame, parsed: &Parsed, real: &Real) -> Result<(), Reason> {
    let length = parsed.length as usize + IPV4_LEN;
    if length > real.mtu as usize {
        return Err(if parsed.part == Part::Later { Reason::TooBigFragment } else { Reason::TooBig });
    }
    // 1. Read what must survive, and finish with the inner packet.
    let tos: u8 = load(frame, ETHERNET_LEN + offset_of!(Ipv4Hdr, tos))?;
    hop(frame, Delta::new())?;
    // 2. Grow. Every offset into the frame is now IPV4_LEN further.
    if let Err(reason) = frame.grow::<IPV4_LEN>() {
        debug!(frame.ctx(), "no headroom for the outer header");
        return Err(reason);
    }
    // 3. Write once.
    address_frame(frame, real.macs)?;
    store(frame, offset_of!(EthHdr, ether_type), IPV4.0)?;
    let outer = tunnel_header(length as u16, tos, real.tunnel_source, real.address);
    store_words::<IPV4_LEN, 5>(frame, ETHERNET_LEN, outer)
}
