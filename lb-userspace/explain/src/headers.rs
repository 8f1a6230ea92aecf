// SPDX-License-Identifier: MIT OR Apache-2.0
//! Headers of a frame, without the data of applications.
#![forbid(unsafe_code)]

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// Number of bytes of an IP packet that an ICMP error must quote, behind its header.
const QUOTED: usize = 8;

/// Returns the number of bytes of a frame up to the end of its last header: that of TCP, UDP, SCTP or ICMP, or of the
/// packet that an ICMP error quotes. The frame may be cut off.
#[must_use]
pub fn length(frame: &[u8]) -> usize {
    let Ok(sliced) = LaxSlicedPacket::from_ethernet(frame) else { return frame.len() };
    let Some(payload) = payload(&sliced) else { return ETHERNET.min(frame.len()) };
    let before = offset(frame, payload);
    let own = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => tcp.slice().len() - tcp.payload().len(),
        Some(TransportSlice::Udp(_)) => UDP,
        Some(TransportSlice::Icmpv4(icmp)) if matches!(icmp.type_u8(), 3 | 4 | 5 | 11 | 12) => error(payload),
        Some(TransportSlice::Icmpv6(icmp)) if icmp.type_u8() < 128 => error(payload),
        Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_)) => ICMP,
        // SCTP has a common header of 12 bytes; of other protocols, nothing is known.
        None if is_sctp(&sliced) => SCTP,
        None => 0,
    };
    (before + own).min(frame.len())
}

const ETHERNET: usize = 14;
const UDP: usize = 8;
const ICMP: usize = 8;
const SCTP: usize = 12;

/// Returns the number of bytes of an ICMP error that are headers, its own and those of the packet that it quotes.
fn error(bytes: &[u8]) -> usize {
    let quote = bytes.get(ICMP..).unwrap_or_default();
    let sliced = LaxSlicedPacket::from_ip(quote).ok();
    let payload = sliced.and_then(|sliced| payload(&sliced));
    ICMP + payload.map_or(0, |payload| offset(quote, payload) + QUOTED)
}

/// Returns the bytes behind the IP headers.
fn payload<'a>(sliced: &LaxSlicedPacket<'a>) -> Option<&'a [u8]> {
    match sliced.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => Some(ip.payload().payload),
        LaxNetSlice::Ipv6(ip) => Some(ip.payload().payload),
        LaxNetSlice::Arp(_) => None,
    }
}

fn is_sctp(sliced: &LaxSlicedPacket) -> bool {
    match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => ip.payload().ip_number == etherparse::IpNumber::SCTP,
        Some(LaxNetSlice::Ipv6(ip)) => ip.payload().ip_number == etherparse::IpNumber::SCTP,
        _ => false,
    }
}

/// Returns the offset of a part of some bytes.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv4Type, PacketBuilder, VlanId, icmpv4};

    use super::*;

    const SECRET: &[u8] = b"GET /secret";

    #[test]
    fn data_of_applications_is_behind_the_headers() {
        let ethernet = || PacketBuilder::ethernet2([2; 6], [4; 6]);
        let tag = VlanId::try_new(10).unwrap();
        let mut frames = Vec::new();
        let mut add = |expected: usize, write: &dyn Fn(&mut Vec<u8>)| {
            let mut frame = Vec::new();
            write(&mut frame);
            frames.push((expected, frame));
        };
        add(14 + 20 + 20, &|frame| {
            ethernet().ipv4([1; 4], [2; 4], 64).tcp(1, 80, 0, 1).write(frame, SECRET).unwrap();
        });
        add(18 + 40 + 8, &|frame| {
            let packet = ethernet().single_vlan(tag).ipv6([1; 16], [2; 16], 64);
            packet.udp(1, 80).write(frame, SECRET).unwrap();
        });
        add(14 + 20 + 8, &|frame| {
            ethernet().ipv4([1; 4], [2; 4], 64).icmpv4_echo_request(1, 1).write(frame, SECRET).unwrap();
        });
        add(14 + 20 + 8 + 20 + 8, &|frame| {
            let mut quote = Vec::new();
            PacketBuilder::ipv4([2; 4], [1; 4], 64).tcp(80, 1, 0, 1).write(&mut quote, SECRET).unwrap();
            let kind = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Host);
            ethernet().ipv4([9; 4], [2; 4], 64).icmpv4(kind).write(frame, &quote).unwrap();
        });
        for (expected, frame) in &frames {
            assert_eq!(length(frame), *expected);
            assert!(!frame[..length(frame)].windows(3).any(|bytes| bytes == b"GET"));
            // The kernel cut the frame off.
            for cut in 0..frame.len() {
                assert!(length(&frame[..cut]) <= cut.min(*expected).max(cut.min(54)), "{cut} of {expected}");
            }
        }
        assert_eq!(length(&[]), 0);
    }
}
