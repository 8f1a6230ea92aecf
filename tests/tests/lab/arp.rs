// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers and announcements of a real server's kernel about a VIP, at every level of `arp_ignore` and
//! `arp_announce`. docs/arp.md shows the captured packets, and a test compares them with it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, UdpSocket},
};

use lb_tests::lab::{
    CLIENT, Host, Lab, Method, RIPS, VIP,
    capture::{Capture, Kind},
    eventually,
};

use crate::doc;

const RIP: Ipv4Addr = RIPS[0];
/// A second address of the client, in the subnet of the reals.
const NEAR_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);
/// A VIP in the subnet of the reals.
const NEAR_VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
/// Addresses that no host has, in the subnet of the reals and in that of the clients.
const NEAR_NOBODY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
const FAR_NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

#[test]
fn every_level_of_arp_ignore_answers_as_documented() {
    let lab = scene();
    let [real, ..] = &lab.reals;
    let client: &Host = &lab.client;
    for level in [0, 1, 2, 3, 8] {
        let mut seen = Vec::new();
        // The greater one of `all` and the interface counts; that of lo does not count on eth0.
        for [all, eth0, lo] in [[level, 0, 0], [0, level, 8], [level, level, level]] {
            set(real, "arp_ignore", [all, eth0, lo]);
            real.ip(&format!("address add {VIP}/32 dev lo"));
            let vip = answers(client, CLIENT, real, VIP);
            real.ip(&format!("address delete {VIP}/32 dev lo\naddress add {VIP}/32 dev lo scope host"));
            let host_scope = answers(client, CLIENT, real, VIP);
            real.ip(&format!("address delete {VIP}/32 dev lo"));
            let near = answers(client, NEAR_CLIENT, real, RIP);
            let far = answers(client, CLIENT, real, RIP);
            seen.push(
                [vip, host_scope, near, far].map(|answered| if answered { "answered" } else { "silent" }),
            );
        }
        assert!(
            seen.iter().all(|one| *one == seen[0]),
            "arp_ignore {level} on all, on eth0, on both: {seen:?}"
        );
        doc::row("arp_ignore", &level.to_string()).captured(&seen[0]);
    }
}

#[test]
fn every_level_of_arp_announce_announces_as_documented() {
    let lab = scene();
    let [real, ..] = &lab.reals;
    real.ip(&format!("address add {VIP}/32 dev lo\naddress add {NEAR_VIP}/32 dev lo"));
    for level in [0, 1, 2] {
        let mut seen = Vec::new();
        for [all, eth0, lo] in [[level, 0, 0], [0, level, 2], [level, level, level]] {
            set(real, "arp_announce", [all, eth0, lo]);
            let ways = [(NEAR_VIP, NEAR_NOBODY), (VIP, NEAR_NOBODY), (VIP, FAR_NOBODY)];
            seen.push(ways.map(|(vip, neighbour)| match announces(real, vip, neighbour) {
                ip if ip == RIP => "the RIP",
                ip if ip == vip => "the VIP",
                other => panic!("arp_announce {level}: {other} announced"),
            }));
        }
        assert!(
            seen.iter().all(|one| *one == seen[0]),
            "arp_announce {level} on all, on eth0, on both: {seen:?}"
        );
        doc::row("arp_announce", &level.to_string()).captured(&seen[0]);
    }
}

/// The ARP problem and its solution: the MAC address that a client gets for the VIP.
#[test]
fn the_defaults_of_setup_keep_the_vip_from_being_stolen_and_zero_does_not() {
    let lab = scene();
    let [real, ..] = &lab.reals;
    let (client, director): (&Host, &Host) = (&lab.client, &lab.director);
    director.ip(&format!("address add {VIP}/32 dev eth0"));
    let name = |mac| match mac {
        _ if mac == address_of(director) => "director",
        _ if mac == address_of(real) => "real",
        other => panic!("{other:?} is nobody's"),
    };

    real.ip(&format!("address add {VIP}/32 dev lo"));
    let answered = who_answers(client, real, 20).into_iter().map(name).collect::<BTreeSet<_>>();
    let learnt = name(learnt_after_a_packet_from_the_vip(client, director, real));
    let answered = answered.into_iter().collect::<Vec<_>>().join(", ");
    doc::row("stolen", "0 and 0").captured(&[&answered, learnt]);
    // This happens in practice: sooner or later the real answers first, and clients bypass the director.
    eventually("the real's answer wins", || {
        ask(client, CLIENT, VIP);
        let entry = resolved(client, VIP);
        if entry == address_of(real) { Ok(()) } else { Err(format!("{entry:?}")) }
    });

    real.host_setup(Method::Dr).succeeds();
    let answered = who_answers(client, real, 20).into_iter().map(name).collect::<BTreeSet<_>>();
    let learnt = name(learnt_after_a_packet_from_the_vip(client, director, real));
    let answered = answered.into_iter().collect::<Vec<_>>().join(", ");
    doc::row("stolen", "1 and 2").captured(&[&answered, learnt]);
}

/// No setting helps on an interface without another address.
#[test]
fn an_interface_without_an_address_asks_as_the_vip_and_check_says_so() {
    let lab = scene();
    let [real, ..] = &lab.reals;
    real.host_setup(Method::Dr).succeeds();
    lab.switch.ip(&format!(
        "link add uplink type veth peer name eth1 netns {}\nlink set uplink master lan\nlink set uplink up",
        real.ns().name()
    ));
    real.ip("link set eth1 up");
    real.host_check(Method::Dr).succeeds();
    // Replies to clients leave by it.
    real.ip("route replace 192.0.2.0/24 dev eth1 table 100");

    let item = "own ARP requests by eth1";
    real.host_check(Method::Dr).fails(1).says(item);
    real.host_setup(Method::Dr).succeeds().says(&format!("WRONG {item}"));
    assert_eq!(announces(real, VIP, FAR_NOBODY), VIP);

    let own = Ipv4Addr::new(10, 0, 0, 211);
    real.ip(&format!("address add {own}/32 dev eth1"));
    real.host_check(Method::Dr).succeeds();
    assert_eq!(announces(real, VIP, FAR_NOBODY), own);
}

/// Builds a lab whose client also has an address in the subnet of the reals, and repeats ARP requests
/// quickly.
fn scene() -> Lab {
    let lab = Lab::new();
    lab.client.ip(&format!(
        "route delete 10.0.0.0/24\n\
         address add {NEAR_CLIENT}/24 dev eth0"
    ));
    lab.client.sysctl("ipv4/neigh/eth0/retrans_time_ms", "50");
    lab.reals[0].sysctl("ipv4/neigh/eth0/retrans_time_ms", "50");
    lab
}

/// Sets a setting on `all`, `eth0` and `lo`.
fn set(host: &Host, name: &str, values: [u32; 3]) {
    for (interface, value) in ["all", "eth0", "lo"].into_iter().zip(values) {
        host.sysctl(&format!("ipv4/conf/{interface}/{name}"), &value.to_string());
    }
}

/// Makes `host` ask the link for `target`, by a packet from `source`, without a neighbour entry.
fn ask(host: &Host, source: Ipv4Addr, target: Ipv4Addr) {
    host.sh("ip neighbour flush all").succeeds();
    send(host, source, target);
}

fn send(host: &Host, source: Ipv4Addr, target: Ipv4Addr) {
    let sent =
        host.run(|| UdpSocket::bind((source, 0)).and_then(|socket| socket.send_to(b"hello", (target, 9))));
    sent.unwrap_or_else(|error| panic!("from {source} to {target}: {error}"));
}

/// Returns whether `real` answers when `host` asks for `target`.
///
/// The kernel answers while it receives, so at the real itself the answer comes before the second request, or
/// never.
fn answers(host: &Host, source: Ipv4Addr, real: &Host, target: Ipv4Addr) -> bool {
    host.sh("ip neighbour flush all").succeeds();
    let capture = Capture::on(real);
    send(host, source, target);
    let asked = capture.next_about(target);
    assert_eq!((asked.kind, asked.sender), (Kind::Ask, source.into()));
    capture.next_about(target).kind == Kind::Answer
}

/// Returns the address from which `real` asks the link for `neighbour` when it sends from `vip`.
fn announces(real: &Host, vip: Ipv4Addr, neighbour: Ipv4Addr) -> IpAddr {
    real.sh("ip neighbour flush all").succeeds();
    let capture = Capture::on(real);
    send(real, vip, neighbour);
    capture.next_about(neighbour).sender
}

/// Returns the hosts that answer for the VIP when the client asks `times` times without a neighbour entry.
fn who_answers(client: &Host, real: &Host, times: u32) -> Vec<[u8; 6]> {
    let capture = Capture::on(client);
    for _ in 0..times {
        ask(client, CLIENT, VIP);
        resolved(client, VIP);
    }
    // When the real has answered this request, it has processed all earlier ones.
    ask(client, NEAR_CLIENT, RIP);
    assert_eq!(resolved(client, RIP), address_of(real));
    let answers = capture.so_far().into_iter().filter(|message| message.kind == Kind::Answer);
    answers.filter(|message| message.target == VIP).map(|message| message.mac).collect()
}

/// Returns the host that the client, which knows the director, has for the VIP after the real sent it a
/// packet from the VIP: the real must ask for the client first.
fn learnt_after_a_packet_from_the_vip(client: &Host, director: &Host, real: &Host) -> [u8; 6] {
    let known = address_of(director).map(|octet| format!("{octet:02x}")).join(":");
    client.ip(&format!("neighbour replace {VIP} dev eth0 lladdr {known} nud reachable"));
    real.sh("ip neighbour flush all").succeeds();
    let capture = Capture::on(real);
    send(real, VIP, CLIENT);
    // When the client's answer arrives, the client has updated its entry from the request.
    while capture.next_about(CLIENT).kind != Kind::Answer {}
    resolved(client, VIP)
}

/// Returns the Ethernet address that `host` has for `ip`, once it has one.
fn resolved(host: &Host, ip: Ipv4Addr) -> [u8; 6] {
    eventually(&format!("{ip} is resolved"), || {
        let shown = host.sh(&format!("ip neighbour show {ip}")).succeeds().stdout;
        let mut words = shown.split_whitespace().skip_while(|word| *word != "lladdr");
        words.nth(1).and_then(parse_mac).ok_or(shown)
    })
}

fn address_of(host: &Host) -> [u8; 6] {
    let shown = host.sh("ip -brief link show dev eth0").succeeds().stdout;
    shown.split_whitespace().nth(2).and_then(parse_mac).expect("a veth device has an address")
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let octets: Option<Vec<u8>> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    octets?.try_into().ok()
}
