// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers of the director itself to a client: ICMP errors (RFC 792, RFC 4443) and TCP resets (RFC 9293,
//! section 3.10.7.1).

use lb_common::reason::Reason;

use super::{
    Model, Version,
    bytes::octets,
    checksum,
    director::{Arrival, Stop},
    frame::Frame,
    parse::{Header, Packet, flag, number::TCP},
    tunnel,
};

/// The precedence of ICMP errors (RFC 1812, section 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;
/// Maximum length of the quote of an IPv6 packet in an error, in bytes.
const LONGEST_QUOTE: usize = 256;

impl Model {
    /// Returns the answer to a client's packet, if there is one.
    pub fn answer(&mut self, arrival: &Arrival, stop: &Stop) -> Option<Frame> {
        if stop.reason == Reason::RealRemoved {
            return reset(arrival);
        }
        if !self.world.may_answer {
            self.state.count_reason(stop.service, Reason::IcmpLimited);
            return None;
        }
        let Header { version, transport, length, .. } = arrival.packet.header;
        let mtu = (stop.mtu as u32).to_be_bytes();
        let (kind, code, rest) = match (stop.reason, version) {
            (Reason::TooBig, Version::V4) => (3, 4, mtu),
            (Reason::TooBig, Version::V6) => (2, 0, mtu),
            (Reason::TtlExceeded, Version::V4) => (11, 0, [0; 4]),
            (Reason::TtlExceeded, Version::V6) => (3, 0, [0; 4]),
            (_, Version::V4) => (3, 3, [0; 4]),
            (_, Version::V6) => (1, 4, [0; 4]),
        };
        let quoted = match version {
            // The header and eight bytes more.
            Version::V4 => transport + 8,
            // As much as possible, in whole words.
            Version::V6 => length.min(LONGEST_QUOTE) / 4 * 4,
        };
        let mut message = [&[kind, code, 0, 0], &rest[..], &arrival.frame.packet[..quoted]].concat();
        let pseudo = match version {
            Version::V4 => Vec::new(),
            Version::V6 => pseudo_header(arrival, version.icmp(), message.len()),
        };
        let sum = checksum::of(&[&pseudo[..], &message].concat()).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        Some(back(arrival, INTERNETWORK_CONTROL, version.icmp(), &message))
    }
}

/// Returns a reset, if the packet has a sequence number that its sender would accept.
fn reset(arrival: &Arrival) -> Option<Frame> {
    let Packet { header, tuple, flags } = &arrival.packet;
    // Without an acknowledgement there is no sequence number to take, and a reset is never answered.
    if flags & flag::ACK == 0 || flags & flag::RST != 0 {
        return None;
    }
    let acknowledged = &arrival.frame.packet[header.transport + 8..][..4];
    let ports = [tuple.destination.port().to_be_bytes(), tuple.source.port().to_be_bytes()].concat();
    // Five words; no window, no urgent pointer.
    let mut segment =
        [&ports[..], acknowledged, &[0, 0, 0, 0], &[5 << 4, flag::RST, 0, 0], &[0, 0, 0, 0]].concat();
    let pseudo = pseudo_header(arrival, TCP, segment.len());
    let sum = checksum::of(&[&pseudo[..], &segment].concat()).to_be_bytes();
    segment[16..18].copy_from_slice(&sum);
    Some(back(arrival, 0, TCP, &segment))
}

/// Returns the pseudo-header of an answer's checksum (RFC 9293, section 3.1; RFC 8200, section 8.1).
fn pseudo_header(arrival: &Arrival, protocol: u8, length: usize) -> Vec<u8> {
    let Header { source, destination, .. } = arrival.packet.header;
    let rest = [&(length as u32).to_be_bytes()[..], &[0, 0, 0, protocol]].concat();
    [octets(destination), octets(source), rest].concat()
}

/// Returns a frame to the sender, from the address that the sender contacted, with the tags that the frame
/// arrived with.
fn back(arrival: &Arrival, traffic_class: u8, protocol: u8, payload: &[u8]) -> Frame {
    let Header { version, source, destination, .. } = arrival.packet.header;
    let ends = [octets(destination), octets(source)];
    let header = tunnel::header(version, traffic_class, payload.len(), protocol, ends);
    Frame {
        macs: arrival.frame.macs_back(),
        tags: arrival.frame.tags.clone(),
        version,
        packet: [&header[..], payload].concat(),
    }
}
