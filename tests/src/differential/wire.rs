// SPDX-License-Identifier: MIT OR Apache-2.0
//! Valid packets as a sender writes them, with any options and extension headers.

use std::net::SocketAddr;

use crate::model::{
    Version,
    bytes::octets,
    checksum,
    parse::number::{ICMP, ICMPV6, SCTP, TCP, UDP},
};

/// A packet to be written.
#[derive(Clone, Debug)]
pub struct Wire {
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// The protocol number.
    pub protocol: u8,
    /// The rest of the transport header after the ports, or the whole of another protocol.
    pub body: Body,
    /// Time to live.
    pub ttl: u8,
    /// Type of service, or traffic class.
    pub traffic_class: u8,
    /// Identification of the datagram.
    pub id: u32,
    /// IPv4 options, in words.
    pub options: Vec<u8>,
    /// IPv6 extension headers: the kind, and the content after the number of the next header.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Offset in words of eight bytes, and whether more follow, of a fragment.
    pub fragment: Option<(u16, bool)>,
}

/// The payload of an IP packet.
#[derive(Clone, Debug)]
pub enum Body {
    /// Flags, options in words, data.
    Tcp(u8, Vec<u8>, Vec<u8>),
    /// Data, and whether there is a checksum.
    Udp(Vec<u8>, bool),
    /// The type of the first chunk, and data.
    Sctp(u8, Vec<u8>),
    /// Type, code, the second word and what follows.
    Icmp([u8; 2], [u8; 4], Vec<u8>),
    /// Any other content.
    Raw(Vec<u8>),
}

impl Wire {
    /// Returns the version.
    pub const fn version(&self) -> Version {
        Version::of(self.source.ip())
    }

    /// Makes checksum field `at` right.
    fn summed(&self, mut transport: Vec<u8>, at: usize, pseudo: bool) -> Vec<u8> {
        let mut covered = Vec::new();
        if pseudo {
            covered.extend([octets(self.source.ip()), octets(self.destination.ip())].concat());
            covered.extend((transport.len() as u32).to_be_bytes());
            covered.extend([0, 0, 0, self.protocol]);
        }
        covered.extend(&transport);
        let mut sum = checksum::of(&covered);
        if sum == 0 && self.protocol == UDP {
            sum = 0xffff;
        }
        transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        transport
    }

    /// Returns the datagram behind the IP header.
    fn transport(&self) -> Vec<u8> {
        let ports = [self.source.port().to_be_bytes(), self.destination.port().to_be_bytes()].concat();
        match &self.body {
            Body::Tcp(flags, options, data) => {
                let words = 5 + options.len() as u8 / 4;
                let rest = [1, 2, 3, 4, 5, 6, 7, 8, words << 4, *flags, 0xfa, 0, 0, 0, 0, 0];
                self.summed([&ports[..], &rest, options, data].concat(), 16, true)
            }
            Body::Udp(data, with_checksum) => {
                let [l0, l1] = (8 + data.len() as u16).to_be_bytes();
                let plain = [&ports[..], &[l0, l1, 0, 0], data].concat();
                if *with_checksum { self.summed(plain, 6, true) } else { plain }
            }
            // Its checksum is none of ours, so it may be anything.
            Body::Sctp(chunk, data) => {
                [&ports[..], &[1, 2, 3, 4, 5, 6, 7, 8, *chunk, 0, 0, 4], data].concat()
            }
            Body::Icmp(kind, word, rest) => {
                let plain = [&kind[..], &[0, 0], word, rest].concat();
                self.summed(plain, 2, self.version() == Version::V6)
            }
            Body::Raw(bytes) => bytes.clone(),
        }
    }

    /// Returns the bytes of the packet.
    pub fn packet(&self) -> Vec<u8> {
        let mut payload = self.transport();
        if let Some((offset, _)) = self.fragment
            && offset > 0
        {
            // A later fragment has nothing of the header.
            payload.drain(..payload.len().min(8));
        }
        let ends = [octets(self.source.ip()), octets(self.destination.ip())].concat();
        match self.version() {
            Version::V4 => {
                let words = 5 + self.options.len() / 4;
                let [l0, l1] = ((4 * words + payload.len()) as u16).to_be_bytes();
                let [i0, i1] = (self.id as u16).to_be_bytes();
                let flags = self.fragment.map_or(0x4000, |(offset, more)| offset | u16::from(more) << 13);
                let [f0, f1] = flags.to_be_bytes();
                let first = [0x40 | words as u8, self.traffic_class, l0, l1, i0, i1, f0, f1];
                let mut header =
                    [&first[..], &[self.ttl, self.protocol, 0, 0], &ends, &self.options].concat();
                let sum = checksum::of(&header).to_be_bytes();
                header[10..12].copy_from_slice(&sum);
                [header, payload].concat()
            }
            Version::V6 => {
                let mut extensions = self.extensions.clone();
                if let Some((offset, more)) = self.fragment {
                    let [f0, f1] = (offset << 3 | u16::from(more)).to_be_bytes();
                    extensions.push((44, [&[0, f0, f1], &self.id.to_be_bytes()[..]].concat()));
                }
                let kinds = extensions.iter().map(|(kind, _)| *kind).chain([self.protocol]);
                let kinds: Vec<u8> = kinds.collect();
                let chain: Vec<u8> = extensions
                    .iter()
                    .zip(&kinds[1..])
                    .flat_map(|((_, content), next)| [&[*next][..], content].concat())
                    .collect();
                let [l0, l1] = ((chain.len() + payload.len()) as u16).to_be_bytes();
                let (t, flow) = (self.traffic_class, self.id as u8);
                let first = [0x60 | t >> 4, t << 4, 0, flow, l0, l1, kinds[0], self.ttl];
                [&first[..], &ends, &chain, &payload].concat()
            }
        }
    }
}

/// Returns the protocol number of ICMP in a version.
pub const fn icmp(six: bool) -> u8 {
    if six { ICMPV6 } else { ICMP }
}

/// Returns the smallest body of a protocol.
pub fn least(protocol: u8) -> Body {
    match protocol {
        TCP => Body::Tcp(crate::model::parse::flag::ACK, Vec::new(), Vec::new()),
        UDP => Body::Udp(Vec::new(), true),
        SCTP => Body::Sctp(0, Vec::new()),
        _ => Body::Raw(vec![0; 8]),
    }
}
