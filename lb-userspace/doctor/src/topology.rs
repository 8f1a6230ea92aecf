// SPDX-License-Identifier: MIT OR Apache-2.0
//! Position of the director in the network, as seen from a real.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::Facts;
use lb_netlink::Mac;

/// Network position of the director, as seen from the real.
#[derive(Clone, Copy, Debug)]
pub(super) struct Topology {
    /// Address of the director towards the real (DIP).
    pub(super) dip: IpAddr,
    /// Network of clients that does not contain the real.
    pub(super) clients: Option<IpNet>,
    /// Address outside of the real's network that was used for a probe, in `clients` if there is one.
    pub(super) far: Option<IpAddr>,
    /// Those clients are on the link of the real.
    pub(super) shares_link: bool,
}

/// Returns an address of the director, with the IP version of `like`, outside of the real's network: packets
/// to it take the real's route to other networks.
pub(super) fn elsewhere(facts: &Facts, dip: IpAddr, like: IpAddr, only_clients: bool) -> Option<IpNet> {
    let near: Vec<_> =
        facts.addresses.iter().map(|address| address.net).filter(|net| net.addr() == dip).collect();
    let vips = facts.vips();
    let usable = facts.addresses.iter().filter(|address| {
        let link_local = match address.net.addr() {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        let clients = !only_clients || facts.attached.contains_key(&address.ifindex);
        !address.host_scope && !address.net.addr().is_loopback() && !link_local && clients
    });
    usable
        .map(|address| address.net)
        .filter(|net| net.addr().is_ipv4() == like.is_ipv4() && !vips.contains(&net.addr()))
        .find(|other| near.iter().all(|net| !net.contains(&other.addr())))
}

/// Returns the reals on the director's link, by their Ethernet address.
pub(super) fn reals_on_link(facts: &Facts) -> BTreeMap<Mac, IpAddr> {
    let near = facts.targets.iter().filter(|target| target.gateway.is_none());
    near.filter_map(|target| Some((target.next_hop.as_ref().ok()?.to, target.rip))).collect()
}
