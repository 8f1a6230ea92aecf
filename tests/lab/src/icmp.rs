// SPDX-License-Identifier: MIT OR Apache-2.0
//! ICMP "fragmentation needed", as a router on the way of the replies would send it.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::Duration,
};

use etherparse::{
    Icmpv4Header, Icmpv4Slice, Icmpv4Type, Ipv4HeaderSlice, PacketBuilder, TcpHeaderSlice,
    icmpv4::DestUnreachableHeader,
};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::Host;

/// Length of the quote of a packet that was too big, in bytes: most of a packet (RFC 1812 allows more than
/// the eight bytes of RFC 792).
const QUOTED: usize = 1200;

/// Maximum wait for a packet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Silence after which no further packet is expected.
const SILENCE: Duration = Duration::from_millis(100);

/// A socket that receives the ICMP messages that reach a host.
#[must_use]
pub struct Listener(UdpSocket);

/// A "fragmentation needed" that arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quote {
    /// Whom the message was for.
    pub to: Ipv4Addr,
    /// The MTU that it announces.
    pub mtu: u16,
    /// The sender of the packet that was too big.
    pub source: SocketAddrV4,
    /// The receiver of that packet.
    pub destination: SocketAddrV4,
    /// Bytes of the whole message, ICMP header included.
    pub length: usize,
}

/// Sends `vip` the message that a TCP packet from there to `client` was too big for `mtu`.
#[track_caller]
pub fn send_frag_needed(from: &Host, vip: SocketAddrV4, client: SocketAddrV4, mtu: u16) {
    let message = frag_needed(vip, client, mtu);
    let sent = raw_socket(from).send_to(&message, (*vip.ip(), 0));
    assert_eq!(sent.expect("a route to the VIP"), message.len());
}

fn frag_needed(vip: SocketAddrV4, client: SocketAddrV4, next_hop_mtu: u16) -> Vec<u8> {
    let mut quoted = Vec::new();
    PacketBuilder::ipv4(vip.ip().octets(), client.ip().octets(), 60)
        .tcp(vip.port(), client.port(), 1, 1000)
        .write(&mut quoted, &[0x55; QUOTED])
        .expect("a vector takes everything");
    let unreachable = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu };
    let header = Icmpv4Header::with_checksum(Icmpv4Type::DestinationUnreachable(unreachable), &quoted);
    [header.to_bytes().as_slice(), &quoted].concat()
}

impl Listener {
    /// Starts to listen.
    #[track_caller]
    pub fn on(host: &Host) -> Self {
        Self(raw_socket(host))
    }

    /// Waits for the next message.
    #[track_caller]
    pub fn hears(&self) -> Quote {
        self.receive(PATIENCE).expect("a fragmentation-needed arrives")
    }

    /// Asserts that no message has arrived. Call this after another host has received one: then it is not too
    /// early.
    #[track_caller]
    pub fn heard_nothing(&self) {
        assert_eq!(self.receive(SILENCE), None);
    }

    fn receive(&self, patience: Duration) -> Option<Quote> {
        self.0.set_read_timeout(Some(patience)).expect("a socket of ours");
        let mut buffer = [0; 2048];
        loop {
            let length = self.0.recv(&mut buffer).ok()?;
            if let Some(quote) = parse(&buffer[..length]) {
                return Some(quote);
            }
        }
    }
}

/// Parses an IP packet; returns `None` for other ICMP messages, and fails if the checksum of a message is
/// wrong.
fn parse(packet: &[u8]) -> Option<Quote> {
    let ip = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let icmp = Icmpv4Slice::from_slice(&packet[ip.slice().len()..]).ok()?;
    let Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu }) =
        icmp.icmp_type()
    else {
        return None;
    };
    let right = icmp.icmp_type().calc_checksum(icmp.payload());
    assert_eq!(icmp.checksum(), right, "checksum of the ICMP message");

    let inner = Ipv4HeaderSlice::from_slice(icmp.payload()).ok()?;
    assert_eq!(
        inner.header_checksum(),
        inner.to_header().calc_header_checksum(),
        "checksum of the quoted header"
    );
    let tcp = TcpHeaderSlice::from_slice(&icmp.payload()[inner.slice().len()..]).ok()?;
    Some(Quote {
        to: ip.destination_addr(),
        mtu: next_hop_mtu,
        source: SocketAddrV4::new(inner.source_addr(), tcp.source_port()),
        destination: SocketAddrV4::new(inner.destination_addr(), tcp.destination_port()),
        length: icmp.slice().len(),
    })
}

/// Opens a raw ICMP socket. Its type only lends the methods that the standard library has.
#[track_caller]
fn raw_socket(host: &Host) -> UdpSocket {
    let made = host
        .run(|| socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, Some(SockProtocol::Icmp)));
    made.unwrap_or_else(|error| panic!("a raw socket on {}: {error}", host.name())).into()
}
