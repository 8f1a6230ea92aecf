// SPDX-License-Identifier: MIT OR Apache-2.0
//! A frame as tests describe it. Tests change its fields; the encoder computes lengths and checksums.
//!
//! The file is long because it is the vocabulary of all packet tests, with a few lines for each word.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use etherparse::{
    Ethernet2Header, IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, TcpHeader,
    UdpHeader,
};

use super::{
    header::{Ends, Header},
    net::{CLIENT_LINK, Link},
    version,
};

/// The least that Ethernet carries, check sequence not counted.
const ETHERNET_MINIMUM: usize = 60;
/// Byte of the padding: not 0, which could be mistaken for a header's zeros.
const PADDING: u8 = 0xa5;

/// An Ethernet frame with an IPv4 or IPv6 packet.
#[derive(Clone, Debug)]
pub struct Frame {
    link: Link,
    ip: Header,
    body: Body,
    /// The bytes of the body that this packet carries, if it is a fragment.
    part: Option<Range<usize>>,
    /// Bytes behind the packet.
    padding: usize,
    /// VLAN tags, the outer one first.
    tags: Vec<[u8; 4]>,
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
    Icmp(Message, Vec<u8>),
    /// An ICMP error and the first bytes of the packet that it is about.
    Error(Message, Box<Frame>, usize),
    Tunnel(Box<Frame>),
    Raw(Vec<u8>),
}

/// The kind of an ICMP message.
#[derive(Clone, Debug)]
pub enum Message {
    /// An ICMP message for IPv4.
    V4(Icmpv4Type),
    /// An ICMP message for IPv6.
    V6(Icmpv6Type),
}

impl From<Icmpv4Type> for Message {
    fn from(kind: Icmpv4Type) -> Self {
        Self::V4(kind)
    }
}

impl From<Icmpv6Type> for Message {
    fn from(kind: Icmpv6Type) -> Self {
        Self::V6(kind)
    }
}

impl Message {
    fn in_ipv6(self) -> Self {
        match self {
            Self::V4(kind) => Self::V6(version::icmp(&kind)),
            Self::V6(_) => self,
        }
    }

    const fn protocol(&self) -> IpNumber {
        match self {
            Self::V4(_) => IpNumber::ICMP,
            Self::V6(_) => IpNumber::IPV6_ICMP,
        }
    }
}

/// Returns a TCP segment of an open connection, without data, from a client.
pub fn tcp(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>) -> Frame {
    let (from, to) = (from.into(), to.into());
    let mut header = TcpHeader::new(from.port(), to.port(), 0x0102_0304, 64_000);
    header.ack = true;
    header.acknowledgment_number = 0x0a0b_0c0d;
    Frame::new(IpNumber::TCP, from.ip(), to.ip(), Body::Tcp(header, Vec::new()))
}

/// Returns a UDP datagram without data, from a client.
pub fn udp(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>) -> Frame {
    let (from, to) = (from.into(), to.into());
    let (source, destination) = (from.port(), to.port());
    let body = Body::Udp { source, destination, data: Vec::new(), checksum: true };
    Frame::new(IpNumber::UDP, from.ip(), to.ip(), body)
}

/// Returns an ICMP echo request.
pub fn ping(from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> Frame {
    let (from, to) = (from.into(), to.into());
    let echo = IcmpEchoHeader { id: 7, seq: 1 };
    let message = if from.is_ipv4() {
        Message::V4(Icmpv4Type::EchoRequest(echo))
    } else {
        Message::V6(Icmpv6Type::EchoRequest(echo))
    };
    Frame::new(message.protocol(), from, to, Body::Icmp(message, b"ping and pong".to_vec()))
}

/// Returns an ICMP error that quotes the header and eight bytes of a packet (RFC 792).
pub fn error(
    kind: impl Into<Message>,
    from: impl Into<IpAddr>,
    to: impl Into<IpAddr>,
    about: &Frame,
) -> Frame {
    let (kind, quoted) = (kind.into(), about.ip.length() + 8);
    Frame::new(kind.protocol(), from.into(), to.into(), Body::Error(kind, Box::new(about.clone()), quoted))
}

/// Returns any other ICMP message.
pub fn icmp(kind: impl Into<Message>, from: impl Into<IpAddr>, to: impl Into<IpAddr>, data: &[u8]) -> Frame {
    let kind = kind.into();
    Frame::new(kind.protocol(), from.into(), to.into(), Body::Icmp(kind, data.to_vec()))
}

/// Returns a packet of any protocol, with `data` behind the IP header.
pub fn raw(protocol: IpNumber, from: impl Into<IpAddr>, to: impl Into<IpAddr>, data: &[u8]) -> Frame {
    Frame::new(protocol, from.into(), to.into(), Body::Raw(data.to_vec()))
}

/// Returns a tunnelled packet (RFC 2003, RFC 2473); the frame's padding stays at its end.
pub fn tunnel(from: impl Into<IpAddr>, to: impl Into<IpAddr>, inner: Frame) -> Frame {
    let (padding, tos, link, tags) = (inner.padding, inner.ip.tos(), inner.link, inner.tags.clone());
    let protocol = if inner.is_ipv6() { IpNumber::IPV6 } else { IpNumber::IPV4 };
    let mut outer = Frame::new(protocol, from.into(), to.into(), Body::Tunnel(Box::new(inner)));
    outer.ip.set_tos(tos);
    outer.ip.set_id(0);
    outer.ip.dont_fragment();
    (outer.link, outer.padding, outer.tags) = (link, padding, tags);
    outer
}

impl Frame {
    fn new(protocol: IpNumber, from: IpAddr, to: IpAddr, body: Body) -> Self {
        Self {
            link: CLIENT_LINK,
            ip: Header::new(protocol, from, to),
            body,
            part: None,
            padding: 0,
            tags: Vec::new(),
        }
    }

    /// Returns whether the packet is an IPv6 packet.
    pub const fn is_ipv6(&self) -> bool {
        matches!(self.ip, Header::V6 { .. })
    }

    /// Returns the frame in the IP version of this run of the tests.
    #[must_use]
    pub fn meant(&self) -> Self {
        if version::is_six() { self.clone().in_ipv6() } else { self.clone() }
    }

    /// Returns the corresponding IPv6 packet; see [`version`].
    #[must_use]
    fn in_ipv6(self) -> Self {
        let Self { link, ip, body, part, padding, tags } = self;
        let length = ip.length();
        let ip = match ip {
            Header::V4(old) => {
                let mut new = Header::new(
                    version::protocol(old.protocol),
                    version::address(Header::V4(old.clone()).source()),
                    version::address(Header::V4(old.clone()).destination()),
                );
                *new.hops() = old.time_to_live;
                new.set_tos(Header::V4(old.clone()).tos());
                new.set_id(old.identification);
                if !old.options.is_empty() {
                    new.set_options(&old.options);
                }
                new
            }
            Header::V6 { .. } => ip,
        };
        debug_assert!(ip.length() >= length, "headers of IPv6 are longer");
        let body = match body {
            Body::Icmp(kind, data) => Body::Icmp(kind.in_ipv6(), data),
            Body::Error(kind, about, quoted) => {
                let new = about.clone().in_ipv6();
                let more = new.ip.length() - about.ip.length();
                let quoted = if quoted == 0 { 0 } else { quoted + more };
                Body::Error(kind.in_ipv6(), Box::new(new), quoted)
            }
            Body::Tunnel(inner) => Body::Tunnel(Box::new(inner.in_ipv6())),
            other => other,
        };
        Self { link, ip, body, part, padding, tags }
    }

    /// Sets the source address and, if there are ports, the source port.
    pub fn from(mut self, address: impl Into<SocketAddr>) -> Self {
        let address = address.into();
        self.ip.set_source(address.ip());
        match &mut self.body {
            Body::Tcp(header, _) => header.source_port = address.port(),
            Body::Udp { source, .. } => *source = address.port(),
            Body::Icmp(..) | Body::Error(..) | Body::Tunnel(_) | Body::Raw(_) => {}
        }
        self
    }

    /// Sets the destination address and, if there are ports, the destination port.
    pub fn to(mut self, address: impl Into<SocketAddr>) -> Self {
        let address = address.into();
        self.ip.set_destination(address.ip());
        match &mut self.body {
            Body::Tcp(header, _) => header.destination_port = address.port(),
            Body::Udp { destination, .. } => *destination = address.port(),
            Body::Icmp(..) | Body::Error(..) | Body::Tunnel(_) | Body::Raw(_) => {}
        }
        self
    }

    /// Sets the source and destination MAC addresses of the frame.
    pub fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// Sets the data behind the transport header.
    pub fn data(mut self, bytes: impl AsRef<[u8]>) -> Self {
        match &mut self.body {
            Body::Tcp(_, data) | Body::Udp { data, .. } | Body::Icmp(_, data) | Body::Raw(data) => {
                *data = bytes.as_ref().to_vec();
            }
            Body::Error(..) | Body::Tunnel(_) => panic!("carries a packet"),
        }
        self
    }

    /// Makes the segment the first one of a connection.
    pub fn syn(self) -> Self {
        self.flags(|header| {
            (header.syn, header.ack, header.acknowledgment_number) = (true, false, 0);
            header.set_options_raw(&[2, 4, 5, 180]).expect("four bytes of options fit");
        })
    }

    /// Makes the segment the answer to the first one.
    pub fn syn_ack(self) -> Self {
        self.flags(|header| header.syn = true)
    }

    /// Sets the FIN flag: no more data.
    pub fn fin(self) -> Self {
        self.flags(|header| header.fin = true)
    }

    /// Makes the segment a reset.
    pub fn rst(self) -> Self {
        self.flags(|header| header.rst = true)
    }

    /// Sets the sequence number of the segment.
    pub fn at_sequence(self, number: u32) -> Self {
        self.flags(|header| header.sequence_number = number)
    }

    fn flags(mut self, change: impl FnOnce(&mut TcpHeader)) -> Self {
        let Body::Tcp(header, _) = &mut self.body else { panic!("only TCP has flags") };
        change(header);
        self
    }

    /// Removes the UDP checksum (RFC 768).
    pub fn without_checksum(mut self) -> Self {
        let Body::Udp { checksum, .. } = &mut self.body else { panic!("only UDP can go without") };
        *checksum = false;
        self
    }

    /// Sets the time to live.
    pub fn ttl(mut self, ttl: u8) -> Self {
        *self.ip.hops() = ttl;
        self
    }

    /// Decrements the time to live, as one more router does.
    pub fn hop(mut self) -> Self {
        *self.ip.hops() -= 1;
        self
    }

    /// Sets the type of service: six bits of DSCP, two of ECN.
    pub fn tos(mut self, tos: u8) -> Self {
        self.ip.set_tos(tos);
        self
    }

    /// Sets the IP options.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.ip.set_options(options);
        self
    }

    /// Sets the identification of the datagram.
    pub fn id(mut self, id: u16) -> Self {
        self.ip.set_id(id);
        self
    }

    /// Sets "don't fragment".
    pub fn dont_fragment(mut self) -> Self {
        self.ip.dont_fragment();
        self
    }

    /// Adds an IPv6 extension header: its kind and content, without the number of the next one.
    pub fn extension(mut self, kind: u8, content: &[u8]) -> Self {
        let Header::V6 { extensions, .. } = &mut self.ip else { panic!("only IPv6 has extension headers") };
        assert!(kind == 44 || (content.len() + 1).is_multiple_of(8), "they are words of eight bytes");
        extensions.push((kind, content.to_vec()));
        self
    }

    /// Returns the fragment with these bytes of the datagram.
    pub fn part(mut self, bytes: Range<usize>) -> Self {
        assert!(bytes.start.is_multiple_of(8), "offsets of fragments are in words of eight bytes");
        self.part = Some(bytes);
        self
    }

    /// Returns all fragments, cut at `cuts`.
    pub fn fragments(&self, cuts: &[usize]) -> Vec<Self> {
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain(std::iter::once(self.datagram().len()));
        starts.zip(ends).map(|(start, end)| self.clone().part(start..end)).collect()
    }

    /// Adds a VLAN tag inside the existing ones (IEEE 802.1Q): its type and control information.
    pub fn tagged(mut self, ether_type: u16, control: u16) -> Self {
        let ([a, b], [c, d]) = (ether_type.to_be_bytes(), control.to_be_bytes());
        self.tags.push([a, b, c, d]);
        self
    }

    /// Removes the VLAN tags.
    pub fn untagged(mut self) -> Self {
        self.tags.clear();
        self
    }

    /// Pads the frame to the minimum length of Ethernet.
    pub fn padded(mut self) -> Self {
        self.padding = ETHERNET_MINIMUM.saturating_sub(self.meant().bytes().len());
        self
    }

    /// Sets the number of bytes that an ICMP error quotes.
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

    /// Returns the total length of the IP packet.
    pub fn length(&self) -> usize {
        self.meant().packet().len()
    }

    /// Bytes of the IP header.
    pub fn header_length(&self) -> usize {
        self.meant().ip.length()
    }

    /// Returns the minimum length behind the IP header: the header of TCP, UDP or ICMP, and nothing for a
    /// later fragment.
    pub fn least(&self) -> usize {
        match self.body {
            _ if self.part.as_ref().is_some_and(|part| part.start > 0) => 0,
            Body::Tcp(..) => 20,
            _ => 8,
        }
    }

    /// Returns the quoted packet of an ICMP error.
    pub fn quote(&self) -> Option<Self> {
        match self.meant().body {
            Body::Error(_, about, _) => Some(*about),
            _ => None,
        }
    }

    /// Returns the frame with another total length of the packet, and the matching header checksum.
    pub fn claiming(&self, length: usize) -> Vec<u8> {
        const ETHERNET: usize = 14;
        let mut bytes = self.bytes();
        if bytes[12..14] == [0x86, 0xdd] {
            let payload = u16::try_from(length.saturating_sub(40)).expect("a length has 16 bits");
            bytes[18..20].copy_from_slice(&payload.to_be_bytes());
            return bytes;
        }
        let (mut ip, _) = etherparse::Ipv4Header::from_slice(&bytes[ETHERNET..]).expect("frames are valid");
        ip.total_len = length.try_into().expect("a length has 16 bits");
        ip.header_checksum = ip.calc_header_checksum();
        bytes[ETHERNET..ETHERNET + ip.header_len()].copy_from_slice(&ip.to_bytes());
        bytes
    }

    /// Returns the bytes of the frame.
    pub fn bytes(&self) -> Vec<u8> {
        let meant = self.meant();
        let ethernet = Ethernet2Header {
            destination: meant.link.to,
            source: meant.link.from,
            ether_type: meant.ip.ether_type(),
        };
        let mut bytes = ethernet.to_bytes().to_vec();
        let tags = meant.tags.concat();
        bytes.splice(12..12, tags);
        bytes.extend(meant.packet());
        bytes.extend(vec![PADDING; meant.padding]);
        bytes
    }

    /// Returns the bytes of the IP packet.
    fn packet(&self) -> Vec<u8> {
        self.ip.packet(&self.datagram(), self.part.as_ref())
    }

    /// Returns the datagram of which a fragment is a part.
    fn datagram(&self) -> Vec<u8> {
        match &self.body {
            Body::Tcp(header, data) => {
                let mut header = header.clone();
                header.checksum = match self.ip.ends() {
                    Ends::V4(from, to) => header.calc_checksum_ipv4_raw(from, to, data),
                    Ends::V6(from, to) => header.calc_checksum_ipv6_raw(from, to, data),
                }
                .expect("it fits");
                [&header.to_bytes()[..], data].concat()
            }
            Body::Udp { source, destination, data, checksum } => {
                let mut header =
                    UdpHeader::without_ipv4_checksum(*source, *destination, data.len()).expect("it fits");
                if *checksum {
                    header.checksum = match self.ip.ends() {
                        Ends::V4(from, to) => header.calc_checksum_ipv4_raw(from, to, data),
                        Ends::V6(from, to) => header.calc_checksum_ipv6_raw(from, to, data),
                    }
                    .expect("it fits");
                }
                [&header.to_bytes()[..], data].concat()
            }
            Body::Icmp(kind, data) => message(kind, self.ip.ends(), data),
            Body::Error(kind, about, quoted) => {
                let packet = about.packet();
                message(kind, self.ip.ends(), &packet[..packet.len().min(*quoted)])
            }
            Body::Tunnel(inner) => inner.packet(),
            Body::Raw(data) => data.clone(),
        }
    }
}

fn message(kind: &Message, ends: Ends, data: &[u8]) -> Vec<u8> {
    match (kind, ends) {
        (Message::V4(kind), _) => {
            [&Icmpv4Header::with_checksum(kind.clone(), data).to_bytes()[..], data].concat()
        }
        (Message::V6(kind), Ends::V6(from, to)) => {
            let header = Icmpv6Header::with_checksum(*kind, from, to, data);
            [&header.expect("it fits").to_bytes()[..], data].concat()
        }
        (Message::V6(_), Ends::V4(..)) => panic!("an ICMPv6 message in IPv4"),
    }
}
