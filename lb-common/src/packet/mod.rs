// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Parser of frames: Ethernet, IPv4 with options or IPv6 with extensions, and the ports of TCP, UDP and SCTP.
//!
//! [`parse`] is total: for any bytes, it returns a [`Parsed`] or a [`Reason`], and reads nothing outside the
//! frame. It runs in the kernel over an `XdpContext` and in tests over bytes.

mod access;
mod header;
mod icmp;
mod ip;
mod ipv4;
mod ipv6;
mod ordinary;
mod sctp;
pub mod tcp_flags;

pub use access::{Packet, Word, load, store};
pub use header::{
    ETHERNET_LEN, ICMP_LEN, IPV4_LEN, IPV6_LEN, TCP_LEN, TcpHeader, address_frame, ether_type, frame_macs,
    is_group_frame, offset_of_checksum, store_words,
};
pub use icmp::{IcmpError, quoted};
pub use ip::{Error, Header, Icmp, Ip, Start};
pub use ipv6::{Chain, MOST_EXTENSIONS, Walk};
use network_types::udp::UdpHdr;

use crate::{
    flow_key::FlowKey,
    protocol,
    reason::Reason,
    wire::{Be16, Be32, Be128},
};

/// IPv4, as a type parameter of code that handles both families: its addresses have 32 bits.
pub type Ipv4 = Be32;
/// IPv6, as a type parameter of code that handles both families: its addresses have 128 bits.
pub type Ipv6 = Be128;

/// A mask of every offset of a transport header: a quoted one is behind two chains of extension headers.
const FARTHEST: u16 = 0xfff;

/// The part of its datagram that a packet is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The whole datagram.
    Whole,
    /// The first fragment, which has the ports.
    First,
    /// A later fragment, which has no ports.
    Later,
    /// A first fragment so small that ports or flags are in the next one.
    Tiny,
    /// Less than its headers announce. Nothing behind the addresses is read.
    Truncated,
    /// A packet whose ports are behind an extension header that the parser cannot read (IPv6).
    Hidden,
}

/// The facts of a packet that the data plane uses. Small and `Copy`: later stages take it, not the frame.
#[derive(Clone, Copy, Debug)]
pub struct Parsed<A> {
    /// The 5-tuple as in the packet, network byte order. Ports are zero for ICMP and for later fragments.
    pub flow: FlowKey<A>,
    /// See [`Parsed::l4`].
    l4: u16,
    /// Total length of the IP packet in bytes.
    pub length: u32,
    /// Identification of the datagram, network byte order.
    pub id: u32,
    /// The part of the datagram that the packet is.
    pub part: Part,
    /// TCP flags; for SCTP, the flags that correspond to its first chunk; 0 otherwise.
    pub tcp_flags: u8,
}

impl<A> Parsed<A> {
    /// Returns the offset of the transport header in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn l4(&self) -> usize {
        // The verifier knows no bounds of values from memory: the mask is the bound.
        (self.l4 & FARTHEST) as usize
    }
}

/// Parses a frame of this IP version up to the ports.
///
/// # Errors
/// [`Reason::NotOurs`] if the packet is not TCP, UDP, SCTP or ICMP, or is too malformed to have a flow.
#[inline(always)]
pub fn parse<A: Ip>(packet: &impl Packet) -> Result<Parsed<A>, Reason> {
    match ordinary::parse(packet) {
        Some(parsed) => Ok(parsed),
        None => parse_any(packet),
    }
}

/// Parses a frame as [`parse`] does, which is faster for ordinary packets.
///
/// # Errors
/// As those of [`parse`].
#[inline(always)]
pub fn parse_any<A: Ip>(packet: &impl Packet) -> Result<Parsed<A>, Reason> {
    let ip = A::start(packet, ETHERNET_LEN).map_err(|_| Reason::NotOurs)?;
    let minimum = match (ip.protocol, ip.part) {
        (_, Part::Truncated | Part::Hidden) => 0,
        (protocol, Part::Later) if A::ICMP == protocol::ICMPV6 || is_ours::<A>(protocol) => 0,
        (protocol::TCP, _) => size_of::<TcpHeader>(),
        (protocol::SCTP, _) => sctp::HEADER_LEN,
        (protocol, _) if is_ours::<A>(protocol) => size_of::<UdpHdr>(),
        _ => return Err(Reason::NotOurs),
    };
    let mut parsed = Parsed {
        flow: FlowKey::new(ip.source, ip.destination, Be16::ZERO, Be16::ZERO, ip.protocol),
        l4: ip.l4 as u16,
        length: ip.length,
        id: ip.id,
        part: ip.part,
        tcp_flags: 0,
    };
    let length = ip.length as usize;
    if ETHERNET_LEN + length < ip.l4 + minimum || packet.len() < ETHERNET_LEN + length {
        let tiny = ip.part == Part::First && packet.len() >= ETHERNET_LEN + length;
        parsed.part = if tiny { Part::Tiny } else { Part::Truncated };
    }
    if matches!(parsed.part, Part::Whole | Part::First) && ip.protocol != A::ICMP {
        (parsed.flow.source_port, parsed.flow.destination_port) = ports(packet, ip.l4)?;
        if ip.protocol == protocol::TCP {
            parsed.tcp_flags = load(packet, ip.l4 + core::mem::offset_of!(TcpHeader, flags))?;
        } else if ip.protocol == protocol::SCTP {
            parsed.tcp_flags = sctp::flags(packet, ip.l4, ETHERNET_LEN + length);
        }
    }
    Ok(parsed)
}

/// Returns whether packets of this protocol are parsed.
#[inline(always)]
fn is_ours<A: Ip>(protocol: u8) -> bool {
    protocol == protocol::TCP
        || protocol == protocol::UDP
        || protocol == A::ICMP
        || protocol == protocol::SCTP
}

/// Returns the ports of TCP, UDP and SCTP: the first word of their headers.
#[inline(always)]
fn ports(packet: &impl Packet, l4: usize) -> Result<(Be16, Be16), Reason> {
    let both: u32 = load(packet, l4)?;
    let [s0, s1, d0, d1] = both.to_ne_bytes();
    Ok((Be16(u16::from_ne_bytes([s0, s1])), Be16(u16::from_ne_bytes([d0, d1]))))
}

#[cfg(test)]
mod tests;
