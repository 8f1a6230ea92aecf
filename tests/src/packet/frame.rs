// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a frame says. Tests change the words; lengths and checksums follow when it is written out.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    ops::Range,
};

use etherparse::{
    EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpFragOffset, IpNumber, Ipv4Header,
    TcpHeader, UdpHeader,
};

use super::net::{CLIENT_LINK, Link};

/// The least that Ethernet carries, check sequence not counted.
const ETHERNET_MINIMUM: usize = 60;
/// What padding is made of: nothing that could be mistaken for a header's zeros.
const PADDING: u8 = 0xa5;

/// An Ethernet frame with an IPv4 packet.
#[derive(Clone, Debug)]
pub struct Frame {
    link: Link,
    ip: Ipv4Header,
    body: Body,
    /// Which bytes of the body this packet carries, if it is a fragment.
    part: Option<Range<usize>>,
    /// Bytes behind the packet.
    padding: usize,
}

#[derive(Clone, Debug)]
enum Body {
    Tcp(TcpHeader, Vec<u8>),
    Udp {
        source: u16,
        destination: u16,
        data: Vec<u8>,
        checksum: bool,
    },
    Icmp(Icmpv4Type, Vec<u8>),
    /// An ICMP error and the first bytes of the packet that it is about.
    Error(Icmpv4Type, Box<Frame>, usize),
    Tunnel(Box<Frame>),
    Raw(Vec<u8>),
}

/// A TCP segment of an open connection, without data, from a client.
pub fn tcp(from: SocketAddrV4, to: SocketAddrV4) -> Frame {
    let mut header = TcpHeader::new(from.port(), to.port(), 0x0102_0304, 64_000);
    header.ack = true;
    header.acknowledgment_number = 0x0a0b_0c0d;
    Frame::new(IpNumber::TCP, *from.ip(), *to.ip(), Body::Tcp(header, Vec::new()))
}

/// A UDP datagram without data, from a client.
pub fn udp(from: SocketAddrV4, to: SocketAddrV4) -> Frame {
    let (source, destination) = (from.port(), to.port());
    let body = Body::Udp { source, destination, data: Vec::new(), checksum: true };
    Frame::new(IpNumber::UDP, *from.ip(), *to.ip(), body)
}

/// An ICMP echo request.
pub fn ping(from: Ipv4Addr, to: Ipv4Addr) -> Frame {
    let echo = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 7, seq: 1 });
    Frame::new(IpNumber::ICMP, from, to, Body::Icmp(echo, b"ping and pong".to_vec()))
}

/// An ICMP error about a packet, of which it quotes the header and eight bytes (RFC 792).
pub fn error(kind: Icmpv4Type, from: Ipv4Addr, to: Ipv4Addr, about: &Frame) -> Frame {
    let quoted = about.ip.header_len() + 8;
    Frame::new(IpNumber::ICMP, from, to, Body::Error(kind, Box::new(about.clone()), quoted))
}

/// A packet of any protocol, with `data` behind the IP header.
pub fn raw(protocol: IpNumber, from: Ipv4Addr, to: Ipv4Addr, data: &[u8]) -> Frame {
    Frame::new(protocol, from, to, Body::Raw(data.to_vec()))
}

/// A packet in a packet (RFC 2003); the frame's padding stays at its end.
pub fn tunnel(from: Ipv4Addr, to: Ipv4Addr, inner: Frame) -> Frame {
    let padding = inner.padding;
    let (dscp, ecn, link) = (inner.ip.dscp, inner.ip.ecn, inner.link);
    let mut outer = Frame::new(IpNumber::IPV4, from, to, Body::Tunnel(Box::new(inner)));
    (outer.ip.dscp, outer.ip.ecn, outer.link, outer.padding) = (dscp, ecn, link, padding);
    outer.ip.identification = 0;
    outer.ip.dont_fragment = true;
    outer
}

impl Frame {
    fn new(protocol: IpNumber, from: Ipv4Addr, to: Ipv4Addr, body: Body) -> Self {
        let mut ip = Ipv4Header::new(0, 64, protocol, from.octets(), to.octets()).expect("no payload fits");
        ip.identification = 0x1234;
        ip.dont_fragment = false;
        Self { link: CLIENT_LINK, ip, body, part: None, padding: 0 }
    }

    /// Source address and, where there are any, port.
    pub fn from(mut self, address: SocketAddrV4) -> Self {
        self.ip.source = address.ip().octets();
        match &mut self.body {
            Body::Tcp(header, _) => header.source_port = address.port(),
            Body::Udp { source, .. } => *source = address.port(),
            Body::Icmp(..) | Body::Error(..) | Body::Tunnel(_) | Body::Raw(_) => {}
        }
        self
    }

    /// Destination address and, where there are any, port.
    pub fn to(mut self, address: SocketAddrV4) -> Self {
        self.ip.destination = address.ip().octets();
        match &mut self.body {
            Body::Tcp(header, _) => header.destination_port = address.port(),
            Body::Udp { destination, .. } => *destination = address.port(),
            Body::Icmp(..) | Body::Error(..) | Body::Tunnel(_) | Body::Raw(_) => {}
        }
        self
    }

    /// Who sends the frame to whom on the link.
    pub fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// What it carries, behind the transport header.
    pub fn data(mut self, bytes: impl AsRef<[u8]>) -> Self {
        match &mut self.body {
            Body::Tcp(_, data) | Body::Udp { data, .. } | Body::Icmp(_, data) | Body::Raw(data) => {
                *data = bytes.as_ref().to_vec();
            }
            Body::Error(..) | Body::Tunnel(_) => panic!("carries a packet"),
        }
        self
    }

    /// The first segment of a connection.
    pub fn syn(self) -> Self {
        self.flags(|header| {
            (header.syn, header.ack, header.acknowledgment_number) = (true, false, 0);
            header.set_options_raw(&[2, 4, 5, 180]).expect("four bytes of options fit");
        })
    }

    /// The answer to the first segment.
    pub fn syn_ack(self) -> Self {
        self.flags(|header| header.syn = true)
    }

    /// No more data.
    pub fn fin(self) -> Self {
        self.flags(|header| header.fin = true)
    }

    /// A reset.
    pub fn rst(self) -> Self {
        self.flags(|header| header.rst = true)
    }

    fn flags(mut self, change: impl FnOnce(&mut TcpHeader)) -> Self {
        let Body::Tcp(header, _) = &mut self.body else { panic!("only TCP has flags") };
        change(header);
        self
    }

    /// UDP without a checksum (RFC 768).
    pub fn without_checksum(mut self) -> Self {
        let Body::Udp { checksum, .. } = &mut self.body else { panic!("only UDP can go without") };
        *checksum = false;
        self
    }

    /// Time to live.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ip.time_to_live = ttl;
        self
    }

    /// After one more router.
    pub fn hop(mut self) -> Self {
        self.ip.time_to_live -= 1;
        self
    }

    /// Type of service: six bits of DSCP, two of ECN.
    pub fn tos(mut self, tos: u8) -> Self {
        self.ip.dscp = (tos >> 2).try_into().expect("six bits");
        self.ip.ecn = (tos & 3).try_into().expect("two bits");
        self
    }

    /// IP options.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.ip.options = options.try_into().expect("options are words, ten at most");
        self
    }

    /// Identification of the datagram.
    pub fn id(mut self, id: u16) -> Self {
        self.ip.identification = id;
        self
    }

    /// Must not be fragmented.
    pub fn dont_fragment(mut self) -> Self {
        self.ip.dont_fragment = true;
        self
    }

    /// The fragment with those bytes of the datagram.
    pub fn part(mut self, bytes: Range<usize>) -> Self {
        assert!(bytes.start.is_multiple_of(8), "offsets of fragments are in words of eight bytes");
        self.part = Some(bytes);
        self
    }

    /// All fragments, cut at `cuts`.
    pub fn fragments(&self, cuts: &[usize]) -> Vec<Self> {
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain(std::iter::once(self.datagram().len()));
        starts.zip(ends).map(|(start, end)| self.clone().part(start..end)).collect()
    }

    /// Filled up to the least that Ethernet carries.
    pub fn padded(mut self) -> Self {
        self.padding = ETHERNET_MINIMUM.saturating_sub(self.bytes().len());
        self
    }

    /// How many bytes of the packet that it is about an ICMP error quotes.
    pub fn quoting(mut self, bytes: usize) -> Self {
        let Body::Error(_, _, quoted) = &mut self.body else { panic!("only errors quote") };
        *quoted = bytes;
        self
    }

    /// Changes the packet that an ICMP error quotes.
    pub fn quoted(mut self, change: impl FnOnce(Self) -> Self) -> Self {
        let Body::Error(_, packet, _) = &mut self.body else { panic!("only errors quote") };
        **packet = change((**packet).clone());
        self
    }

    /// Total length of the IP packet.
    pub fn length(&self) -> usize {
        self.packet().len()
    }

    /// Bytes of the IP header.
    pub fn header_length(&self) -> usize {
        self.ip.header_len()
    }

    /// The frame on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let ethernet = Ethernet2Header {
            destination: self.link.to,
            source: self.link.from,
            ether_type: EtherType::IPV4,
        };
        let mut bytes = ethernet.to_bytes().to_vec();
        bytes.extend(self.packet());
        bytes.extend(vec![PADDING; self.padding]);
        bytes
    }

    /// The IP packet on the wire.
    fn packet(&self) -> Vec<u8> {
        let datagram = self.datagram();
        let mut ip = self.ip.clone();
        let payload = match &self.part {
            None => &datagram[..],
            Some(part) => {
                let offset = u16::try_from(part.start / 8).expect("an offset is 13 bits");
                ip.fragment_offset = IpFragOffset::try_new(offset).expect("an offset is 13 bits");
                ip.more_fragments = part.end < datagram.len();
                &datagram[part.clone()]
            }
        };
        ip.set_payload_len(payload.len()).expect("a packet is 64 kB at most");
        ip.header_checksum = ip.calc_header_checksum();
        let mut bytes = ip.to_bytes().to_vec();
        bytes.extend(payload);
        bytes
    }

    /// The datagram, of which a fragment is a part.
    fn datagram(&self) -> Vec<u8> {
        let Ipv4Header { source: from, destination: to, .. } = self.ip;
        match &self.body {
            Body::Tcp(header, data) => {
                let mut header = header.clone();
                header.checksum = header.calc_checksum_ipv4_raw(from, to, data).expect("it fits");
                [&header.to_bytes()[..], data].concat()
            }
            Body::Udp { source, destination, data, checksum } => {
                let mut header =
                    UdpHeader::without_ipv4_checksum(*source, *destination, data.len()).expect("it fits");
                if *checksum {
                    header.checksum = header.calc_checksum_ipv4_raw(from, to, data).expect("it fits");
                }
                [&header.to_bytes()[..], data].concat()
            }
            Body::Icmp(kind, data) => icmp(kind, data),
            Body::Error(kind, about, quoted) => {
                let packet = about.packet();
                icmp(kind, &packet[..packet.len().min(*quoted)])
            }
            Body::Tunnel(inner) => inner.packet(),
            Body::Raw(data) => data.clone(),
        }
    }
}

fn icmp(kind: &Icmpv4Type, data: &[u8]) -> Vec<u8> {
    [&Icmpv4Header::with_checksum(kind.clone(), data).to_bytes()[..], data].concat()
}
