// SPDX-License-Identifier: MIT OR Apache-2.0
//! VIPs on a director, and their announcement to its neighbours.

use std::{collections::BTreeSet, net::IpAddr};

use lb_control::vips::{VipEvent, VipManager};
use lb_netlink::Netlink;

use crate::lab::{Netns, eventually};

const VIP: &str = "10.0.0.100";

/// A director and a client on one link; the client believes that the VIP is somewhere else.
fn link() -> (Netns, Netns) {
    let (director, client) = (Netns::new(), Netns::new());
    director.cable("eth0", &client, "eth0");
    director.ip("address add 10.0.0.1/24 dev eth0");
    client.ip("address add 10.0.0.50/24 dev eth0");
    client.ip("neighbour add 10.0.0.100 lladdr 02:00:00:00:00:99 dev eth0 nud stale");
    client.ip("neighbour add 2001:db8::100 lladdr 02:00:00:00:00:99 dev eth0 nud stale");
    (director, client)
}

fn manager(added: BTreeSet<IpAddr>) -> VipManager {
    VipManager::new(Netlink::open().unwrap(), vec!["eth0".to_owned()], added, true)
}

#[test]
fn a_vip_is_added_announced_and_removed() {
    let (director, client) = link();
    for vip in [VIP, "2001:db8::100"] {
        let wanted = BTreeSet::from([ip(vip)]);
        director.block_on(|| async {
            let mut vips = manager(BTreeSet::new());
            assert!(
                matches!(vips.reconcile(&wanted).await[..], [VipEvent::Added(added, _)] if added == ip(vip))
            );
            assert!(vips.reconcile(&wanted).await.is_empty(), "a second time, nothing is to be done");
            assert_eq!(vips.added(), &wanted);
        });
        let shown = director.ip(&format!("address show dev eth0 to {vip}"));
        assert!(shown.contains(vip) && !shown.contains("tentative"), "{shown}");

        let mac = director.mac("eth0");
        eventually(|| {
            let learned = client.ip(&format!("neighbour show {vip}"));
            if learned.contains(&mac) { Ok(()) } else { Err(format!("the client has {learned}, not {mac}")) }
        });

        director.block_on(|| async {
            let mut vips = manager(wanted.clone());
            let events = vips.reconcile(&BTreeSet::new()).await;
            assert!(matches!(events[..], [VipEvent::Removed(removed)] if removed == ip(vip)));
        });
        assert_eq!(director.ip(&format!("address show to {vip}")), "");
    }
}

#[test]
fn a_vip_that_is_already_on_the_host_is_not_ours_to_add_or_to_remove() {
    let (director, _client) = link();
    director.ip("address add 10.0.0.100/24 dev eth0");
    director.block_on(|| async {
        let mut vips = manager(BTreeSet::new());
        let wanted = BTreeSet::from([ip(VIP)]);
        assert!(matches!(vips.reconcile(&wanted).await[..], [VipEvent::AlreadyThere(_)]));
        assert!(vips.added().is_empty());
        vips.remove(ip(VIP)).await.unwrap();
    });
    assert!(director.ip("address show dev eth0").contains("10.0.0.100/24"));
}

#[test]
fn a_vip_that_somebody_else_removed_is_added_again() {
    let (director, _client) = link();
    director.block_on(|| async {
        let mut vips = manager(BTreeSet::from([ip(VIP)]));
        assert!(matches!(vips.reconcile(&BTreeSet::from([ip(VIP)])).await[..], [VipEvent::Added(..)]));
    });
    assert!(director.ip("address show dev eth0").contains("10.0.0.100/32"));
}

/// A neighbour on the second link gets the announcement of the VIP of its network.
#[test]
fn a_vip_is_announced_on_the_link_of_its_network() {
    let (director, _client) = link();
    let neighbour = Netns::new();
    director.cable("eth1", &neighbour, "eth0");
    director.ip("address add 2001:db8:1::1/64 dev eth1 nodad");
    neighbour.ip("address add 2001:db8:1::50/64 dev eth0 nodad");
    neighbour.ip("neighbour add 2001:db8:1::100 lladdr 02:00:00:00:00:99 dev eth0 nud stale");
    let vip = ip("2001:db8:1::100");
    director.block_on(|| async {
        let attached = ["eth0", "eth1"].map(str::to_owned).to_vec();
        let mut vips = VipManager::new(Netlink::open().unwrap(), attached, BTreeSet::new(), true);
        let events = vips.reconcile(&BTreeSet::from([vip])).await;
        assert!(matches!(&events[..], [VipEvent::Added(_, on)] if on == "eth1"), "{events:?}");
    });
    let mac = director.mac("eth1");
    eventually(|| {
        let learned = neighbour.ip(&format!("neighbour show {vip}"));
        if learned.contains(&mac) { Ok(()) } else { Err(format!("the neighbour has {learned}, not {mac}")) }
    });
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
