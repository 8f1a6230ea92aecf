// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose packet a frame is.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket};
use lb_common::{
    schema::FlowKey,
    wire::{Be16, Be128},
};

/// The flow of a frame that has ports; `None` if it has none.
#[must_use]
pub fn of(frame: &[u8]) -> Option<FlowKey> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let (source, destination, payload): (IpAddr, IpAddr, _) = match sliced.net? {
        NetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), ip.payload().clone())
        }
        NetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), ip.payload().clone())
        }
        NetSlice::Arp(_) => return None,
    };
    let ports: &[u8; 4] = payload.payload.first_chunk()?;
    let [s0, s1, d0, d1] = *ports;
    let has_ports = matches!(payload.ip_number.0, 6 | 17 | 132);
    has_ports.then(|| {
        FlowKey::new(
            Be128::from(source),
            Be128::from(destination),
            Be16::new(u16::from_be_bytes([s0, s1])),
            Be16::new(u16::from_be_bytes([d0, d1])),
            payload.ip_number.0,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{control::model::Protocol, explain};

    #[test]
    fn a_frame_is_its_flows() {
        for (client, service) in [("192.0.2.1:4000", "10.0.0.1:80"), ("[fd00::1]:4000", "[fd00::2]:80")] {
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                let (client, service) = (client.parse().unwrap(), service.parse().unwrap());
                let flow = explain::Flow { protocol, client, service, flag: explain::Flag::Ack, length: 9 };
                let key = of(&flow.frame().unwrap()).unwrap();
                assert_eq!((key.source, key.destination), (client.ip().into(), service.ip().into()));
                assert_eq!((key.source_port.get(), key.destination_port.get()), (4000, 80));
            }
        }
        assert_eq!(of(&[0; 60]), None);
    }
}
