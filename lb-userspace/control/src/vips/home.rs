// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interface for a VIP.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use lb_netlink::{Address, Interface};

/// Returns the interface for a VIP: among the attached ones and the VLAN devices above them, the one with an
/// address in the smallest network that contains the VIP; otherwise the first attached one.
///
/// In neighbour discovery an address belongs to one interface, and an announcement goes to the link of one
/// interface.
#[must_use]
pub fn home<'a>(
    vip: IpAddr,
    attached: &[String],
    links: &'a [Interface],
    addresses: &[Address],
) -> Option<&'a Interface> {
    let named = |name: &String| links.iter().find(|link| link.name == *name);
    let eligible = |index: u32| is_above(attached, links, index);
    let around = |address: &&Address| {
        let net = address.net;
        net.prefix_len() < net.max_prefix_len() && net.contains(&vip) && eligible(address.ifindex)
    };
    let nearest = addresses.iter().filter(around).min_by_key(|address| {
        let first = links
            .iter()
            .find(|link| link.index == address.ifindex)
            .is_none_or(|link| attached.first() != Some(&link.name));
        (u8::MAX - address.net.prefix_len(), first, address.ifindex)
    });
    let found = nearest.and_then(|address| links.iter().find(|link| link.index == address.ifindex));
    found.or_else(|| attached.first().and_then(named))
}

/// Returns whether an interface is an attached one, or a VLAN device above one.
pub(super) fn is_above(attached: &[String], links: &[Interface], index: u32) -> bool {
    let mut link = links.iter().find(|link| link.index == index);
    // The programs read at most two tags.
    for _ in 0..3 {
        if link.is_some_and(|link| attached.contains(&link.name)) {
            return true;
        }
        let beneath = link.filter(|link| link.vlan.is_some()).and_then(|link| link.parent);
        link = links.iter().find(|link| Some(link.index) == beneath);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_netlink::Vlan;

    fn link(index: u32, name: &str, parent: Option<u32>) -> Interface {
        Interface {
            index,
            name: name.to_owned(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
            running: true,
            noarp: false,
            kind: parent.map(|_| "vlan".to_owned()),
            vlan: parent.map(|_| Vlan { id: 10, service: false }),
            parent,
            parent_namespace: None,
            controller: None,
            xdp: None,
            xdp_program: None,
        }
    }

    fn home_of(vip: &str, addresses: &[(u32, &str)]) -> u32 {
        let mut veth = link(6, "veth0", Some(2));
        veth.vlan = None;
        let links = [
            link(1, "lo", None),
            link(2, "eth0", None),
            link(3, "eth1", None),
            link(4, "eth0.10", Some(2)),
            link(5, "eth0.10.20", Some(4)),
            veth,
            link(7, "eth2", None),
            link(8, "eth2.10", Some(7)),
        ];
        let addresses: Vec<Address> = addresses
            .iter()
            .map(|(ifindex, net)| Address {
                net: net.parse().unwrap(),
                ifindex: *ifindex,
                host_scope: false,
                duplicate: false,
            })
            .collect();
        let attached = ["eth0".to_owned(), "eth1".to_owned()];
        home(vip.parse().unwrap(), &attached, &links, &addresses).unwrap().index
    }

    #[test]
    fn a_vip_belongs_where_its_network_is() {
        let on = [(2, "192.0.2.1/24"), (3, "10.0.0.1/24"), (4, "2001:db8::1/64"), (5, "198.51.100.1/24")];
        assert_eq!(home_of("192.0.2.100", &on), 2);
        assert_eq!(home_of("10.0.0.100", &on), 3, "another interface that is attached to");
        assert_eq!(home_of("2001:db8::100", &on), 4, "a VLAN device");
        assert_eq!(home_of("198.51.100.7", &on), 5, "one on a VLAN device");
        assert_eq!(home_of("203.0.113.1", &on), 2, "of no network: the first");
        assert_eq!(home_of("203.0.113.1", &[(4, "0.0.0.0/0")]), 4);
    }

    #[test]
    fn neither_other_interfaces_nor_host_addresses_are_a_home() {
        let on = [(1, "192.0.2.1/24"), (6, "192.0.2.2/24"), (8, "192.0.2.3/24"), (4, "192.0.2.100/32")];
        assert_eq!(home_of("192.0.2.100", &on), 2);
    }

    #[test]
    fn the_smallest_network_counts_and_then_the_first_interface() {
        assert_eq!(home_of("192.0.2.100", &[(2, "192.0.0.0/16"), (4, "192.0.2.1/24")]), 4);
        assert_eq!(home_of("192.0.2.100", &[(4, "192.0.2.2/24"), (2, "192.0.2.1/24")]), 2);
    }
}
