// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flow of a frame.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use etherparse::{IpNumber, LaxNetSlice, LaxSlicedPacket};
use lb_common::{
    schema::FlowKey,
    wire::{Be16, Be128},
};

/// Number of bytes of an ICMP error before the quoted packet.
const ICMP: usize = 8;

/// Returns the flow of a frame with ports, or of the packet that an ICMP error quotes, in the direction of
/// the frame; `None` if it has none.
#[must_use]
pub fn of(frame: &[u8]) -> Option<FlowKey> {
    let (ends, protocol, payload) = packet(&LaxSlicedPacket::from_ethernet(frame).ok()?)?;
    let error = match protocol {
        IpNumber::ICMP => matches!(payload.first()?, 3 | 4 | 5 | 11 | 12),
        IpNumber::IPV6_ICMP => *payload.first()? < 128,
        _ => return key(ends, protocol, payload),
    };
    let quoted = payload.get(ICMP..).filter(|_| error)?;
    let (ends, protocol, payload) = packet(&LaxSlicedPacket::from_ip(quoted).ok()?)?;
    Some(key(ends, protocol, payload)?.reversed())
}

/// Returns source and destination, the protocol, and the payload of the IP headers.
fn packet<'a>(sliced: &LaxSlicedPacket<'a>) -> Option<([IpAddr; 2], IpNumber, &'a [u8])> {
    let (ends, payload): ([IpAddr; 2], _) = match sliced.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            ([header.source_addr().into(), header.destination_addr().into()], ip.payload())
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            ([header.source_addr().into(), header.destination_addr().into()], ip.payload())
        }
        LaxNetSlice::Arp(_) => return None,
    };
    Some((ends, payload.ip_number, payload.payload))
}

fn key([source, destination]: [IpAddr; 2], protocol: IpNumber, payload: &[u8]) -> Option<FlowKey> {
    let [s0, s1, d0, d1] = *payload.first_chunk()?;
    matches!(protocol, IpNumber::TCP | IpNumber::UDP | IpNumber::SCTP).then(|| {
        FlowKey::new(
            Be128::from(source),
            Be128::from(destination),
            Be16::new(u16::from_be_bytes([s0, s1])),
            Be16::new(u16::from_be_bytes([d0, d1])),
            protocol.0,
        )
    })
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv4Type, PacketBuilder, icmpv4};

    use super::*;
    use lb_model::Protocol;

    #[test]
    fn an_error_is_of_the_flow_that_it_is_about() {
        let quote = PacketBuilder::ipv4([10, 0, 0, 1], [192, 0, 2, 1], 60).tcp(80, 4000, 1, 1);
        let mut quoted = Vec::new();
        quote.write(&mut quoted, &[]).unwrap();
        let kind = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Host);
        let mut frame = Vec::new();
        // Only as much of the transport header as an error must have.
        let error = PacketBuilder::ethernet2([2; 6], [2; 6]).ipv4([9; 4], [10, 0, 0, 1], 60).icmpv4(kind);
        error.write(&mut frame, &quoted[..28]).unwrap();
        let key = of(&frame).unwrap();
        assert_eq!(key.source, Be128::from(IpAddr::from([192, 0, 2, 1])));
        assert_eq!((key.source_port.get(), key.destination_port.get()), (4000, 80));
    }

    #[test]
    fn a_frame_is_its_flows() {
        for (client, service) in [("192.0.2.1:4000", "10.0.0.1:80"), ("[fd00::1]:4000", "[fd00::2]:80")] {
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                let (client, service) = (client.parse().unwrap(), service.parse().unwrap());
                let flow = crate::Flow { protocol, client, service, flag: crate::Flag::Ack, length: 9 };
                let key = of(&flow.frame().unwrap()).unwrap();
                assert_eq!((key.source, key.destination), (client.ip().into(), service.ip().into()));
                assert_eq!((key.source_port.get(), key.destination_port.get()), (4000, 80));
            }
        }
        assert_eq!(of(&[0; 60]), None);
    }
}
