// SPDX-License-Identifier: MIT OR Apache-2.0
//! {dr, tun, nat, fnat} × {IPv4, IPv6} × the uses of a service.
//!
//! | | IPv4 | IPv6, and tunnels of the other version |
//! |---|---|---|
//! | TCP bulk, both ways, with digests | `files::a_hundred_megabytes_arrive_whole_both_ways_by_every_method` | `ipv6::every_way_serves_tcp` |
//! | the same over GRE and GUE | `modes::every_kind_of_tunnel_serves` | `kernel_tunnels` (`cargo xtask test-vm`) |
//! | UDP | `udp::every_datagram_is_echoed_and_a_client_keeps_its_real` | `ipv6::every_way_serves_udp_whole_and_in_fragments` |
//! | ping | here | here |
//! | traceroute, by TCP and by UDP | here | here; by TCP also `ipv6::traceroute_finds_the_director_and_the_real` |
//! | path-MTU discovery across narrow links | here | here |

use std::path::Path;

use lb_tests::lab::{
    DIRECTOR, DIRECTOR6, Host, Lab, Layout, Method, Options, Process, RIPS, VIP, VIP6, Way, rip6,
};

/// Reals that are set up for every way, and the daemon.
fn ready(lab: &Lab) -> Process {
    for real in &lab.reals {
        real.xvs_host(&format!("setup --vip {VIP} --vip {VIP6} --forward tun --interface eth0")).succeeds();
    }
    lab.director.start_daemon()
}

/// The VIP answers pings independently of the packets of its only service: small ones, large ones, and
/// those that come in fragments.
#[test]
fn every_way_leaves_pings_to_the_vip() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    for way in Way::all() {
        way.serve(&lab.director, "tcp", "mh");
        lab.director.wait_for_next_hops();
        for size in [8, 1400, 4000] {
            let ping = format!("ping -c 2 -i 0.1 -W 2 -s {size} {}", way.vip());
            lab.client.sh(&ping).succeeds().says("2 received");
        }
        lab.director.xvs(&format!("service remove tcp {}", way.service())).succeeds();
    }
}

/// In traceroute, the director answers as the VIP, and the real behind it accepts TCP and refuses UDP ("port
/// unreachable").
#[test]
fn every_way_is_traced_by_tcp_and_by_udp() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    for way in Way::all() {
        for (protocol, option) in [("tcp", "-T"), ("udp", "-U")] {
            way.serve(&lab.director, protocol, "mh");
            lab.director.wait_for_next_hops();
            let (vip, port) = (way.vip(), way.method.port());
            let traced = lab.client.sh(&format!("traceroute -n {option} -p {port} -w 2 -q 1 -m 5 {vip}"));
            let said = traced.succeeds().stdout;
            let hops: Vec<Vec<&str>> =
                said.lines().skip(1).map(|line| line.split_whitespace().take(2).collect()).collect();
            let vip = vip.to_string();
            assert_eq!(hops, [["1", &vip], ["2", &vip]], "{}, {protocol}: {said}", way.name());
        }
    }
    assert_eq!(lab.director.stats().reason("ttl_exceeded"), 2 * Way::all().count() as u64);
}

/// MTU of the link between the router and the client, in bytes.
const TO_CLIENT: u32 = 1400;
/// MTU of the director's path to a real, in bytes.
const TO_REAL: u32 = 1350;

/// Downloads must pass a router's narrow link towards the client, and uploads the director's narrow path to
/// the reals. In both cases an ICMP error must reach the sender of the large packets, whose own device has a
/// larger MTU.
#[test]
fn every_way_finds_the_mtu_of_narrow_links() {
    let lab = Lab::with(Options { layout: Layout::OneArm, more_reals: 2, ..Options::default() });
    let _daemon = ready(&lab);
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    let [router, client] = [&lab.more_reals[0], &lab.more_reals[1]];
    put_behind_a_router(&lab, router, client);
    for rip in RIPS {
        for to in [format!("{rip}/32"), format!("{}/128", rip6(rip))] {
            lab.director.sh(&format!("ip route add {to} dev eth0 mtu {TO_REAL}")).succeeds();
        }
    }
    let original = lab.big_file("big", 2);
    let expected = digest(client, &original);

    for way in Way::all() {
        way.serve(&lab.director, "tcp", "mh");
        lab.director.wait_for_next_hops();
        for host in lab.reals.iter().chain([client]) {
            forget_mtus(host);
        }
        let (service, name) = (way.service(), format!("up-{}-{}", way.method.as_str(), way.six));
        let downloaded = client.path("downloaded");
        let curl = "curl --silent --show-error --fail --max-time 30";
        client.sh(&format!("{curl} --output {} http://{service}/files/big", downloaded.display())).succeeds();
        assert_eq!(digest(client, &downloaded), expected, "download, {}", way.name());
        let told = lab.reals.iter().any(|real| knows(real, way.six, TO_CLIENT));
        assert!(told, "the real was told, {}", way.name());

        client
            .sh(&format!("{curl} --upload-file {} http://{service}/upload/{name}", original.display()))
            .succeeds();
        let stored = lab.reals.iter().map(|real| real.uploaded(&name)).find(|path| path.exists());
        assert_eq!(digest(client, &stored.expect("a real has it")), expected, "upload, {}", way.name());
        let header = match (way.method, way.six) {
            (Method::Tun, false) => 20,
            (Method::Tun, true) => 40,
            (Method::Dr | Method::Nat | Method::Fnat, _) => 0,
        };
        assert!(knows(client, way.six, TO_REAL - header), "the client was told, {}", way.name());
    }
}

/// Removes two hosts from the network of the switch and puts one behind the other, by a link whose MTU is
/// smaller than those of their other devices.
#[track_caller]
fn put_behind_a_router(lab: &Lab, router: &Host, client: &Host) {
    client.ip("link set eth0 down");
    router.ip(&format!(
        "address add 192.0.2.20/24 dev eth0\n\
         address add 2001:db8::20/64 dev eth0 nodad\n\
         route del default\n\
         rule flush\n\
         rule add lookup main priority 32766\n\
         route add default via {DIRECTOR}\n\
         link add narrow type veth peer name wide netns {}\n\
         link set narrow mtu {TO_CLIENT} up\n\
         address add 198.51.100.1/24 dev narrow\n\
         address add 2001:db8:1::1/64 dev narrow nodad",
        client.ns().name()
    ));
    router.sh("ip -6 rule del from 2001:db8::/64").succeeds();
    router.sh(&format!("ip -6 route replace default via {DIRECTOR6}")).succeeds();
    router.sysctl("ipv4/ip_forward", "1");
    router.sysctl("ipv6/conf/all/forwarding", "1");
    // The router would lose what is longer than its device takes. So the client's own packets are no longer;
    // it tells its peers nevertheless that it takes as much as its device.
    client.ip(&format!(
        "link set wide up\n\
         address add 198.51.100.10/24 dev wide\n\
         address add 2001:db8:1::10/64 dev wide nodad\n\
         route add default via 198.51.100.1 mtu {TO_CLIENT} advmss 1460"
    ));
    client.sh(&format!("ip -6 route add default via 2001:db8:1::1 mtu {TO_CLIENT} advmss 1440")).succeeds();
    for (host, device) in [(router, "narrow"), (client, "wide")] {
        host.sh(&format!("ethtool -K {device} rx off tx off tso off gso off gro off")).succeeds();
    }
    for (net, router) in [("198.51.100.0/24", "192.0.2.20"), ("2001:db8:1::/64", "2001:db8::20")] {
        lab.director.sh(&format!("ip route add {net} via {router}")).succeeds();
        for real in &lab.reals {
            // Packets from the VIP use a routing table that leads straight to the clients' router.
            real.sh(&format!("ip route add {net} via {router} dev eth0 onlink table 100")).succeeds();
        }
    }
}

#[track_caller]
fn forget_mtus(host: &Host) {
    host.sh("ip -4 route flush cache").succeeds();
    host.sh("ip -6 route flush cache").succeeds();
}

/// Returns whether a host has learnt a path MTU.
#[track_caller]
fn knows(host: &Host, six: bool, mtu: u32) -> bool {
    let version = if six { 6 } else { 4 };
    let told = host.sh(&format!("ip -{version} route show cache table all")).succeeds().stdout;
    told.contains(&format!("mtu {mtu}"))
}

fn digest(host: &Host, file: &Path) -> String {
    let said = host.sh(&format!("sha256sum {}", file.display())).succeeds().stdout;
    said.split_whitespace().next().expect("the digest comes first").to_owned()
}
