// SPDX-License-Identifier: MIT OR Apache-2.0
//! The frames that are sent, to which the trampoline adds addresses and ports.
//!
//! Checksums of IP headers are correct for all of them. TCP checksums are not: the director verifies none.

use std::net::SocketAddr;

use etherparse::{Icmpv4Type, Icmpv6Type, icmpv4::DestUnreachableHeader, icmpv6::DestUnreachableCode};
use lb_tests_ebpf::{LARGEST, NONE, Order, SHORT};

use super::{
    net::{Host, PORT},
    row::{Row, Traffic, Version},
};
use crate::packet::{self, Frame};

const ETHERNET: usize = 14;

/// The part of a row's packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// SYNs of all flows, which make them known.
    Syn,
    /// The packets after them.
    Ack,
    /// Packets that are measured.
    Measured,
}

/// Returns the program that sends a part, with its frame and the stamped fields.
#[must_use]
pub fn order(row: &Row, part: Part) -> (&'static str, Order) {
    let six = row.version == Version::V6;
    let measured = part == Part::Measured;
    let (program, length, frame) = match row.traffic {
        Traffic::IcmpError if measured => {
            if six {
                ("error6", 112, error(row.version))
            } else {
                ("error", 72, error(row.version))
            }
        }
        _ if measured && row.path.is_reply() => {
            // All of the ends is added.
            let nobody = SocketAddr::new(unspecified(row.version), 0);
            let frame = packet::tcp(nobody, nobody).data(data(row.version));
            if six { ("reply6", 80, frame) } else { ("reply", 64, frame) }
        }
        traffic => {
            let service = if traffic == Traffic::NotOurs { Host::Stranger } else { Host::Service(0) };
            let frame = packet::tcp(Host::Clients.at(row.version, 0), service.at(row.version, PORT))
                .data(data(row.version));
            let opens = part == Part::Syn || measured && traffic == Traffic::SynFlood;
            let frame = if opens { frame.data([]).syn() } else { frame };
            if six { ("request6", 80, frame) } else { ("request", 64, frame) }
        }
    };
    let mut bytes = frame.bytes();
    bytes.resize(length, 0);
    if row.traffic == Traffic::NotIp && measured {
        bytes[12..14].copy_from_slice(&[0x08, 0x06]);
    }
    let flows = if measured && row.flows == 0 { 0 } else { row.flows.max(1) };
    let order = Order {
        sum: header_sum(&mut bytes, row.version),
        frame: words(&bytes),
        flows,
        // Packets never come in the order in which their flows began.
        step: if part == Part::Syn { apart(flows) } else { 1 },
        services: if row.traffic == Traffic::OneService { 1 } else { row.services },
        first_service: 0,
        packets: if measured && row.traffic == Traffic::NewFlow { SHORT } else { 1 },
        learn: 0,
        next: 0,
        last: NONE,
        missed: 0,
        device: 0,
    };
    (program, order)
}

/// Returns a large step that visits each of `flows` flows before it visits one twice.
fn apart(flows: u32) -> u32 {
    let most = u64::from(flows);
    let golden = u32::try_from(most * 618 / 1000).unwrap_or(1).max(1);
    (golden..flows).find(|step| greatest_common_divisor(*step, flows) == 1).unwrap_or(1)
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Bytes of the frame that a program sends.
#[must_use]
pub fn length(program: &str) -> usize {
    match program {
        "request6" | "reply6" => 80,
        "error" => 72,
        "error6" => 112,
        _ => 64,
    }
}

/// Returns the data that brings the frame to its usual length.
fn data(version: Version) -> &'static [u8] {
    match version {
        Version::V4 => b"ten bytes.",
        Version::V6 => b"six by",
    }
}

fn unspecified(version: Version) -> std::net::IpAddr {
    match version {
        Version::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Version::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Returns a router's error about a packet from a service to a client.
fn error(version: Version) -> Frame {
    let quoted = packet::tcp(Host::Service(0).at(version, PORT), Host::Clients.at(version, 0));
    let (router, service) = (Host::Router.ip(version), Host::Service(0).ip(version));
    match version {
        Version::V4 => {
            let kind = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host);
            packet::error(kind, router, service, &quoted)
        }
        Version::V6 => {
            let kind = Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Address);
            packet::error(kind, router, service, &quoted)
        }
    }
}

/// Removes the checksum of an IPv4 header, and returns the sum of the rest, in memory order.
fn header_sum(frame: &mut [u8], version: Version) -> u32 {
    if version == Version::V6 {
        return 0;
    }
    let header = &mut frame[ETHERNET..ETHERNET + 20];
    header[10..12].fill(0);
    header.chunks(2).map(|word| u32::from(u16::from_ne_bytes([word[0], word[1]]))).sum()
}

pub(super) fn words(bytes: &[u8]) -> [u32; LARGEST / 4] {
    let mut words = [0; LARGEST / 4];
    for (word, four) in words.iter_mut().zip(bytes.chunks(4)) {
        *word = u32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{choice::BASE, row::Path};

    #[test]
    fn flows_are_made_known_each_once() {
        for flows in [1, 2, 3, 10, 999, 1000, 1024] {
            let mut seen = vec![false; flows as usize];
            let mut turn = 0;
            for _ in 0..flows {
                assert!(!std::mem::replace(&mut seen[turn as usize], true), "{flows}: {turn} twice");
                turn = (turn + apart(flows)) % flows;
            }
        }
    }

    #[test]
    fn every_frame_is_as_long_as_its_program_sends() {
        for version in [Version::V4, Version::V6] {
            for traffic in Traffic::ALL {
                for path in [Path::Dr, Path::NatReply] {
                    let row = BASE.version(version).path(path).traffic(*traffic);
                    let (program, order) = order(&row, Part::Measured);
                    let used = order.frame.iter().rposition(|&word| word != 0).map_or(0, |last| 4 * last + 4);
                    assert!(used <= length(program), "{row}: {used} bytes for {program}");
                }
            }
        }
    }
}
