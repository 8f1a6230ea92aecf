// SPDX-License-Identifier: MIT OR Apache-2.0
//! A packet within another one: IP in IP (RFC 2003, RFC 2473), GRE (RFC 2784), GUE.

use super::{
    Version,
    bytes::octets,
    checksum, hash,
    parse::Packet,
    world::{Method, Real, Tunnel},
};

impl Real {
    /// Bytes that a packet grows by on its way to it.
    pub fn growth(&self) -> usize {
        if self.method != Method::Tun {
            return 0;
        }
        let between = match self.tunnel.0 {
            Tunnel::Ipip => 0,
            Tunnel::Gre if self.checked => 8,
            Tunnel::Gre => 4,
            Tunnel::Gue => 8 + 4,
        };
        Version::of(self.address.ip()).header_length() + between
    }

    /// Returns whether a packet of `length` bytes exceeds the MTU towards the real.
    pub fn is_too_small_for(&self, length: usize) -> bool {
        length + self.growth() > self.mtu
    }
}

/// Encapsulates a packet for a `tun` real. `bytes` is the packet, and the rest of the frame behind it.
pub fn within(bytes: &[u8], packet: &Packet, real: &Real) -> (Version, Vec<u8>) {
    let inner = packet.header.version;
    let (tunnel, port) = real.tunnel;
    let number = match inner {
        Version::V4 => 4,
        Version::V6 => 41,
    };
    let ends = [octets(real.director), octets(real.address.ip())];
    let whole = &bytes[..packet.header.length];
    let (protocol, between) = match tunnel {
        Tunnel::Ipip => (number, Vec::new()),
        Tunnel::Gre if real.checked => {
            let mut header = [&[0x80, 0], &inner.ether_type()[..], &[0; 4]].concat();
            let sum = checksum::of(&[&header, whole].concat());
            header[4..6].copy_from_slice(&sum.to_be_bytes());
            (47, header)
        }
        Tunnel::Gre => (47, [&[0, 0], &inner.ether_type()[..]].concat()),
        Tunnel::Gue => {
            // One of 16,384 ports by the flow's hash.
            let source = 0xc000 | hash::flow(&packet.tuple, 0) as u16 >> 2;
            let length = (8 + 4 + packet.header.length) as u16;
            let mut udp = [source, port, length, 0].map(u16::to_be_bytes).concat();
            udp.extend([0, number, 0, 0]);
            if real.checked {
                let pseudo = [&ends.concat()[..], &[0, 17], &length.to_be_bytes()].concat();
                let sum = match checksum::of(&[&pseudo, &udp[..], whole].concat()) {
                    0 => 0xffff,
                    sum => sum,
                };
                udp[6..8].copy_from_slice(&sum.to_be_bytes());
            }
            (17, udp)
        }
    };
    let traffic_class = match inner {
        Version::V4 => bytes[1],
        Version::V6 => bytes[0] << 4 | bytes[1] >> 4,
    };
    let outer = header(
        Version::of(real.address.ip()),
        traffic_class,
        between.len() + packet.header.length,
        protocol,
        ends,
    );
    (Version::of(real.address.ip()), [&outer[..], &between, bytes].concat())
}

/// Returns a header of the director's own, with a time to live of 64; in IPv4 with "don't fragment" and
/// identification 0 (RFC 6864).
pub fn header(
    version: Version,
    traffic_class: u8,
    payload: usize,
    protocol: u8,
    [source, destination]: [Vec<u8>; 2],
) -> Vec<u8> {
    match version {
        Version::V4 => {
            let [l0, l1] = (20 + payload as u16).to_be_bytes();
            let start = [0x45, traffic_class, l0, l1, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            let mut header = [&start[..], &source, &destination].concat();
            let sum = checksum::of(&header).to_be_bytes();
            header[10..12].copy_from_slice(&sum);
            header
        }
        Version::V6 => {
            let [l0, l1] = (payload as u16).to_be_bytes();
            let start = [0x60 | traffic_class >> 4, traffic_class << 4, 0, 0, l0, l1, protocol, 64];
            [&start[..], &source, &destination].concat()
        }
    }
}
