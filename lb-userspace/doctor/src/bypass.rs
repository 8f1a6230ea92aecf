// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nat` reals that answer clients directly, through a link of their own to the clients' network.
//!
//! The director is on that link too, so an answer to its own address proves nothing. The doctor pings a real from an
//! unused address of that network: if the real sends an ARP request for that address on the link, its replies bypass
//! the director.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;

use super::{
    Check, Facts, Finding, Fix, Host, Target, frame, neighbour,
    topology::{self, Topology},
    unused_address::{Parity, UnusedAddresses},
    wire::Wire,
};
use lb_model::Forward;
use lb_netlink::Mac;

/// Time to wait: a real sends the request as soon as it has to answer.
const PATIENCE: Duration = Duration::from_millis(200);
/// Identifier of the pings, whose answers are ignored.
const PING: u16 = 1_991;

/// Checks the reals that work otherwise: those on which no fix of `found` is to be run.
pub(super) fn check(facts: &Facts, wire: &Wire, unused: UnusedAddresses, found: &[Finding]) -> Vec<Finding> {
    let mut pinged: BTreeMap<IpAddr, (&Target, IpNet)> = BTreeMap::new();
    let mut done = BTreeSet::new();
    for target in facts.targets.iter().filter(|target| target.forward == Forward::Nat) {
        let (Ok(next_hop), Some(dip)) = (&target.next_hop, target.dip) else { continue };
        let is_known = found.iter().any(|finding| finding.fix.host == Host::Real(target.rip));
        let net = topology::elsewhere(facts, dip, target.vip, true).filter(|net| !net.contains(&target.rip));
        let Some(net) = net.filter(|_| !is_known && done.insert(target.rip)) else { continue };
        let client = unused.get(facts, net, pinged.len(), Parity::Even);
        let Some(client) = client.filter(|ip| !pinged.contains_key(ip)) else { continue };
        let ping = frame::echo(frame::TTL, client, target.rip, PING, 0, 64);
        wire.send(next_hop.ifindex, &frame::framed(next_hop, None, ping));
        pinged.insert(client, (target, net));
    }
    if pinged.is_empty() {
        return Vec::new();
    }
    let own: BTreeSet<Mac> = facts.interfaces.iter().filter_map(|interface| interface.mac).collect();
    let mut requested = BTreeSet::new();
    wire.listen(PATIENCE, |_, bytes| {
        if let Some((mac, ip)) = neighbour::asked(bytes)
            && pinged.contains_key(&ip)
            && !own.contains(&mac)
        {
            requested.insert(ip);
        }
        requested.len() == pinged.len()
    });
    requested.iter().filter_map(|ip| pinged.get(ip)).map(|(target, net)| finding(target, *net)).collect()
}

fn finding(target: &Target, net: IpNet) -> Finding {
    let (rip, dip) = (target.rip, target.dip.unwrap_or(target.vip));
    let topology = Topology { dip, clients: Some(net), far: Some(net.addr()), shares_link: true };
    let cause = format!(
        "{rip} has a link of its own to {} and replies directly to clients there: these replies bypass the director and come from an address that clients do not know",
        net.trunc()
    );
    let fix = Fix::on_real(rip, target.route_back(&topology));
    Finding::new(Check::NatReplies, target.location(), cause, fix)
}
