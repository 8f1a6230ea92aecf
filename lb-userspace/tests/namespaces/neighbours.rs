// SPDX-License-Identifier: MIT OR Apache-2.0
//! Next hops of reals, as the kernel of a namespace knows them.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use lb_control::neighbours::{Neighbours, NextHop, Resolution, Unresolved};
use lb_netlink::{Change, Netlink, Watch};
use tokio::time::timeout;

use crate::lab::{Netns, mac_text};

const QUIET: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(5);

/// A director and another host on one link.
struct Link {
    director: Netns,
    other: Netns,
}

impl Link {
    fn new() -> Self {
        let (director, other) = (Netns::new(), Netns::new());
        director.cable("eth0", &other, "eth0");
        director.ip("address add 10.0.0.1/24 dev eth0");
        other.ip("address add 10.0.0.2/24 dev eth0");
        director.ip("address add 2001:db8::1/64 dev eth0 nodad");
        other.ip("address add 2001:db8::2/64 dev eth0 nodad");
        Self { director, other }
    }

    /// Returns how the director resolves `rip` at once.
    fn resolve(&self, rip: &str) -> Resolution {
        let rip = ip(rip);
        self.director.block_on(|| async move { Neighbours::new(Netlink::open().unwrap()).resolve(rip).await })
    }

    /// Returns how the director resolves `rip` as soon as `done`, from the kernel's messages only.
    fn resolve_until(&self, rip: &str, done: impl Fn(&Resolution) -> bool + Send) -> Resolution {
        let rip = ip(rip);
        self.director.block_on(|| async move { follow(rip, done).await })
    }
}

/// Refreshes next hops as the daemon does, on changes that concern them.
async fn follow(rip: IpAddr, done: impl Fn(&Resolution) -> bool) -> Resolution {
    let mut watch = Watch::open().unwrap();
    let mut neighbours = Neighbours::new(Netlink::open().unwrap());
    let watched = neighbours.watched();
    let rips = BTreeSet::from([rip]);
    loop {
        let resolution = neighbours.refresh(&rips).await.remove(&rip).unwrap();
        if done(&resolution) {
            return resolution;
        }
        let change = timeout(DEADLINE, watch.settled(QUIET, |change| watched.concerns(change)));
        assert!(change.await.unwrap_or_else(|_| panic!("nothing changed any more: {resolution:?}")));
    }
}

#[test]
fn a_real_on_the_link_is_reached_by_its_own_mac() {
    let link = Link::new();
    for (rip, source) in [("10.0.0.2", "10.0.0.1"), ("2001:db8::2", "2001:db8::1")] {
        let hop = link.resolve_until(rip, Result::is_ok).unwrap();
        assert_eq!(mac_text(hop.next_hop_mac), link.other.mac("eth0"));
        assert_eq!(mac_text(hop.source_mac), link.director.mac("eth0"));
        assert_eq!((hop.source_ip, hop.mtu), (ip(source), 1500));
    }
}

#[test]
fn a_real_behind_a_router_is_reached_by_the_routers_mac_and_the_routes_mtu() {
    let link = Link::new();
    link.director.ip("route add 192.0.2.0/24 via 10.0.0.2 mtu 1400");
    let NextHop { next_hop_mac, mtu, .. } = link.resolve_until("192.0.2.7", Result::is_ok).unwrap();
    assert_eq!((mac_text(next_hop_mac), mtu), (link.other.mac("eth0"), 1400));
}

#[test]
fn a_router_of_the_other_family_will_do() {
    let link = Link::new();
    link.director.ip("route add 192.0.2.0/24 via inet6 2001:db8::2");
    let hop = link.resolve_until("192.0.2.7", Result::is_ok).unwrap();
    assert_eq!(mac_text(hop.next_hop_mac), link.other.mac("eth0"));
}

#[test]
fn what_cannot_be_reached_says_why() {
    let link = Link::new();
    link.director.ip("tuntap add mode tun name tun0");
    link.director.ip("link set tun0 up");
    link.director.ip("route add 198.51.100.0/24 dev tun0 src 10.0.0.1");
    link.director.ip("route add blackhole 203.0.113.0/24");

    assert_eq!(link.resolve("10.0.0.1"), Err(Unresolved::Local { rip: ip("10.0.0.1") }));
    assert_eq!(link.resolve("127.0.0.1"), Err(Unresolved::Local { rip: ip("127.0.0.1") }));
    assert_eq!(link.resolve("2001:db8::1"), Err(Unresolved::Local { rip: ip("2001:db8::1") }));
    assert_eq!(link.resolve("192.0.2.7"), Err(Unresolved::NoRoute { rip: ip("192.0.2.7") }));
    assert_eq!(link.resolve("2001:db9::1"), Err(Unresolved::NoRoute { rip: ip("2001:db9::1") }));
    assert_eq!(link.resolve("203.0.113.1"), Err(Unresolved::NoRoute { rip: ip("203.0.113.1") }));
    assert_eq!(link.resolve("10.0.0.255"), Err(Unresolved::NotAHost { rip: ip("10.0.0.255") }));
    assert_eq!(
        link.resolve("198.51.100.1"),
        Err(Unresolved::NotEthernet { rip: ip("198.51.100.1"), interface: "tun0".into() })
    );
}

#[test]
fn a_cable_that_is_pulled_and_one_that_is_plugged_in_are_noticed() {
    let link = Link::new();
    link.resolve_until("10.0.0.2", Result::is_ok).unwrap();

    link.other.ip("link set eth0 down");
    assert_eq!(
        link.resolve("10.0.0.2"),
        Err(Unresolved::InterfaceDown { rip: ip("10.0.0.2"), interface: "eth0".into() })
    );

    link.other.ip("link set eth0 up");
    link.resolve_until("10.0.0.2", Result::is_ok).unwrap();
}

#[test]
fn a_real_that_is_not_there_does_not_answer_until_it_is() {
    let link = Link::new();
    let silent = Unresolved::NoAnswer { neighbour: ip("10.0.0.3"), interface: "eth0".into() };
    let last = link.resolve_until("10.0.0.3", |resolution| *resolution == Err(silent.clone()));
    assert!(last.is_err());

    link.other.ip("address add 10.0.0.3/24 dev eth0");
    // The kernel asks again every five seconds; the ARP that a new address's owner sends comes first in
    // practice.
    link.other.ip("neighbour flush all");
    link.other
        .run(|| std::net::UdpSocket::bind("10.0.0.3:0").unwrap().send_to(b"hello", "10.0.0.1:9").unwrap());
    link.resolve_until("10.0.0.3", Result::is_ok).unwrap();
}

#[test]
fn the_kernel_keeps_neighbours_only_as_long_as_a_real_needs_them() {
    let link = Link::new();
    let managed = || link.director.ip("neighbour show 10.0.0.2 dev eth0").contains("managed");
    link.director.block_on(|| async {
        let mut neighbours = Neighbours::new(Netlink::open().unwrap());
        neighbours.refresh(&BTreeSet::from([ip("10.0.0.2")])).await;
        assert!(managed(), "{}", link.director.ip("neighbour show"));
        neighbours.refresh(&BTreeSet::new()).await;
        assert!(!managed(), "{}", link.director.ip("neighbour show"));
    });
}

#[test]
fn an_entry_made_by_hand_is_used_and_left_as_it_is() {
    let link = Link::new();
    link.director.ip("neighbour add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent");
    let hop = link.resolve("10.0.0.9").unwrap();
    assert_eq!(hop.next_hop_mac, [2, 0, 0, 0, 0, 9]);
    assert!(link.director.ip("neighbour show 10.0.0.9").contains("PERMANENT"));
}

#[test]
fn neighbours_that_no_real_needs_do_not_concern_anyone() {
    let link = Link::new();
    link.director.block_on(|| async {
        let mut neighbours = Neighbours::new(Netlink::open().unwrap());
        let watched = neighbours.watched();
        neighbours.refresh(&BTreeSet::from([ip("10.0.0.2")])).await;
        let ifindex = Netlink::open().unwrap().interface("eth0").await.unwrap().index;
        let about = |address| Change::Neighbour { ifindex, ip: ip(address) };
        assert!(watched.concerns(&about("10.0.0.2")));
        assert!(!watched.concerns(&about("10.0.0.77")));
        assert!(watched.concerns(&Change::Route));
        neighbours.release_all().await;
        assert!(!watched.concerns(&about("10.0.0.2")));
    });
}

#[test]
fn addresses_routes_links_and_neighbours_are_watched() {
    let link = Link::new();
    link.director.block_on(|| async {
        let mut watch = Watch::open().unwrap();
        let ifindex = Netlink::open().unwrap().interface("eth0").await.unwrap().index;
        for (command, expected) in [
            ("address add 10.9.9.9/32 dev eth0", Change::Address { ip: ip("10.9.9.9"), ifindex }),
            ("route add 192.0.2.0/24 via 10.0.0.2", Change::Route),
            ("link set eth0 mtu 1400", Change::Link { ifindex }),
            (
                "neighbour add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0",
                Change::Neighbour { ifindex, ip: ip("10.0.0.9") },
            ),
        ] {
            link.director.ip(command);
            let seen = async { while watch.next().await.unwrap() != expected {} };
            timeout(DEADLINE, seen).await.unwrap_or_else(|_| panic!("{command} was not seen"));
        }
    });
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
