// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses that no client can have, because they are the director's or broadcast addresses. These functions
//! are pure.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use lb_dataplane::OWN_ADDRESSES;
use lb_netlink::Address;

/// Addresses of the director, and the broadcast addresses of its networks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OwnAddresses {
    /// Addresses of the director.
    pub addresses: BTreeSet<IpAddr>,
    /// First and last address of each of its IPv4 networks (RFC 919), which no host has.
    pub broadcast: BTreeSet<IpAddr>,
}

impl OwnAddresses {
    /// Collects the addresses of all interfaces. If there are more than the maps hold, the rest is left out.
    #[must_use]
    pub fn of(addresses: &[Address]) -> Self {
        let mut own = Self::default();
        for Address { net, .. } in addresses {
            let ip = net.addr();
            let elsewhere_too =
                ip.is_loopback() || matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
            if elsewhere_too || own.addresses.len() + own.broadcast.len() + 3 > OWN_ADDRESSES as usize {
                continue;
            }
            own.addresses.insert(ip);
            if let IpNet::V4(net) = net
                && net.prefix_len() < 31
            {
                own.broadcast.extend([IpAddr::V4(net.network()), IpAddr::V4(net.broadcast())]);
            }
        }
        // A host may have the first address of its network in spite of the RFC.
        own.broadcast = &own.broadcast - &own.addresses;
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_a_first_and_a_last_address() {
        let on = |net: &str| Address {
            net: net.parse().unwrap(),
            ifindex: 1,
            host_scope: false,
            duplicate: false,
        };
        let nets = [
            "192.0.2.1/24",
            "10.0.0.100/32",
            "127.0.0.1/8",
            "198.51.100.0/31",
            "2001:db8::1/64",
            "fe80::1/64",
        ];
        let own = OwnAddresses::of(&nets.map(on));
        let set =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<IpAddr>>();
        assert_eq!(own.addresses, set(&["192.0.2.1", "10.0.0.100", "198.51.100.0", "2001:db8::1"]));
        assert_eq!(own.broadcast, set(&["192.0.2.0", "192.0.2.255"]));
    }
}
