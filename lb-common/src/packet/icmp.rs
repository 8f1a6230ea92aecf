// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! ICMP errors, and the packet that they quote.

use network_types::udp::UdpHdr;

use super::{ETHERNET_LEN, FARTHEST, ICMP_LEN, Ip, Packet, Parsed, Part, ports};
use crate::{flow_key::FlowKey, protocol, reason::Reason};

/// The packet that an ICMP error quotes.
#[derive(Clone, Copy, Debug)]
pub struct IcmpError<A> {
    /// The flow of the quoted packet, in the direction of that packet.
    pub flow: FlowKey<A>,
    /// See [`IcmpError::l3`].
    l3: u16,
    /// See [`IcmpError::l4`].
    l4: u16,
}

impl<A> IcmpError<A> {
    /// Returns the offset of the quoted IP header in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn l3(&self) -> usize {
        // As in [`Parsed::l4`], here and below.
        (self.l3 & FARTHEST) as usize
    }

    /// Returns the offset of the quoted transport header in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn l4(&self) -> usize {
        (self.l4 & FARTHEST) as usize
    }
}

/// Reads the packet that an ICMP error quotes: its IP header and the first eight bytes of its transport
/// header, as RFC 792 requires.
///
/// # Errors
/// [`Reason::IcmpUnknownFlow`] if the quote is no TCP, UDP or SCTP packet with its ports.
#[inline(always)]
pub fn quoted<A: Ip>(packet: &impl Packet, outer: &Parsed<A>) -> Result<IcmpError<A>, Reason> {
    let l3 = outer.l4() + ICMP_LEN;
    let ip = A::start(packet, l3).map_err(|_| Reason::IcmpUnknownFlow)?;
    let known = matches!(ip.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    let enough = ETHERNET_LEN + outer.length as usize >= ip.l4 + size_of::<UdpHdr>();
    if !known || !enough || !matches!(ip.part, Part::Whole | Part::First) {
        return Err(Reason::IcmpUnknownFlow);
    }
    let (source, destination) = ports(packet, ip.l4).map_err(|_| Reason::IcmpUnknownFlow)?;
    let flow = FlowKey::new(ip.source, ip.destination, source, destination, ip.protocol);
    Ok(IcmpError { flow, l3: l3 as u16, l4: ip.l4 as u16 })
}
