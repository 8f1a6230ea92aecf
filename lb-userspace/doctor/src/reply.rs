// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replies to probes: SYN and ACK, RST, ICMP echo reply, and ICMP errors about tunnels.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lb_common::protocol::{GRE, ICMP, ICMPV6, IPIP, IPV6, TCP, UDP};

/// Type of a reply to a probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reply {
    /// SYN and ACK, with the acknowledged number.
    SynAck(u32),
    Rst,
    /// ICMP error about a segment: a firewall rejects it.
    Rejected,
    /// Echo reply with this sequence number.
    Echo(u16),
    /// Unsupported protocol: an ICMP error from the real about a tunnelled packet, for UDP with this
    /// destination port.
    NoTunnel(Option<u16>),
}

/// A received reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Received {
    pub(super) from: IpAddr,
    /// Source port of the probe, or identifier of the echo.
    pub(super) probe: u16,
    pub(super) reply: Reply,
    /// The checksum of a segment is right; those of other replies are not checked.
    pub(super) has_valid_checksum: bool,
}

/// Returns source, protocol and payload of an IP packet. Replies have no extension headers.
fn ip(packet: &[u8]) -> Option<(IpAddr, u8, &[u8])> {
    let octets = |at: usize, length: usize| packet.get(at..at + length);
    match packet.first()? >> 4 {
        4 => {
            let from = <[u8; 4]>::try_from(octets(12, 4)?).ok()?;
            Some((from.into(), *packet.get(9)?, packet.get(usize::from(packet[0] & 0xf) * 4..)?))
        }
        6 => {
            let from = <[u8; 16]>::try_from(octets(8, 16)?).ok()?;
            Some((from.into(), *packet.get(6)?, packet.get(40..)?))
        }
        _ => None,
    }
}

/// Parses a received frame, if it replies to a probe.
pub(super) fn parse(frame: &[u8]) -> Option<Received> {
    if !matches!(frame.get(12..14)?, [0x08, 0x00] | [0x86, 0xdd]) {
        return None;
    }
    let (from, protocol, l4) = ip(frame.get(14..)?)?;
    let word = |at: usize| Some(u16::from_be_bytes(l4.get(at..at + 2)?.try_into().ok()?));
    let (probe, reply) = match (protocol, *l4.first()?) {
        (TCP, _) => match *l4.get(13)? {
            flags if flags & 0x04 != 0 => (word(2)?, Reply::Rst),
            flags if flags & 0x12 == 0x12 => {
                (word(2)?, Reply::SynAck(u32::from_be_bytes(l4.get(8..12)?.try_into().ok()?)))
            }
            _ => return None,
        },
        (ICMP, 0) | (ICMPV6, 129) => (word(4)?, Reply::Echo(word(6)?)),
        // Unreachable, and for IPv6 the parameter problem of an unknown next header.
        (ICMP, 3) | (ICMPV6, 1 | 4) => quoted(l4.get(8..)?)?,
        _ => return None,
    };
    Some(Received { from, probe, reply, has_valid_checksum: protocol != TCP || has_valid_checksum(frame) })
}

/// Returns whether a segment has the right checksum.
fn has_valid_checksum(frame: &[u8]) -> bool {
    let Ok(SlicedPacket { net: Some(net), transport: Some(TransportSlice::Tcp(tcp)), .. }) =
        SlicedPacket::from_ethernet(frame)
    else {
        return true;
    };
    let (header, payload) = (tcp.to_header(), tcp.payload());
    let sum = match net {
        NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), payload),
        NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), payload),
        NetSlice::Arp(_) => return true,
    };
    sum.is_ok_and(|sum| is_same(sum, header.checksum))
}

/// Returns whether two checksums are equal: Linux sends the zero of one's complement as all ones, also for
/// TCP (`skb_checksum_help`).
const fn is_same(one: u16, other: u16) -> bool {
    one == other || (one == 0 && other == u16::MAX) || (one == u16::MAX && other == 0)
}

/// Interprets an ICMP error by the packet that it quotes: a tunnelled packet, with its UDP port if it has
/// one; or a segment, whose port identifies the probe.
fn quoted(packet: &[u8]) -> Option<(u16, Reply)> {
    let (_, protocol, l4) = ip(packet)?;
    let word = |at: usize| Some(u16::from_be_bytes(l4.get(at..at + 2)?.try_into().ok()?));
    match protocol {
        IPIP | IPV6 | GRE => Some((0, Reply::NoTunnel(None))),
        UDP => Some((0, Reply::NoTunnel(Some(word(2)?)))),
        TCP => Some((word(0)?, Reply::Rejected)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::NextHop, super::frame, *};

    #[rstest]
    fn every_prefix_of_a_reply_is_no_reply_or_the_same(#[values("10.0.0.1", "fd00::1")] a: IpAddr) {
        let next_hop = NextHop { ifindex: 1, to: [2; 6], from: [4; 6], tunnel_source: a, mtu: 1500 };
        let frame = frame::framed(&next_hop, None, frame::tcp(frame::TTL, (a, 80), (a, 4000), 7, true));
        let whole = parse(&frame);
        assert_eq!(
            whole,
            Some(Received { from: a, probe: 4000, reply: Reply::Rst, has_valid_checksum: true })
        );
        for n in 0..frame.len() {
            let part = parse(&frame[..n]);
            assert!(part.is_none() || part == whole, "prefix of {n} bytes: {part:?}");
        }
    }

    #[test]
    fn a_checksum_of_zero_may_be_all_ones_and_any_other_may_not() {
        const CHECKSUM: usize = 14 + 20 + 16;
        let a = IpAddr::from([10, 0, 0, 1]);
        let next_hop = NextHop { ifindex: 1, to: [2; 6], from: [4; 6], tunnel_source: a, mtu: 1500 };
        let framed =
            |number| frame::framed(&next_hop, None, frame::tcp(frame::TTL, (a, 80), (a, 4000), number, true));
        let mut zero = (0..=u32::from(u16::MAX)).map(framed).find(|frame| frame[CHECKSUM..][..2] == [0, 0]);
        let zero = zero.as_mut().expect("one number of all makes the sum zero");
        for (checksum, is_valid) in
            [([0, 0], true), ([0xff, 0xff], true), ([0, 1], false), ([0xff, 0xfe], false)]
        {
            zero[CHECKSUM..][..2].copy_from_slice(&checksum);
            assert_eq!(parse(zero).map(|one| one.has_valid_checksum), Some(is_valid), "{checksum:x?}");
        }
    }
}
