// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! ICMP errors, and the packet that they quote.

use network_types::udp::UdpHdr;

use super::{ETHERNET_LEN, ICMP_LEN, Ipv4Start, Packet, Parsed, Part, ports};
use crate::{protocol, reason::Reason, schema::FlowKey};

/// Whether messages of that type are errors, that is, quote a packet: destination unreachable, source quench,
/// redirect, time exceeded, parameter problem (RFC 792).
#[inline(always)]
#[must_use]
pub const fn is_error(icmp_type: u8) -> bool {
    matches!(icmp_type, 3 | 4 | 5 | 11 | 12)
}

/// What an ICMP error speaks of.
#[derive(Clone, Copy, Debug)]
pub struct IcmpError {
    /// The flow of the quoted packet, in the direction in which that packet went.
    pub flow: FlowKey,
    /// Offset of the quoted IP header in the frame.
    pub l3: usize,
    /// Offset of the quoted transport header in the frame.
    pub l4: usize,
}

/// Reads the packet that an ICMP error quotes: its IP header and the first eight bytes of its transport
/// header, which is what RFC 792 promises.
///
/// # Errors
/// [`Reason::IcmpUnknownFlow`] if the quote is no TCP or UDP packet with its ports in it.
#[inline(always)]
pub fn quoted(packet: &impl Packet, outer: &Parsed) -> Result<IcmpError, Reason> {
    let l3 = outer.l4 + ICMP_LEN;
    let ip = Ipv4Start::load(packet, l3).map_err(|_| Reason::IcmpUnknownFlow)?;
    let header = ip.header_len().ok_or(Reason::IcmpUnknownFlow)?;
    let known = matches!(ip.protocol, protocol::TCP | protocol::UDP);
    let enough = ETHERNET_LEN + outer.length as usize >= l3 + header + size_of::<UdpHdr>();
    if !known || !enough || ip.part == Part::Later {
        return Err(Reason::IcmpUnknownFlow);
    }
    let l4 = l3 + header;
    let (source, destination) = ports(packet, l4).map_err(|_| Reason::IcmpUnknownFlow)?;
    let flow = FlowKey::new(ip.source, ip.destination, source, destination, ip.protocol);
    Ok(IcmpError { flow, l3, l4 })
}
