// SPDX-License-Identifier: MIT OR Apache-2.0
//! The frames that probes send and understand: ARP, TCP SYN and RST, ICMP echo.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use super::Way;
use crate::netlink::Mac;

const ICMP: u8 = 1;
const IPIP: u8 = 4;
const TCP: u8 = 6;

/// What an answer to a probe says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Said {
    /// SYN and ACK; the number that it acknowledges.
    Open(u32),
    /// RST.
    Refused,
    /// Echo reply with this sequence number.
    Echo(u16),
    /// This protocol is not understood: ICMP from the real about a tunnelled packet.
    NoTunnel,
}

/// An answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Heard {
    pub(super) from: Ipv4Addr,
    /// The port that the probe came from, or the echo's identifier.
    pub(super) probe: u16,
    pub(super) said: Said,
}

/// An ARP request for `target`, from `(mac, ip)` (RFC 826).
pub(super) fn arp(mac: Mac, ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    [
        &[0xff; 6][..],
        &mac,
        &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1],
        &mac,
        &ip.octets(),
        &[0; 6],
        &target.octets(),
    ]
    .concat()
}

/// The Ethernet and IP address that an ARP reply names.
pub(super) fn arp_reply(frame: &[u8]) -> Option<(Mac, Ipv4Addr)> {
    let is_reply = frame.get(12..14)? == [0x08, 0x06] && frame.get(20..22)? == [0, 2];
    let (mac, ip): (Mac, [u8; 4]) =
        (frame.get(22..28)?.try_into().ok()?, frame.get(28..32)?.try_into().ok()?);
    is_reply.then(|| (mac, ip.into()))
}

/// The frame of a packet, as the data plane sends it: by `tun` with an outer header.
pub(super) fn framed(way: &Way, tunnel_to: Option<Ipv4Addr>, packet: Vec<u8>) -> Vec<u8> {
    let packet = match tunnel_to {
        Some(rip) => ip(IPIP, way.tunnel_source, rip, &packet),
        None => packet,
    };
    [&way.to[..], &way.from, &[0x08, 0x00], &packet].concat()
}

/// A TCP segment without payload: SYN, or the RST that takes it back.
pub(super) fn tcp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), sequence: u32, reset: bool) -> Vec<u8> {
    let flags = if reset { 0x04 } else { 0x02 };
    let mut segment = [
        &from.1.to_be_bytes()[..],
        &to.1.to_be_bytes(),
        &sequence.to_be_bytes(),
        &[0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0],
    ]
    .concat();
    let pseudo = [&from.0.octets()[..], &to.0.octets(), &[0, TCP, 0, segment.len() as u8], &segment].concat();
    segment[16..18].copy_from_slice(&checksum(&pseudo));
    ip(TCP, from.0, to.0, &segment)
}

/// An ICMP echo request in an IP packet of `length` bytes.
pub(super) fn echo(from: Ipv4Addr, to: Ipv4Addr, id: u16, sequence: u16, length: usize) -> Vec<u8> {
    let mut message = vec![0; length.max(28) - 20];
    message[0] = 8;
    message[4..6].copy_from_slice(&id.to_be_bytes());
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum);
    ip(ICMP, from, to, &message)
}

/// An IPv4 packet that must not be fragmented (RFC 791).
fn ip(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut header = [
        &[0x45, 0][..],
        &length.to_be_bytes(),
        &[0, 0, 0x40, 0, 64, protocol, 0, 0],
        &from.octets(),
        &to.octets(),
    ]
    .concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    header.extend_from_slice(payload);
    header
}

/// The Internet checksum (RFC 1071), as on the wire.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// What a received frame says, if it answers a probe.
pub(super) fn answer(frame: &[u8]) -> Option<Heard> {
    if frame.get(12..14)? != [0x08, 0x00] {
        return None;
    }
    let packet = frame.get(14..)?;
    let from = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?);
    let l4 = packet.get(usize::from(packet.first()? & 0xf) * 4..)?;
    let word = |at: usize| Some(u16::from_be_bytes(l4.get(at..at + 2)?.try_into().ok()?));
    let (probe, said) = match *packet.get(9)? {
        TCP => match *l4.get(13)? {
            flags if flags & 0x04 != 0 => (word(2)?, Said::Refused),
            flags if flags & 0x12 == 0x12 => {
                (word(2)?, Said::Open(u32::from_be_bytes(l4.get(8..12)?.try_into().ok()?)))
            }
            _ => return None,
        },
        ICMP => match *l4.first()? {
            0 => (word(4)?, Said::Echo(word(6)?)),
            // Quotes the outer header, whose protocol is at 9.
            3 if l4.get(17) == Some(&IPIP) => (0, Said::NoTunnel),
            _ => return None,
        },
        _ => return None,
    };
    Some(Heard { from, probe, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const WAY: Way = Way { ifindex: 1, to: [2; 6], from: [4; 6], tunnel_source: A, mtu: 1500 };

    #[test]
    fn every_prefix_of_an_answer_is_no_answer_or_the_same() {
        let frame = framed(&WAY, None, tcp((A, 80), (B, 4000), 7, true));
        let whole = answer(&frame);
        assert_eq!(whole, Some(Heard { from: A, probe: 4000, said: Said::Refused }));
        for n in 0..frame.len() {
            let part = answer(&frame[..n]);
            assert!(part.is_none() || part == whole, "prefix of {n} bytes: {part:?}");
        }
    }

    #[test]
    fn checksums_sum_up_to_nothing() {
        let packet = echo(A, B, 1, 2, 101);
        assert_eq!((checksum(&packet[..20]), checksum(&packet[20..])), ([0, 0], [0, 0]));
        let outer = framed(&WAY, Some(B), packet.clone());
        assert_eq!((checksum(&outer[14..34]), &outer[34..]), ([0, 0], &packet[..]));
        let segment = tcp((A, 80), (B, 4000), 7, false);
        let pseudo = [&A.octets()[..], &B.octets(), &[0, TCP, 0, 20], &segment[20..]].concat();
        assert_eq!(checksum(&pseudo), [0, 0]);
    }
}
