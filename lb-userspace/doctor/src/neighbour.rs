// SPDX-License-Identifier: MIT OR Apache-2.0
//! Resolution of addresses on the links, by ARP and by neighbour discovery.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::IpAddr};

use super::{Facts, wire::Wire};
pub(super) use lb_netlink::neighbour_frames::{answer, asked, asker};
use lb_netlink::neighbour_frames::{question, request};

/// Announces an IPv4 VIP on its link.
pub(super) fn announce(facts: &Facts, wire: &Wire, vip: IpAddr) {
    let IpAddr::V4(ip) = vip else { return };
    let holders = facts.addresses.iter().filter(|address| address.net.addr() == vip);
    let holders =
        holders.filter_map(|holder| facts.interfaces.iter().find(|one| one.index == holder.ifindex));
    for (interface, mac) in
        holders.filter_map(|one| Some((one, one.mac?))).filter(|(one, _)| !one.is_loopback())
    {
        wire.send(interface.index, &request(mac, ip, ip));
    }
}

/// Asks for each of `wanted` on every interface.
pub(super) fn ask(facts: &Facts, wire: &Wire, wanted: &BTreeSet<IpAddr>) {
    let vips = facts.vips();
    for interface in facts.interfaces.iter().filter(|one| one.running && !one.is_loopback()) {
        let Some(mac) = interface.mac else { continue };
        let own = facts.addresses.iter().filter(|address| address.ifindex == interface.index);
        // The source must never be a VIP: machines that receive the question learn its source.
        for ip in own.map(|address| address.net.addr()).filter(|ip| !vips.contains(ip)) {
            for target in wanted {
                if let Some(question) = question(mac, ip, *target) {
                    wire.send(interface.index, &question);
                }
            }
        }
    }
}
