// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The parts of SCTP (RFC 9260) that the data plane uses.

use super::{
    access::{Packet, load},
    tcp_flags,
};

/// Length of the common header in bytes: ports, verification tag, checksum. The checksum covers the ports and
/// no address.
pub const HEADER_LEN: usize = 12;

/// Types of chunks (RFC 9260, section 3.2).
mod chunk {
    pub const INIT: u8 = 1;
    pub const ABORT: u8 = 6;
    pub const SHUTDOWN: u8 = 7;
    pub const SHUTDOWN_ACK: u8 = 8;
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// Returns the TCP flags that correspond to the type of the first chunk: a SYN for INIT, an RST for ABORT and
/// for the end of a shutdown, a FIN for the rest of a shutdown, and an ACK otherwise. IPVS uses the first
/// chunk too (`set_sctp_state` in `ip_vs_proto_sctp.c`).
///
/// `end` is the end of the packet in the frame.
#[inline(always)]
pub fn flags(packet: &impl Packet, l4: usize, end: usize) -> u8 {
    if l4 + HEADER_LEN >= end {
        return tcp_flags::ACK;
    }
    match load(packet, l4 + HEADER_LEN) {
        Ok(chunk::INIT) => tcp_flags::SYN,
        Ok(chunk::ABORT | chunk::SHUTDOWN_COMPLETE) => tcp_flags::RST,
        Ok(chunk::SHUTDOWN | chunk::SHUTDOWN_ACK) => tcp_flags::FIN | tcp_flags::ACK,
        _ => tcp_flags::ACK,
    }
}
