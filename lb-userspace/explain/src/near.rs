// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services near a packet that matches none.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::SocketAddr};

use super::flow;
use lb_model::{Endpoint, Protocol};

/// Number of services that are named.
const NAMED: usize = 3;

/// Returns the endpoint of a frame, and the services of the same VIP; `None` if the frame has no ports.
pub(super) fn services(frame: &[u8], endpoints: &BTreeSet<Endpoint>) -> Option<String> {
    let key = flow::of(frame)?;
    let address = SocketAddr::new(key.destination.into(), key.destination_port.get());
    let protocol = u8::try_from(key.protocol).ok().and_then(Protocol::from_number)?;
    let asked = Endpoint { protocol, address };
    let mut near: Vec<&Endpoint> =
        endpoints.iter().filter(|endpoint| endpoint.address.ip() == address.ip()).collect();
    if near.is_empty() {
        return Some(format!("no service is {asked}, and none is at {}", address.ip()));
    }
    // The same port with another protocol comes first, then the nearest port.
    near.sort_by_key(|endpoint| {
        (endpoint.address.port().abs_diff(address.port()), endpoint.protocol != asked.protocol)
    });
    let named: Vec<String> = near.iter().take(NAMED).map(ToString::to_string).collect();
    let is = if near.len() == 1 { "is" } else { "are" };
    let more = near.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!("no service is {asked}; there {is} {}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{Flag, Flow};

    fn said(protocol: Protocol, service: &str, endpoints: &[&str]) -> Option<String> {
        let service: SocketAddr = service.parse().unwrap();
        let client = if service.is_ipv4() { "10.0.0.1:4000" } else { "[fd00::1]:4000" }.parse().unwrap();
        let flow = Flow { protocol, client, service, flag: Flag::default(), length: 0 };
        let endpoints = endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect();
        services(&flow.frame().unwrap(), &endpoints)
    }

    #[rstest]
    #[case::protocol(&["tcp 192.0.2.100:80"], "no service is udp 192.0.2.100:80; there is tcp 192.0.2.100:80")]
    #[case::nearest(
        &["udp 192.0.2.100:53", "udp 192.0.2.100:443", "tcp 192.0.2.100:80", "tcp 192.0.2.100:443", "tcp 192.0.2.99:80"],
        "no service is udp 192.0.2.100:80; there are tcp 192.0.2.100:80, udp 192.0.2.100:53, udp \
         192.0.2.100:443 and 1 more"
    )]
    #[case::nothing(&["tcp 192.0.2.99:80"], "no service is udp 192.0.2.100:80, and none is at 192.0.2.100")]
    #[case::none(&[], "no service is udp 192.0.2.100:80, and none is at 192.0.2.100")]
    fn services_of_the_same_vip_are_named(#[case] endpoints: &[&str], #[case] line: &str) {
        assert_eq!(said(Protocol::Udp, "192.0.2.100:80", endpoints).as_deref(), Some(line));
    }

    #[test]
    fn ipv6_is_named_too() {
        let near = said(Protocol::Tcp, "[fd00::9]:443", &["tcp [fd00::9]:80"]);
        assert_eq!(near.as_deref(), Some("no service is tcp [fd00::9]:443; there is tcp [fd00::9]:80"));
    }

    #[test]
    fn a_frame_without_ports_has_none() {
        assert_eq!(services(&[0; 60], &BTreeSet::new()), None);
    }
}
