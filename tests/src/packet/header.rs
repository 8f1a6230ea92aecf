// SPDX-License-Identifier: MIT OR Apache-2.0
//! The IP header of a frame, of either version.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use etherparse::{EtherType, IpFragOffset, IpNumber, Ipv4Header, Ipv6Header};

/// An IP header, with its options or extension headers.
#[derive(Clone, Debug)]
pub enum Header {
    /// IPv4.
    V4(Ipv4Header),
    /// IPv6.
    V6 {
        /// The header itself.
        fixed: Ipv6Header,
        /// Kind and content of each extension header, the number of the next one not included.
        extensions: Vec<(u8, Vec<u8>)>,
        /// Identification of the datagram, for its fragments.
        id: u32,
    },
}

/// The addresses that checksums cover, source first.
#[derive(Clone, Copy, Debug)]
pub enum Ends {
    /// IPv4.
    V4([u8; 4], [u8; 4]),
    /// IPv6.
    V6([u8; 16], [u8; 16]),
}

/// A fragment header (RFC 8200, section 4.5).
const FRAGMENT: u8 = 44;

impl Header {
    /// Returns a header with a time to live of 64.
    pub fn new(protocol: IpNumber, from: IpAddr, to: IpAddr) -> Self {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header =
                    Ipv4Header::new(0, 64, protocol, from.octets(), to.octets()).expect("no payload fits");
                header.identification = 0x1234;
                header.dont_fragment = false;
                Self::V4(header)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => Self::V6 {
                fixed: Ipv6Header {
                    next_header: protocol,
                    hop_limit: 64,
                    source: from.octets(),
                    destination: to.octets(),
                    ..Ipv6Header::default()
                },
                extensions: Vec::new(),
                id: 0x1234,
            },
            _ => panic!("{from} and {to} are not of one version"),
        }
    }

    /// Returns the source address.
    pub fn source(&self) -> IpAddr {
        match self {
            Self::V4(header) => Ipv4Addr::from(header.source).into(),
            Self::V6 { fixed, .. } => Ipv6Addr::from(fixed.source).into(),
        }
    }

    /// Returns the destination address.
    pub fn destination(&self) -> IpAddr {
        match self {
            Self::V4(header) => Ipv4Addr::from(header.destination).into(),
            Self::V6 { fixed, .. } => Ipv6Addr::from(fixed.destination).into(),
        }
    }

    /// Returns both addresses.
    pub const fn ends(&self) -> Ends {
        match self {
            Self::V4(header) => Ends::V4(header.source, header.destination),
            Self::V6 { fixed, .. } => Ends::V6(fixed.source, fixed.destination),
        }
    }

    /// Changes the source address.
    pub fn set_source(&mut self, ip: IpAddr) {
        match (self, ip) {
            (Self::V4(header), IpAddr::V4(ip)) => header.source = ip.octets(),
            (Self::V6 { fixed, .. }, IpAddr::V6(ip)) => fixed.source = ip.octets(),
            _ => panic!("{ip} is of another version"),
        }
    }

    /// Changes the destination address.
    pub fn set_destination(&mut self, ip: IpAddr) {
        match (self, ip) {
            (Self::V4(header), IpAddr::V4(ip)) => header.destination = ip.octets(),
            (Self::V6 { fixed, .. }, IpAddr::V6(ip)) => fixed.destination = ip.octets(),
            _ => panic!("{ip} is of another version"),
        }
    }

    /// Returns the protocol behind the header.
    pub fn protocol(&self) -> IpNumber {
        match self {
            Self::V4(header) => header.protocol,
            Self::V6 { fixed, .. } => fixed.next_header,
        }
    }

    /// Returns the time to live, or hop limit.
    pub fn hops(&mut self) -> &mut u8 {
        match self {
            Self::V4(header) => &mut header.time_to_live,
            Self::V6 { fixed, .. } => &mut fixed.hop_limit,
        }
    }

    /// Returns the type of service, or traffic class.
    pub fn tos(&self) -> u8 {
        match self {
            Self::V4(header) => header.dscp.value() << 2 | header.ecn.value(),
            Self::V6 { fixed, .. } => fixed.traffic_class,
        }
    }

    /// Changes it: six bits of DSCP, two of ECN.
    pub fn set_tos(&mut self, tos: u8) {
        match self {
            Self::V4(header) => {
                header.dscp = (tos >> 2).try_into().expect("six bits");
                header.ecn = (tos & 3).try_into().expect("two bits");
            }
            Self::V6 { fixed, .. } => fixed.traffic_class = tos,
        }
    }

    /// Changes the identification of the datagram.
    pub fn set_id(&mut self, id: u16) {
        match self {
            Self::V4(header) => header.identification = id,
            Self::V6 { id: old, .. } => *old = id.into(),
        }
    }

    /// Sets "don't fragment", which goes without saying in IPv6.
    pub fn dont_fragment(&mut self) {
        if let Self::V4(header) = self {
            header.dont_fragment = true;
        }
    }

    /// Sets options; in IPv6 they are those of the destination.
    pub fn set_options(&mut self, options: &[u8]) {
        match self {
            Self::V4(header) => header.options = options.try_into().expect("options are words, ten at most"),
            Self::V6 { extensions, .. } => {
                extensions.retain(|(kind, _)| *kind != 60);
                extensions.push((60, padding(options.len())));
            }
        }
    }

    /// Bytes of it, with its options or extensions.
    pub fn length(&self) -> usize {
        match self {
            Self::V4(header) => header.header_len(),
            Self::V6 { extensions, .. } => {
                40 + extensions.iter().map(|(_, content)| content.len() + 1).sum::<usize>()
            }
        }
    }

    /// Returns the `EtherType` for an Ethernet header.
    pub fn ether_type(&self) -> EtherType {
        match self {
            Self::V4(_) => EtherType::IPV4,
            Self::V6 { .. } => EtherType::IPV6,
        }
    }

    /// Returns the packet that carries a datagram, or a part of it.
    pub fn packet(&self, datagram: &[u8], part: Option<&Range<usize>>) -> Vec<u8> {
        match self {
            Self::V4(header) => packet_v4(header.clone(), datagram, part),
            Self::V6 { fixed, extensions, id } => packet_v6(fixed.clone(), extensions, *id, datagram, part),
        }
    }
}

fn packet_v4(mut header: Ipv4Header, datagram: &[u8], part: Option<&Range<usize>>) -> Vec<u8> {
    let payload = match part {
        None => datagram,
        Some(part) => {
            let offset = u16::try_from(part.start / 8).expect("an offset is 13 bits");
            header.fragment_offset = IpFragOffset::try_new(offset).expect("an offset is 13 bits");
            header.more_fragments = part.end < datagram.len();
            &datagram[part.clone()]
        }
    };
    header.set_payload_len(payload.len()).expect("a packet is 64 kB at most");
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], payload].concat()
}

fn packet_v6(
    mut fixed: Ipv6Header,
    extensions: &[(u8, Vec<u8>)],
    id: u32,
    datagram: &[u8],
    part: Option<&Range<usize>>,
) -> Vec<u8> {
    let mut extensions = extensions.to_vec();
    let payload = match part {
        None => datagram,
        Some(part) => {
            let more = u16::from(part.end < datagram.len());
            let offset = u16::try_from(part.start).expect("an offset is 16 bits") | more;
            extensions.push((FRAGMENT, [&[0], &offset.to_be_bytes()[..], &id.to_be_bytes()].concat()));
            &datagram[part.clone()]
        }
    };
    let mut chain = Vec::new();
    let following = extensions.iter().skip(1).map(|(kind, _)| *kind).chain([fixed.next_header.0]);
    for ((_, content), next) in extensions.iter().zip(following) {
        chain.push(next);
        chain.extend(content);
    }
    if let Some((first, _)) = extensions.first() {
        fixed.next_header = IpNumber(*first);
    }
    fixed.payload_length = u16::try_from(chain.len() + payload.len()).expect("a packet is 64 kB at most");
    [&fixed.to_bytes()[..], &chain, payload].concat()
}

/// Returns the content of an options header that fills `room` bytes: padding (RFC 8200, section 4.2).
fn padding(room: usize) -> Vec<u8> {
    let length = (room + 4).next_multiple_of(8);
    let mut content = vec![u8::try_from(length / 8 - 1).expect("few words"), 1];
    content.push(u8::try_from(length - 4).expect("few bytes"));
    content.resize(length - 1, 0);
    content
}
