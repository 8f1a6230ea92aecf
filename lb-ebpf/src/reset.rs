// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Answers a TCP packet with a reset if its real was removed, so that the client learns of it at once (RFC 9293,
//! section 3.10.7.1).

use core::mem::offset_of;

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    checksum::Sum,
    packet::{
        ETHERNET_LEN, Header, Ip, Parsed, TCP_LEN, address_frame, frame_macs, load, store_words, tcp_flags,
    },
    protocol,
    reason::Reason,
    schema::FlowKey,
};
use network_types::tcp::TcpHdr;

use crate::frame::Frame;

/// Converts the packet into its answer, which leaves by the interface that the packet came in by.
///
/// There is no rate limit, as in the kernel: an answer is no larger than the packet that it answers, and thousands of
/// clients may need one at once.
#[inline(always)]
pub fn answer<A: Ip>(frame: &Frame, parsed: &Parsed<A>) -> u32 {
    if make(frame, parsed).is_ok() { xdp_action::XDP_TX } else { xdp_action::XDP_DROP }
}

#[inline(always)]
fn make<A: Ip>(frame: &Frame, parsed: &Parsed<A>) -> Result<(), Reason> {
    // 1. Read the fields that the next steps overwrite.
    let Parsed { flow, tcp_flags, .. } = parsed;
    if tcp_flags & (tcp_flags::ACK | tcp_flags::RST) != tcp_flags::ACK {
        // Without an ACK there is no sequence number that the client would accept; and a reset is never answered.
        return Err(Reason::RealRemoved);
    }
    let acknowledged: u32 = load(frame, parsed.l4() + offset_of!(TcpHdr, ack_seq))?;
    let macs = frame_macs(&Frame::new(&frame.afresh()))?;
    // 2. Cut the frame to the headers without options.
    let length = A::HEADER_LEN + TCP_LEN;
    frame.truncate(ETHERNET_LEN + length)?;
    // 3. Write each field once.
    let answer = flow.reversed();
    address_frame(frame, macs.swapped())?;
    let FlowKey { source, destination, .. } = answer;
    A::write(frame, &Header { length, traffic_class: 0, protocol: protocol::TCP, source, destination })?;
    let ports = u32::from(answer.source_port.0) | u32::from(answer.destination_port.0) << 16;
    let offset_and_flags = u32::from_ne_bytes([(TCP_LEN as u8 / 4) << 4, tcp_flags::RST, 0, 0]);
    let pseudo = u32::from_ne_bytes([0, protocol::TCP, 0, TCP_LEN as u8]);
    let sum = destination.add_to(source.add_to(Sum::new())).word(pseudo);
    let sum = sum.word(ports).word(acknowledged).word(offset_and_flags);
    let [c0, c1] = sum.checksum().to_ne_bytes();
    let words = [ports, acknowledged, 0, offset_and_flags, u32::from_ne_bytes([c0, c1, 0, 0])];
    store_words::<u32, TCP_LEN, 5>(frame, ETHERNET_LEN + A::HEADER_LEN, words)
}
