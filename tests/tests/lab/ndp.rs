// SPDX-License-Identifier: MIT OR Apache-2.0
//! Neighbour discovery of a real server's kernel about an IPv6 VIP. docs/arp.md shows it.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use lb_tests::lab::{
    Host, Lab,
    capture::{Capture, Kind, Message},
    eventually,
};

use crate::doc;

const CLIENT: Ipv6Addr = address(0x10);
const RIP: Ipv6Addr = address(0x11);
const VIP: Ipv6Addr = address(0x100);
/// An address that no host has.
const NOBODY: Ipv6Addr = address(0x99);

const fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

#[test]
fn a_vip_on_lo_is_silent_in_neighbour_discovery_and_one_on_the_interface_is_not() {
    let lab = scene();
    let [real, ..] = &lab.reals;
    for (place, device) in [("on lo", "lo"), ("on eth0", "eth0")] {
        real.ip(&format!("address add {VIP}/128 dev {device} nodad"));
        doc::row("ndp", place).captured(&what_is_said(&lab.client, real));
        real.ip(&format!("address delete {VIP}/128 dev {device}"));
    }
}

/// No setting makes the kernel answer for an address of another interface.
#[test]
fn xvs_host_setup_is_silent_whatever_the_settings() {
    let lab = scene();
    let [real, ..] = &lab.reals;
    let capture = Capture::on(real);
    real.xvs_host(&format!("setup --vip {VIP} --interface eth0")).succeeds();
    real.xvs_host(&format!("check --vip {VIP} --interface eth0")).succeeds();
    let silent = what_is_said(&lab.client, real);
    let said = capture.so_far().into_iter().filter(|message| is_by(message, real) && is_about_vip(message));
    assert_eq!(said.collect::<Vec<_>>(), [], "adding it, duplicate address detection included");

    for (name, value) in [
        ("all/forwarding", "1"),
        ("all/proxy_ndp", "1"),
        ("eth0/proxy_ndp", "1"),
        ("all/accept_dad", "1"),
        ("all/ndisc_notify", "1"),
        ("eth0/ndisc_notify", "1"),
    ] {
        real.sysctl(&format!("ipv6/conf/{name}"), value);
        assert_eq!(what_is_said(&lab.client, real), silent, "{name} = {value}");
    }
    // When a link comes up, the kernel announces the addresses of that link only.
    let capture = Capture::on(real);
    real.ip("link set eth0 down\nlink set eth0 up");
    real.ip(&format!("address replace {RIP}/64 dev eth0 nodad"));
    eventually("the link-local address is usable", || {
        let shown = real.sh("ip -6 address show dev eth0 scope link").succeeds().stdout;
        if shown.contains("fe80::") && !shown.contains("tentative") { Ok(()) } else { Err(shown) }
    });
    assert_eq!(what_is_said(&lab.client, real), silent);
    let said = capture.so_far().into_iter().filter(|message| is_by(message, real) && is_about_vip(message));
    assert_eq!(said.collect::<Vec<_>>(), [], "setting the link up");

    real.xvs_host("restore").succeeds();
}

fn scene() -> Lab {
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    real.ip(&format!("address add {RIP}/64 dev eth0 nodad"));
    for host in [&lab.client as &Host, real] {
        host.sysctl("ipv6/neigh/eth0/retrans_time_ms", "50");
    }
    lab
}

/// Returns the real's answers to questions for the VIP by multicast and by unicast, and the source of its own
/// question when it sends from the VIP.
fn what_is_said(client: &Host, real: &Host) -> [&'static str; 3] {
    let word = |answered| if answered { "answered" } else { "silent" };
    flush(client);
    let capture = Capture::on(real);
    send(client, CLIENT, VIP);
    let multicast = word(answers(&capture));

    flush(client);
    let capture = Capture::on(real);
    // The kernel confirms an entry by a request to the MAC address in the entry.
    let mac = mac(real).map(|octet| format!("{octet:02x}")).join(":");
    client.ip(&format!("neighbour replace {VIP} dev eth0 lladdr {mac} nud probe"));
    let unicast = word(answers(&capture));

    flush(real);
    let capture = Capture::on(real);
    send(real, VIP, NOBODY);
    let sender = match capture.next_about(NOBODY).sender {
        IpAddr::V6(VIP) => "the VIP",
        IpAddr::V6(RIP) => "the RIP",
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "the link-local address",
        other => panic!("{other} asks"),
    };
    [multicast, unicast, sender]
}

/// As with ARP, the kernel answers before the second request, or never.
fn answers(at_real: &Capture) -> bool {
    assert_eq!(at_real.next_about(VIP).kind, Kind::Ask);
    at_real.next_about(VIP).kind == Kind::Answer
}

fn is_about_vip(message: &Message) -> bool {
    [message.sender, message.target].contains(&IpAddr::from(VIP))
}

fn is_by(message: &Message, host: &Host) -> bool {
    message.mac == mac(host)
}

fn flush(host: &Host) {
    host.sh("ip -6 neighbour flush all").succeeds();
}

fn send(host: &Host, source: Ipv6Addr, target: Ipv6Addr) {
    let sent =
        host.run(|| UdpSocket::bind((source, 0)).and_then(|socket| socket.send_to(b"hello", (target, 9))));
    sent.unwrap_or_else(|error| panic!("from {source} to {target}: {error}"));
}

fn mac(host: &Host) -> [u8; 6] {
    let shown = host.sh("ip -brief link show dev eth0").succeeds().stdout;
    let mac = shown.split_whitespace().nth(2).expect("a veth device has an address");
    let octets: Vec<_> =
        mac.split(':').map(|octet| u8::from_str_radix(octet, 16).expect("two digits")).collect();
    octets.try_into().expect("six octets")
}
