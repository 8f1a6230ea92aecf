// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parser of packet headers, as far as a director needs them: RFC 791, RFC 8200, and the ports of the
//! transport.

use std::net::{IpAddr, SocketAddr};

use super::{
    Tuple, Version,
    bytes::{address_at, u8_at, u16_at, u32_at},
};

/// TCP flags.
pub mod flag {
    #![expect(missing_docs, reason = "the names of RFC 9293")]
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

/// Numbers of protocols.
pub mod number {
    #![expect(missing_docs, reason = "the names of IANA")]
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
    pub const SCTP: u8 = 132;
}
use number::{SCTP, TCP, UDP};

/// Maximum number of extension headers, and their maximum length in bytes.
const MOST_EXTENSIONS: usize = 6;
const LONGEST_CHAIN: usize = 1023;

/// The part of its datagram that a packet is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment, with the ports.
    First,
    /// A later fragment, without.
    Later,
    /// The first fragment, which ends before its protocol's header does (RFC 1858).
    Tiny,
    /// A packet shorter than its length field, or than its protocol requires.
    Truncated,
    /// A packet whose ports are behind a header that the parser cannot read.
    Hidden,
}

/// The facts of an IP header, with its options or extension headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The version.
    pub version: Version,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol behind the header.
    pub protocol: u8,
    /// Offset of that protocol's header.
    pub transport: usize,
    /// Length of the packet by its header, in bytes.
    pub length: usize,
    /// Identification of the datagram.
    pub id: u32,
    /// The part of the datagram that the packet is.
    pub part: Part,
    /// Position of that part in the datagram, in words of eight bytes.
    pub offset: u16,
}

/// The facts of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    /// IP header of the packet. The part is [`Part::Truncated`] if the packet is truncated, regardless of the
    /// header.
    pub header: Header,
    /// Ends and protocol; ports are 0 where there are none.
    pub tuple: Tuple,
    /// TCP flags, or those that correspond to an SCTP chunk.
    pub flags: u8,
}

impl Packet {
    /// Returns whether the packet opens a connection.
    pub const fn opens(&self) -> bool {
        self.flags & (flag::SYN | flag::ACK) == flag::SYN
    }
}

/// Parses the header at the beginning of `bytes`; returns `None` if there is none of this version.
pub fn header(bytes: &[u8], version: Version) -> Option<Header> {
    if u8_at(bytes, 0)? >> 4 != version.number() || bytes.len() < version.header_length() {
        return None;
    }
    match version {
        Version::V4 => header4(bytes),
        Version::V6 => header6(bytes),
    }
}

fn header4(bytes: &[u8]) -> Option<Header> {
    let words = usize::from(bytes[0] & 0x0f);
    let fragment = u16_at(bytes, 6)?;
    let (more, offset) = (fragment & 0x2000 != 0, fragment & 0x1fff);
    (words >= 5).then_some(Header {
        version: Version::V4,
        source: address_at(bytes, 12, Version::V4)?,
        destination: address_at(bytes, 16, Version::V4)?,
        protocol: bytes[9],
        transport: 4 * words,
        length: u16_at(bytes, 2)?.into(),
        id: u16_at(bytes, 4)?.into(),
        part: match (offset, more) {
            (0, false) => Part::Whole,
            (0, true) => Part::First,
            _ => Part::Later,
        },
        offset,
    })
}

fn header6(bytes: &[u8]) -> Option<Header> {
    let mut header = Header {
        version: Version::V6,
        source: address_at(bytes, 8, Version::V6)?,
        destination: address_at(bytes, 24, Version::V6)?,
        protocol: bytes[6],
        transport: 40,
        length: 40 + usize::from(u16_at(bytes, 4)?),
        id: 0,
        part: Part::Whole,
        offset: 0,
    };
    header.walk(bytes);
    Some(header)
}

impl Header {
    /// Walks over extension headers (RFC 8200, section 4) to the header behind them.
    fn walk(&mut self, bytes: &[u8]) {
        for seen in 0.. {
            let at = self.transport;
            let length = match self.protocol {
                // Hop-by-hop options, routing, destination options.
                0 | 43 | 44 | 60 if seen == MOST_EXTENSIONS => return self.part = Part::Hidden,
                0 | 43 | 60 => {
                    let Some(start) = bytes.get(at..at + 4) else { return self.part = Part::Truncated };
                    let segments_left = start[3];
                    if self.protocol == 43 && segments_left != 0 {
                        // The destination is not the last one.
                        return self.part = Part::Hidden;
                    }
                    8 * (usize::from(start[1]) + 1)
                }
                // A fragment.
                44 => {
                    let (Some(fragment), Some(id)) = (u16_at(bytes, at + 2), u32_at(bytes, at + 4)) else {
                        return self.part = Part::Truncated;
                    };
                    (self.id, self.offset) = (id, fragment >> 3);
                    match (fragment >> 3, fragment & 1) {
                        (0, 0) => {}
                        (0, _) => self.part = Part::First,
                        _ => self.part = Part::Later,
                    }
                    8
                }
                // Authentication, mobility, host identity, shim6, experiments.
                51 | 135 | 139 | 140 | 253 | 254 => return self.part = Part::Hidden,
                _ => return,
            };
            if at + length - 40 > LONGEST_CHAIN {
                return self.part = Part::Hidden;
            }
            (self.protocol, self.transport) = (bytes[at], at + length);
            if self.part == Part::Later {
                return;
            }
        }
    }
}

/// Takes a packet apart. `bytes` may go on behind it. `None`: it is nothing that a service could get.
pub fn packet(bytes: &[u8], version: Version) -> Option<Packet> {
    let mut header = header(bytes, version)?;
    let known = [TCP, UDP, SCTP, version.icmp()].contains(&header.protocol);
    let least = match (header.part, header.protocol) {
        (Part::Truncated | Part::Hidden, _) => 0,
        // The next header of a later IPv6 fragment may be an extension header.
        (Part::Later, _) if known || version == Version::V6 => 0,
        _ if !known => return None,
        (_, TCP) => 20,
        (_, SCTP) => 12,
        _ => 8,
    };
    if bytes.len() < header.length {
        header.part = Part::Truncated;
    } else if header.length < header.transport + least {
        header.part = if header.part == Part::First { Part::Tiny } else { Part::Truncated };
    }
    let (mut ports, mut flags) = ((0, 0), 0);
    if matches!(header.part, Part::Whole | Part::First) && header.protocol != version.icmp() {
        ports = (u16_at(bytes, header.transport)?, u16_at(bytes, header.transport + 2)?);
        flags = match header.protocol {
            TCP => u8_at(bytes, header.transport + 13)?,
            SCTP => sctp_flags(&bytes[header.transport..header.length]),
            _ => 0,
        };
    }
    let tuple = Tuple {
        protocol: header.protocol,
        source: SocketAddr::new(header.source, ports.0),
        destination: SocketAddr::new(header.destination, ports.1),
    };
    Some(Packet { header, tuple, flags })
}

/// Returns the TCP flags that correspond to the first chunk of an SCTP packet (docs/forwarding.md).
fn sctp_flags(packet: &[u8]) -> u8 {
    match packet.get(12) {
        // INIT
        Some(1) => flag::SYN,
        // ABORT, SHUTDOWN COMPLETE
        Some(6 | 14) => flag::RST,
        // SHUTDOWN, SHUTDOWN ACK
        Some(7 | 8) => flag::FIN | flag::ACK,
        _ => flag::ACK,
    }
}

/// The packet that an ICMP error quotes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quote {
    /// The 5-tuple of the quoted packet, in the direction of that packet.
    pub tuple: Tuple,
    /// Offset of the quoted IP header.
    pub header: usize,
    /// Offset of the quoted ports.
    pub transport: usize,
}

/// Reads what an ICMP error quotes: an IP header and at least eight bytes of TCP, UDP or SCTP, all within the
/// error.
pub fn quote(bytes: &[u8], error: &Packet) -> Option<Quote> {
    let Header { version, transport, length, .. } = error.header;
    let start = transport + 8;
    let quoted = bytes.get(start..length)?;
    let header = header(quoted, version)?;
    let known = [TCP, UDP, SCTP].contains(&header.protocol);
    if !known || !matches!(header.part, Part::Whole | Part::First) || quoted.len() < header.transport + 8 {
        return None;
    }
    let port = |at| u16_at(quoted, header.transport + at);
    let tuple = Tuple {
        protocol: header.protocol,
        source: SocketAddr::new(header.source, port(0)?),
        destination: SocketAddr::new(header.destination, port(2)?),
    };
    Some(Quote { tuple, header: start, transport: start + header.transport })
}
