// SPDX-License-Identifier: MIT OR Apache-2.0
//! A frame of a flow, with checksums that are right.

use std::net::{IpAddr, SocketAddr};

use lb_model::Protocol;

/// Source MAC address of the frame.
const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TTL: u8 = 64;

/// Flags of a TCP packet
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Flag {
    /// Opens a connection
    #[default]
    Syn,
    /// Belongs to an open connection
    Ack,
    /// Closes a connection
    Fin,
    /// Resets a connection
    Rst,
}

impl Flag {
    /// Returns the flags byte of the header; a FIN has ACK set, as in practice.
    const fn bits(self) -> u8 {
        match self {
            Self::Syn => 0x02,
            Self::Ack => 0x10,
            Self::Fin => 0x11,
            Self::Rst => 0x04,
        }
    }
}

/// A packet of a client for a service.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Protocol.
    pub protocol: Protocol,
    /// Client address and port.
    pub client: SocketAddr,
    /// VIP and port.
    pub service: SocketAddr,
    /// Purpose of a TCP packet.
    pub flag: Flag,
    /// Length of the payload, in bytes.
    pub length: u16,
}

impl Flow {
    /// Returns the frame, with a destination MAC address of zeros: the daemon knows that of its interface.
    /// `None` if the addresses have different IP versions, or the packet is longer than IP permits.
    #[must_use]
    pub fn frame(&self) -> Option<Vec<u8>> {
        let addresses = match (self.client.ip(), self.service.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
            (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
            _ => return None,
        };
        let segment = self.segment(&addresses)?;
        let (ethertype, header) = if self.client.is_ipv4() {
            (0x0800u16, self.ipv4(&addresses, segment.len())?)
        } else {
            (0x86dd, self.ipv6(&addresses, segment.len())?)
        };
        Some([&[0; 6][..], &SOURCE_MAC, &ethertype.to_be_bytes(), &header, &segment].concat())
    }

    fn ipv4(&self, addresses: &[u8], length: usize) -> Option<Vec<u8>> {
        let [high, low] = u16::try_from(length + 20).ok()?.to_be_bytes();
        // The header has the don't-fragment flag, as most hosts send it.
        let fixed = [0x45, 0, high, low, 0, 1, 0x40, 0, TTL, self.protocol.number(), 0, 0];
        let mut header = [&fixed[..], addresses].concat();
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        Some(header)
    }

    fn ipv6(&self, addresses: &[u8], length: usize) -> Option<Vec<u8>> {
        let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
        Some([&[0x60, 0, 0, 0, high, low, self.protocol.number(), TTL][..], addresses].concat())
    }

    /// Returns the payload of the IP header.
    fn segment(&self, addresses: &[u8]) -> Option<Vec<u8>> {
        let ports = [self.client.port().to_be_bytes(), self.service.port().to_be_bytes()].concat();
        let payload = vec![b'x'; self.length.into()];
        let (mut segment, place) = match self.protocol {
            Protocol::Tcp => {
                // Sequence numbers 1 and 0, no options, a window of 65,535, no checksum yet.
                let fixed = [0, 0, 0, 1, 0, 0, 0, 0, 0x50, self.flag.bits(), 0xff, 0xff, 0, 0, 0, 0];
                ([&ports[..], &fixed, &payload].concat(), 16)
            }
            Protocol::Udp => {
                let length = self.length.checked_add(8)?.to_be_bytes();
                ([&ports[..], &length, &[0, 0], &payload].concat(), 6)
            }
            Protocol::Sctp => return sctp(&ports, self.length),
        };
        let length = u32::try_from(segment.len()).ok()?.to_be_bytes();
        let pseudo = [addresses, &length, &[0, 0, 0, self.protocol.number()], &segment].concat();
        let sum = match checksum(&pseudo) {
            // A checksum of 0 would mean that there is none (RFC 768).
            0 if self.protocol == Protocol::Udp => 0xffff,
            sum => sum,
        };
        segment[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        Some(segment)
    }
}

/// Returns INIT, which opens an association, if there is no payload, otherwise DATA (RFC 9260).
fn sctp(ports: &[u8], length: u16) -> Option<Vec<u8>> {
    let (tag, chunk) = if length == 0 {
        // Initiate tag 1, a window of 65,535, one stream each way, initial TSN 1.
        (0u32, vec![1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1])
    } else {
        let [high, low] = length.checked_add(16)?.to_be_bytes();
        let mut chunk = vec![0, 3, high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        chunk.resize((16 + usize::from(length)).next_multiple_of(4), 0);
        (1, chunk)
    };
    let mut segment = [ports, &tag.to_be_bytes(), &[0; 4], &chunk].concat();
    let sum = crc32c(&segment);
    segment[8..12].copy_from_slice(&sum.to_le_bytes());
    Some(segment)
}

/// Returns the Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Returns the checksum of SCTP (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(protocol: Protocol, client: &str, service: &str, length: u16) -> Flow {
        let (client, service) = (client.parse().unwrap(), service.parse().unwrap());
        Flow { protocol, client, service, flag: Flag::Syn, length }
    }

    #[test]
    fn checksums_are_right() {
        // The sum over data with a right checksum is zero.
        for (client, service, start) in
            [("10.0.0.1:1", "10.0.0.9:80", 34), ("[fd00::1]:1", "[fd00::9]:80", 54)]
        {
            for (protocol, length) in [(Protocol::Tcp, 0), (Protocol::Tcp, 7), (Protocol::Udp, 9)] {
                let frame = flow(protocol, client, service, length).frame().unwrap();
                let addresses = if start == 34 { &frame[26..34] } else { &frame[22..54] };
                if start == 34 {
                    assert_eq!(checksum(&frame[14..34]), 0);
                }
                let segment = &frame[start..];
                let pseudo = (segment.len() as u32).to_be_bytes();
                let sum = [addresses, &pseudo, &[0, 0, 0, protocol.number()], segment].concat();
                assert_eq!(checksum(&sum), 0, "{protocol} {client}");
            }
        }
    }

    #[test]
    fn the_checksum_of_sctp_is_that_of_the_rfc() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let frame = flow(Protocol::Sctp, "10.0.0.1:1", "10.0.0.9:80", 0).frame().unwrap();
        assert_eq!(frame.len(), 14 + 20 + 12 + 20);
        let mut segment = frame[34..].to_vec();
        segment[8..12].fill(0);
        assert_eq!(frame[42..46], crc32c(&segment).to_le_bytes());
    }

    #[test]
    fn lengths_say_what_is_there() {
        let frame = flow(Protocol::Tcp, "10.0.0.1:1", "10.0.0.9:80", 100).frame().unwrap();
        assert_eq!((frame.len(), &frame[16..18]), (154, &[0, 140][..]));
        let frame = flow(Protocol::Udp, "[fd00::1]:1", "[fd00::9]:80", 100).frame().unwrap();
        assert_eq!((frame.len(), &frame[18..20], &frame[58..60]), (162, &[0, 108][..], &[0, 108][..]));
    }

    #[test]
    fn two_versions_of_ip_and_too_much_are_no_packet() {
        assert_eq!(flow(Protocol::Tcp, "10.0.0.1:1", "[fd00::9]:80", 0).frame(), None);
        assert_eq!(flow(Protocol::Tcp, "10.0.0.1:1", "10.0.0.9:80", u16::MAX).frame(), None);
        assert_eq!(flow(Protocol::Udp, "10.0.0.1:1", "10.0.0.9:80", u16::MAX).frame(), None);
    }
}
