// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs doctor`: further causes of the same faults: IPv6, tunnel devices, firewalls that drop by themselves,
//! two reals at once.

use std::net::{IpAddr, SocketAddr};

use lb_tests::lab::{DIP6, Lab, Method, RIPS, Real, VIP, VIP6, rip6};

use crate::doctor::{finds_and_mends, is_healthy};

/// Adds an IPv6 service with all reals.
fn serve6(lab: &Lab, port: u16, real_port: u16, forward: &str) {
    let service = SocketAddr::new(VIP6.into(), port);
    lab.director.xvs(&format!("service add tcp {service} --scheduler rr")).succeeds();
    for rip in RIPS {
        let real = SocketAddr::new(rip6(rip).into(), real_port);
        lab.director.xvs(&format!("real add tcp {service} {real} --forward {forward}")).succeeds();
    }
    lab.director.wait_for_next_hops();
}

fn name(check: &str, rip: impl Into<IpAddr>, port: u16) -> String {
    format!("{check} {}", SocketAddr::new(rip.into(), port))
}

/// Asserts that a client gets answers from an IPv6 service.
#[track_caller]
fn serves6(lab: &Lab, port: u16) {
    for _ in 0..6 {
        let url = format!("http://{}/", SocketAddr::new(VIP6.into(), port));
        lab.client.exec(["curl", "--silent", "--globoff", "--max-time", "5", &url]).succeeds().says("real");
    }
}

#[test]
fn faults_of_ipv6_by_nat_and_fnat_are_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let mut nginx: Vec<_> = lab.reals.iter().map(|real| real.start_nginx(&[9003, 9004])).collect();
    serve6(&lab, 8003, 9003, "nat");
    serve6(&lab, 8004, 9004, "fnat");
    is_healthy(&lab);

    lab.reals[0].sh(&format!("ip -6 route replace default via {}", rip6(RIPS[1]))).succeeds();
    finds_and_mends(&lab, &[&name("nat-replies", rip6(RIPS[0]), 9003)]);
    serves6(&lab, 8003);

    lab.reals[1].sh(&format!("ip -6 route add {DIP6}/128 via {}", rip6(RIPS[2]))).succeeds();
    finds_and_mends(&lab, &[&name("fnat-replies", rip6(RIPS[1]), 9004)]);
    serves6(&lab, 8004);

    let rip = rip6(RIPS[2]);
    let lost = [9003, 9004].map(|port| name("next-hop", rip, port));
    let lost = lost.each_ref().map(String::as_str);
    lab.director
        .sh(&format!("ip -6 neighbour replace {rip} lladdr 02:00:00:00:00:99 dev eth0 nud permanent"))
        .succeeds();
    finds_and_mends(&lab, &lost);
    lab.director.sh(&format!("ip -6 route add unreachable {rip}/128")).succeeds();
    finds_and_mends(&lab, &lost);

    let at = SocketAddr::new(VIP6.into(), 8003);
    let client = format!("while :; do curl --silent --globoff http://{at}/; sleep 0.1; done");
    let _client = lab.director.start("curl", std::process::Command::new("sh").args(["-c", &client]));
    finds_and_mends(&lab, &["local-client"]);
    lab.director
        .exec(["curl", "--silent", "--globoff", "--max-time", "5", &format!("http://{at}/")])
        .succeeds()
        .says("real1");

    drop(nginx.remove(2));
    let refused = [9003, 9004].map(|port| name("not-listening", rip, port));
    finds_and_mends(&lab, &refused.each_ref().map(String::as_str));
}

/// A firewall that drops all other packets.
fn wall(real: &Real) {
    real.feed(
        &["nft", "-f", "-"],
        "table inet wall {\n chain input {\n type filter hook input priority 0; policy drop;\n \
         icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n }\n}",
    );
}

#[test]
fn what_keeps_tunnelled_packets_from_a_real_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[8002]));
    for real in &lab.reals {
        real.set_up(Method::Tun);
    }
    lab.director.serve("tcp", 8002, "mh", Method::Tun, 8002);
    is_healthy(&lab);

    // The firewall drops packets for the VIP only.
    lab.reals[0].feed(
        &["nft", "-f", "-"],
        &format!("table ip wall {{\n chain input {{\n type filter hook input priority 0\n ip daddr {VIP} drop\n }}\n}}"),
    );
    wall(&lab.reals[2]);
    finds_and_mends(&lab, &[&name("tun-blackhole", RIPS[0], 8002), &name("real-silent", RIPS[2], 8002)]);

    // Two faults at once, of different kinds.
    lab.reals[0].ip(&format!("address delete {VIP}/32 dev lo"));
    lab.reals[1].ip("link set eth0 mtu 1400");
    lab.reals[2].ip(&format!("address add {VIP}/32 dev eth0"));
    finds_and_mends(
        &lab,
        &[
            &name("arp-leak", RIPS[2], 8002),
            &name("tun-blackhole", RIPS[0], 8002),
            &name("tunnel-mtu", RIPS[1], 8002),
        ],
    );
    lab.client.requests(Method::Tun.service(), 30).is_complete(30);
}

#[test]
fn a_udp_service_behind_a_firewall_that_drops_all_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _servers = lab.reals.each_ref().map(|real| {
        real.set_up(Method::Dr);
        lb_tests::lab::Server::udp_echo(real, (VIP, 53))
    });
    lab.director.serve("udp", 53, "rr", Method::Dr, 53);
    is_healthy(&lab);
    wall(&lab.reals[1]);
    finds_and_mends(&lab, &[&name("real-silent", RIPS[1], 53)]);

    lab.reals[0].ip(&format!("address delete {VIP}/32 dev lo"));
    finds_and_mends(&lab, &[&name("dr-blackhole", RIPS[0], 53)]);
}

#[test]
fn services_of_every_port_and_of_several_endpoints_are_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[80, 81]));
    for real in &lab.reals {
        real.set_up(Method::Tun);
    }
    let director = &lab.director;
    director.xvs(&format!("service add tcp {VIP}:0 --persistent 60s")).succeeds();
    director.xvs(&format!("group add 7 tcp 192.0.2.101:80 udp 192.0.2.101:53 tcp {VIP}:81")).succeeds();
    director.xvs("service add group 7").succeeds();
    for (rip, forward) in RIPS.iter().zip(["dr", "tun", "dr"]) {
        director.xvs(&format!("real add tcp {VIP}:0 {rip} --forward {forward}")).succeeds();
        director.xvs(&format!("real add group 7 {rip} --forward {forward}")).succeeds();
    }
    for real in &lab.reals {
        real.xvs_host("setup --vip 192.0.2.101 --forward tun --interface eth0").succeeds();
    }
    is_healthy(&lab);

    lab.reals[0].ip(&format!("address delete {VIP}/32 dev lo"));
    finds_and_mends(&lab, &[&name("dr-blackhole", RIPS[0], 0), &name("dr-blackhole", RIPS[0], 81)]);

    lab.reals[1].ip("address delete 192.0.2.101/32 dev lo");
    finds_and_mends(&lab, &[&name("tun-blackhole", RIPS[1], 80), &name("tun-blackhole", RIPS[1], 53)]);

    lab.reals[2].ip("link set eth0 down");
    lab.director.ip("neighbour flush dev eth0");
    let lost = [0, 81, 80, 53].map(|port| name("next-hop", RIPS[2], port));
    finds_and_mends(&lab, &lost.each_ref().map(String::as_str));
}

#[test]
fn a_vip_that_is_there_twice_on_one_interface_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon_with("--no-manage-vips");
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[8001]));
    for real in &lab.reals {
        real.set_up(Method::Dr);
    }
    lab.director.ip(&format!("address add {VIP}/32 dev eth0"));
    lab.director.serve("tcp", 8001, "mh", Method::Dr, 8001);
    is_healthy(&lab);
    lab.director.ip(&format!("address add {VIP}/24 dev eth0"));
    finds_and_mends(&lab, &["vip-twice"]);
    lab.client.requests(Method::Dr.service(), 9).is_complete(9);
}

#[test]
fn a_real_that_has_lost_something_is_found_and_mended_at_once() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[8002, 9003]));
    for real in &lab.reals {
        real.set_up(Method::Tun);
    }
    lab.director.serve("tcp", 8002, "mh", Method::Tun, 8002);
    lab.director.serve("tcp", 8003, "mh", Method::Nat, 9003);
    is_healthy(&lab);

    // The decapsulator: the pin keeps it attached.
    let pins = lab.director.bpffs().with_file_name("real1");
    let out = lab.reals[0].exec(["find".into(), pins, "-type".into(), "f".into(), "-delete".into()]);
    out.succeeds();
    let (names, found) = crate::doctor::diagnose(&lab);
    assert!(names.len() == 1 && names[0].starts_with("tun-"), "{found:#}");
    finds_and_mends(&lab, &[&names[0]]);

    lab.reals[1].ip("route delete default");
    finds_and_mends(&lab, &[&name("nat-replies", RIPS[1], 9003)]);

    // The real loses its address, while the director's kernel still has it as reachable.
    lab.reals[2].ip(&format!("address delete {}/24 dev eth0", RIPS[2]));
    finds_and_mends(
        &lab,
        &[8002, 9003].map(|port| name("next-hop", RIPS[2], port)).each_ref().map(String::as_str),
    );
}

#[test]
fn between_two_networks_all_is_well_until_something_is_wrong() {
    let lab = Lab::two_arm();
    // Replies of dr and tun come from the VIP, an address of the director, which would have to route them.
    lab.director.sysctl("ipv4/conf/all/accept_local", "1");
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    for real in &lab.reals {
        real.set_up(Method::Tun);
        // Clients are behind the director here.
        real.ip("route replace 192.0.2.0/24 via 10.0.0.1 table 100");
    }
    for method in Method::ALL {
        lab.director.serve("tcp", method.port(), "mh", method, method.real_port());
    }
    is_healthy(&lab);

    lab.reals[0].ip("route replace default via 10.0.0.12");
    finds_and_mends(&lab, &[&name("nat-replies", RIPS[0], 9003)]);

    lab.reals[1].ip(&format!("address delete {VIP}/32 dev lo"));
    finds_and_mends(&lab, &[&name("dr-blackhole", RIPS[1], 8001), &name("tun-blackhole", RIPS[1], 8002)]);

    lab.director.ip("link set eth1 down");
    let lost =
        Method::ALL.iter().flat_map(|method| RIPS.map(|rip| name("next-hop", rip, method.real_port())));
    let found: Vec<_> = std::iter::once("interface-down".to_owned()).chain(lost).collect();
    finds_and_mends(&lab, &found.iter().map(String::as_str).collect::<Vec<_>>());
    lab.client.requests(Method::Nat.service(), 9).is_complete(9);

    // Clients are there: the reals have no fault.
    lab.director.ip("link set eth0 down");
    finds_and_mends(&lab, &["interface-down"]);
    lab.client.requests(Method::Nat.service(), 9).is_complete(9);
}
