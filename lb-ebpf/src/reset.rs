// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Answering a TCP packet with a reset: its real was removed, and its client shall know at once (RFC 9293, section
//! 3.10.7.1).

use core::mem::offset_of;

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    checksum::Sum,
    packet::{
        ETHERNET_LEN, IPV4_LEN, Parsed, TCP_LEN, address_frame, frame_macs, load, store_words, tcp_header,
    },
    reason::Reason,
    track::flags,
};
use network_types::tcp::TcpHdr;

use crate::frame::Frame;

/// The packet becomes its own answer and goes out of the device that it came by.
///
/// There is no limit, as the kernel has none: an answer is no larger than its question, and thousands of clients may
/// have to be told at once.
#[inline(always)]
pub fn answer(frame: &Frame) -> u32 {
    if make(frame).is_ok() { xdp_action::XDP_TX } else { xdp_action::XDP_DROP }
}

#[inline(always)]
fn make(frame: &Frame) -> Result<(), Reason> {
    // 1. Read what must survive.
    let Parsed { flow, l4, tcp_flags, .. } = lb_common::packet::parse(frame)?;
    if tcp_flags & flags::ACK == 0 {
        // Without it there is no sequence number that the client would believe.
        return Err(Reason::RealRemoved);
    }
    let acknowledged: u32 = load(frame, l4 + offset_of!(TcpHdr, ack_seq))?;
    let macs = frame_macs(frame)?;
    // 2. Cut to the headers without options.
    frame.truncate(ETHERNET_LEN + IPV4_LEN + TCP_LEN)?;
    // 3. Write once.
    let answer = flow.reversed();
    address_frame(frame, macs.swapped())?;
    let ip = tcp_header((IPV4_LEN + TCP_LEN) as u16, answer.source, answer.destination);
    store_words::<IPV4_LEN, 5>(frame, ETHERNET_LEN, ip)?;
    let ports = u32::from(answer.source_port.0) | u32::from(answer.destination_port.0) << 16;
    let offset_and_flags = u32::from_ne_bytes([(TCP_LEN as u8 / 4) << 4, flags::RST, 0, 0]);
    let pseudo = u32::from_ne_bytes([0, lb_common::protocol::TCP, 0, TCP_LEN as u8]);
    let sum = Sum::new().word(answer.source.0).word(answer.destination.0).word(pseudo);
    let sum = sum.word(ports).word(acknowledged).word(offset_and_flags);
    let [c0, c1] = sum.checksum().to_ne_bytes();
    let words = [ports, acknowledged, 0, offset_and_flags, u32::from_ne_bytes([c0, c1, 0, 0])];
    store_words::<TCP_LEN, 5>(frame, ETHERNET_LEN + IPV4_LEN, words)
}
