// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames of probes: TCP SYN and RST, ICMP echo, and the headers of tunnels, for both IP versions.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, SlicedPacket, TransportSlice,
    checksum::Sum16BitWords,
};

use lb_common::checksum::Delta;

use super::NextHop;
use lb_model::Tunnel;
use lb_netlink::Mac;

/// Source UDP port of tunnelled probes, by which ICMP errors about them are recognised.
pub(super) const TUNNEL_PORT: u16 = 61_080;

/// Returns the length of the IP header without options, in bytes.
const fn header(ip: IpAddr) -> u16 {
    if ip.is_ipv4() { 20 } else { 40 }
}

/// Returns the number of bytes by which a tunnel to `rip` reduces the MTU.
pub(super) const fn overhead(rip: IpAddr, tunnel: Tunnel) -> u16 {
    header(rip) + tunnel.length() as u16
}

/// Returns the headers of a packet that must not be fragmented (RFC 791, RFC 8200). Both addresses have the
/// same IP version.
fn headers(from: IpAddr, to: IpAddr, ttl: u8) -> IpHeaders {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let ip = Ipv4Header {
                time_to_live: ttl,
                dont_fragment: true,
                fragment_offset: IpFragOffset::ZERO,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv4Header::default()
            };
            IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default())
        }
        (from, to) => {
            let octets = |ip| match ip {
                IpAddr::V4(v4) => std::net::Ipv4Addr::to_ipv6_mapped(&v4).octets(),
                IpAddr::V6(v6) => std::net::Ipv6Addr::octets(&v6),
            };
            let ip = Ipv6Header {
                hop_limit: ttl,
                source: octets(from),
                destination: octets(to),
                ..Ipv6Header::default()
            };
            IpHeaders::Ipv6(ip, etherparse::Ipv6Extensions::default())
        }
    }
}

/// Time to live that most senders use.
pub(super) const TTL: u8 = 64;

/// Returns a TCP segment without payload: a SYN, or the RST that ends the connection.
pub(super) fn tcp(ttl: u8, from: (IpAddr, u16), to: (IpAddr, u16), sequence: u32, reset: bool) -> Vec<u8> {
    let segment = PacketBuilder::ip(headers(from.0, to.0, ttl)).tcp(from.1, to.1, sequence, 0xffff);
    let segment = if reset { segment.rst() } else { segment.syn() };
    let mut packet = Vec::new();
    // Writing to a vector cannot fail, and the segment is short enough.
    let _infallible = segment.write(&mut packet, &[]);
    packet
}

/// Converts a frame with a SYN without options to the RST that ends the connection, with that sequence number.
pub(super) fn reset_of(frame: &[u8], sequence: u32) -> Vec<u8> {
    const SEGMENT: usize = 20;
    const RST: u8 = 0x04;
    let mut frame = frame.to_vec();
    let Some(segment) =
        frame.len().checked_sub(SEGMENT).and_then(|at| frame.get_mut(at..)?.first_chunk_mut::<SEGMENT>())
    else {
        return frame;
    };
    let before = *segment;
    let word = |segment: &[u8; SEGMENT], at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    segment[13] = RST;
    let delta = [4, 6, 12]
        .iter()
        .fold(Delta::new(), |delta, at| delta.replace16(word(&before, *at), word(segment, *at)));
    let sum = delta.apply(word(&before, 16));
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Returns an ICMP echo request in an IP packet of `length` bytes.
pub(super) fn echo(ttl: u8, from: IpAddr, to: IpAddr, id: u16, sequence: u16, length: u16) -> Vec<u8> {
    let payload = vec![0; usize::from(length.saturating_sub(header(to) + 8))];
    let mut packet = Vec::new();
    let ip = PacketBuilder::ip(headers(from, to, ttl));
    let _infallible = if to.is_ipv4() {
        ip.icmpv4_echo_request(id, sequence).write(&mut packet, &payload)
    } else {
        ip.icmpv6_echo_request(id, sequence).write(&mut packet, &payload)
    };
    packet
}

/// Returns the frame of a packet as the data plane sends it: with `tun`, inside another packet.
pub(super) fn framed(next_hop: &NextHop, tunnel: Option<(IpAddr, Tunnel)>, packet: Vec<u8>) -> Vec<u8> {
    let packet = match tunnel {
        Some((rip, tunnel)) => encapsulated(next_hop.tunnel_source, rip, tunnel, &packet),
        None => packet,
    };
    ethernet(next_hop.to, next_hop.from, &packet)
}

/// Formats an Ethernet address.
pub(super) fn mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Length of an Ethernet header without tags, in bytes.
pub(super) const ETHERNET: usize = 14;

/// Returns the frame of an IP packet.
pub(super) fn ethernet(to: Mac, from: Mac, packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] =
        if packet.first().is_some_and(|byte| byte >> 4 == 6) { [0x86, 0xdd] } else { [0x08, 0x00] };
    [&to[..], &from, &kind, packet].concat()
}

/// Returns the source port of the TCP segment in a frame; `None` if there is none, or it is inside a tunnel.
pub(super) fn source_port(frame: &[u8]) -> Option<u16> {
    match SlicedPacket::from_ethernet(frame).ok()?.transport? {
        TransportSlice::Tcp(tcp) => Some(tcp.source_port()),
        _ => None,
    }
}

/// Returns a packet inside another one: RFC 2003 and 2473, RFC 2784, draft-ietf-intarea-gue.
fn encapsulated(from: IpAddr, rip: IpAddr, tunnel: Tunnel, packet: &[u8]) -> Vec<u8> {
    let is_v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
    let protocol = if is_v6 { IpNumber::IPV6 } else { IpNumber::IPV4 };
    let outer = PacketBuilder::ip(headers(from, rip, TTL));
    let mut whole = Vec::new();
    let _infallible = match tunnel {
        Tunnel::Ipip => outer.write(&mut whole, protocol, packet),
        Tunnel::Gre { csum } => {
            let kind = if is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
            let mut data =
                [&[if csum { 0x80 } else { 0 }, 0][..], &kind, &[0; 4][..tunnel.length() - 4], packet]
                    .concat();
            if csum {
                let sum = Sum16BitWords::new().add_slice(&data).ones_complement();
                data[4..6].copy_from_slice(&sum.to_ne_bytes());
            }
            outer.write(&mut whole, IpNumber::GRE, &data)
        }
        Tunnel::Gue { port, .. } => {
            outer.udp(TUNNEL_PORT, port).write(&mut whole, &[&[0, protocol.0, 0, 0], packet].concat())
        }
    };
    whole
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    fn a_syn_is_converted_to_the_same_rst_as_one_built_from_scratch(
        #[values("10.0.0.11", "fd00::b")] rip: IpAddr,
        #[values("ipip", "gre", "gue")] tunnel: &str,
    ) {
        let tunnel: Tunnel = tunnel.parse().unwrap();
        let next_hop = NextHop { ifindex: 1, to: [2; 6], from: [4; 6], tunnel_source: rip, mtu: 1500 };
        let made = |sequence, reset| {
            let packet = tcp(TTL, (rip, 4000), (rip, 80), sequence, reset);
            framed(&next_hop, Some((rip, tunnel)), packet)
        };
        assert_eq!(reset_of(&made(7, false), 0xfedc_ba98), made(0xfedc_ba98, true));
        assert_eq!(reset_of(&[1, 2, 3], 7), [1, 2, 3]);
    }

    #[rstest]
    fn the_headers_of_a_tunnel_have_the_length_of_its_overhead(
        #[values("10.0.0.11", "fd00::b")] rip: IpAddr,
        #[values("192.0.2.100", "2001:db8::100")] vip: IpAddr,
        #[values("ipip", "gre", "gre:csum", "gue", "gue:csum")] tunnel: &str,
    ) {
        let tunnel: Tunnel = tunnel.parse().unwrap();
        let next_hop = NextHop { ifindex: 1, to: [2; 6], from: [4; 6], tunnel_source: rip, mtu: 1500 };
        let inner = echo(TTL, vip, vip, 1, 2, 1280);
        let frame = framed(&next_hop, Some((rip, tunnel)), inner.clone());
        assert_eq!((inner.len(), frame.len()), (1280, 1280 + 14 + usize::from(overhead(rip, tunnel))));
        assert!(frame.ends_with(&inner));
        SlicedPacket::from_ethernet(&frame).unwrap();
    }
}
