// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Taking a frame apart: Ethernet, IPv4 with options, and the ports of TCP and UDP.
//!
//! [`parse`] is total: whatever the bytes are, it returns a [`Parsed`] or a [`Reason`], and reads nothing
//! outside the frame. It runs in the kernel over an `XdpContext` and in tests over bytes.

mod access;
mod header;
mod icmp;

pub use access::{Packet, Word, load, store};
pub use header::{
    ETHERNET_LEN, ICMP_LEN, IPV4_LEN, TCP_LEN, TcpHeader, address_frame, error_header, frame_macs,
    is_group_frame, offset_of_checksum, store_words, tcp_header, tunnel_header,
};
pub use icmp::{IcmpError, is_error, quoted};
use network_types::{eth::EthHdr, ip::Ipv4Hdr, udp::UdpHdr};

use crate::{
    protocol,
    reason::Reason,
    schema::FlowKey,
    wire::{Be16, Be32},
};

/// `EtherType` of IPv4.
pub const IPV4: Be16 = Be16::new(0x0800);
/// The "more fragments" bit of flags and fragment offset.
const MORE_FRAGMENTS: Be16 = Be16::new(0x2000);
/// The fragment offset.
const FRAGMENT_OFFSET: Be16 = Be16::new(0x1fff);

/// Which part of its datagram a packet is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment: it has the ports.
    First,
    /// A later fragment: it has none.
    Later,
    /// Less than its headers announce: nothing after the addresses was read.
    Truncated,
}

/// What the data plane knows of a packet. Small and `Copy`: later stages take it, not the frame.
#[derive(Clone, Copy, Debug)]
pub struct Parsed {
    /// The 5-tuple as it is on the wire. Ports are zero for ICMP and for later fragments.
    pub flow: FlowKey,
    /// Offset of the transport header in the frame.
    pub l4: usize,
    /// Total length of the IP packet in bytes.
    pub length: u16,
    /// Identification of the datagram.
    pub id: Be16,
    /// Which part of its datagram it is.
    pub part: Part,
    /// TCP flags, 0 for anything else.
    pub tcp_flags: u8,
}

/// Parses a frame up to the ports.
///
/// The IPv4 header is checked as the kernel's `ip_rcv` does: version, header length, total length.
///
/// # Errors
/// [`Reason::NotOurs`] if the frame is not IPv4 with TCP, UDP or ICMP, or is too mangled to say whose it is.
#[inline(always)]
pub fn parse(packet: &impl Packet) -> Result<Parsed, Reason> {
    if packet.len() < ETHERNET_LEN + IPV4_LEN {
        return Err(Reason::NotOurs);
    }
    let ether_type: u16 = load(packet, core::mem::offset_of!(EthHdr, ether_type))?;
    if ether_type != IPV4.0 {
        return Err(Reason::NotOurs);
    }
    let ip = Ipv4Start::load(packet, ETHERNET_LEN)?;
    let header = ip.header_len().ok_or(Reason::NotOurs)?;
    let l4 = ETHERNET_LEN + header;
    let minimum = match (ip.protocol, ip.part) {
        (protocol::TCP | protocol::UDP | protocol::ICMP, Part::Later) => 0,
        (protocol::TCP, _) => size_of::<TcpHeader>(),
        (protocol::UDP | protocol::ICMP, _) => size_of::<UdpHdr>(),
        _ => return Err(Reason::NotOurs),
    };
    let mut parsed = Parsed {
        flow: FlowKey::new(ip.source, ip.destination, Be16::ZERO, Be16::ZERO, ip.protocol),
        l4,
        length: ip.length,
        id: ip.id,
        part: ip.part,
        tcp_flags: 0,
    };
    if (ip.length as usize) < header + minimum || packet.len() < ETHERNET_LEN + ip.length as usize {
        parsed.part = Part::Truncated;
        return Ok(parsed);
    }
    if ip.part != Part::Later && ip.protocol != protocol::ICMP {
        (parsed.flow.source_port, parsed.flow.destination_port) = ports(packet, l4)?;
        if ip.protocol == protocol::TCP {
            parsed.tcp_flags = load(packet, l4 + core::mem::offset_of!(TcpHeader, flags))?;
        }
    }
    Ok(parsed)
}

/// The ports of TCP and UDP: the first word of their headers.
#[inline(always)]
fn ports(packet: &impl Packet, l4: usize) -> Result<(Be16, Be16), Reason> {
    let both: u32 = load(packet, l4)?;
    let [s0, s1, d0, d1] = both.to_ne_bytes();
    Ok((Be16(u16::from_ne_bytes([s0, s1])), Be16(u16::from_ne_bytes([d0, d1]))))
}

/// The fields of an IPv4 header that decide about a packet.
struct Ipv4Start {
    version_and_length: u8,
    length: u16,
    id: Be16,
    part: Part,
    protocol: u8,
    source: Be32,
    destination: Be32,
}

impl Ipv4Start {
    #[inline(always)]
    fn load(packet: &impl Packet, l3: usize) -> Result<Self, Reason> {
        use core::mem::offset_of;
        let length: u16 = load(packet, l3 + offset_of!(Ipv4Hdr, tot_len))?;
        let fragment: u16 = load(packet, l3 + offset_of!(Ipv4Hdr, frags))?;
        let part = if fragment & (FRAGMENT_OFFSET.0 | MORE_FRAGMENTS.0) == 0 {
            Part::Whole
        } else if fragment & FRAGMENT_OFFSET.0 == 0 {
            Part::First
        } else {
            Part::Later
        };
        Ok(Self {
            version_and_length: load(packet, l3 + offset_of!(Ipv4Hdr, vihl))?,
            length: Be16(length).get(),
            id: Be16(load(packet, l3 + offset_of!(Ipv4Hdr, id))?),
            part,
            protocol: load(packet, l3 + offset_of!(Ipv4Hdr, proto))?,
            source: Be32(load(packet, l3 + offset_of!(Ipv4Hdr, src_addr))?),
            destination: Be32(load(packet, l3 + offset_of!(Ipv4Hdr, dst_addr))?),
        })
    }

    /// Bytes of the header with its options; `None` if it is no IPv4 header.
    #[inline(always)]
    const fn header_len(&self) -> Option<usize> {
        // Version 4 and at least five words. The mask keeps the verifier's bound: at most 60 bytes.
        let words = self.version_and_length & 0x0f;
        if self.version_and_length >> 4 != 4 || words < 5 {
            return None;
        }
        Some((words as usize) << 2)
    }
}

#[cfg(test)]
mod tests;
