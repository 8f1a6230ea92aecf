// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs doctor`: reals that receive requests and whose replies do not reach clients, because of routes and
//! routing rules.

use std::net::SocketAddr;

use lb_tests::lab::{Lab, Method, RIPS, VIP6, rip6};

use crate::doctor::{finds, finds_and_mends, healthy, is_healthy, mends};

/// Asserts that a client gets an answer each time.
#[track_caller]
fn serves(lab: &Lab, service: impl Into<SocketAddr>) {
    let url = format!("http://{}/", service.into());
    for _ in 0..9 {
        lab.client.exec(["curl", "--silent", "--globoff", "--max-time", "5", &url]).succeeds().says("real");
    }
}

#[test]
fn a_nat_real_that_routes_by_rules_or_in_part_past_the_director_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    // A routing rule overrides link and main table for all packets from the RIP, also to the director.
    lab.reals[1]
        .ip(&format!("rule add from {} lookup 200\nroute add default via {} table 200", RIPS[1], RIPS[2]));
    let silent = [9003, 9004].map(|port| format!("real-silent {}:{port}", RIPS[1]));
    finds_and_mends(lab, &silent.each_ref().map(String::as_str));
    serves(lab, Method::Nat.service());

    // A part of the clients' network, in which the director is too.
    lab.reals[2].ip(&format!("route add 192.0.2.0/25 via {}", RIPS[0]));
    finds_and_mends(lab, &[&format!("nat-replies {}:9003", RIPS[2])]);
    serves(lab, Method::Nat.service());

    // Two routes cover all addresses, and take precedence over the default route.
    lab.reals[0].ip(&format!("route add 0.0.0.0/1 via {r}\nroute add 128.0.0.0/1 via {r}", r = RIPS[2]));
    finds_and_mends(lab, &[&format!("nat-replies {}:9003", RIPS[0])]);
    for method in Method::ALL {
        serves(lab, method.service());
    }
}

#[test]
fn nat_of_ipv6_that_routes_by_rules_past_the_director_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[9003]));
    let service = SocketAddr::from((VIP6, 8003));
    lab.director.xvs(&format!("service add tcp {service} --scheduler rr")).succeeds();
    for rip in RIPS.map(rip6) {
        lab.director.xvs(&format!("real add tcp {service} [{rip}]:9003 --forward nat")).succeeds();
    }
    is_healthy(&lab);
    let sh = |n: usize, line: String| drop(lab.reals[n].sh(&line).succeeds());
    sh(0, format!("ip -6 rule add from {} lookup 200", rip6(RIPS[0])));
    sh(0, format!("ip -6 route add default via {} table 200", rip6(RIPS[1])));
    finds_and_mends(&lab, &[&format!("real-silent [{}]:9003", rip6(RIPS[0]))]);
    serves(&lab, service);

    sh(1, format!("ip -6 route add default via {} metric 10", rip6(RIPS[2])));
    finds_and_mends(&lab, &[&format!("nat-replies [{}]:9003", rip6(RIPS[1]))]);
    serves(&lab, service);

    sh(2, "ip -6 route flush default".to_owned());
    finds_and_mends(&lab, &[&format!("nat-replies [{}]:9003", rip6(RIPS[2]))]);
    serves(&lab, service);
}

#[test]
fn a_real_whose_address_has_lost_its_network_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    lab.reals[2].ip(&format!("address delete {r}/24 dev eth0\naddress add {r}/32 dev eth0", r = RIPS[2]));
    // The routes vanished with the address: the first fix restores the path to the director, the second to
    // clients.
    let names = [8001, 8002, 9003, 9004].map(|port| format!("real-silent {}:{port}", RIPS[2]));
    let found = finds(lab, &names.each_ref().map(String::as_str));
    for finding in found.as_array().expect("a list") {
        mends(lab, finding);
    }
    finds_and_mends(lab, &[&format!("replies-come-back {}:8001", RIPS[2])]);
    for method in Method::ALL {
        serves(lab, method.service());
    }
}

#[test]
fn a_real_without_a_way_from_the_vip_to_clients_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    let names = |n: usize| [8001, 8002].map(|port| format!("rp-filter {}:{port}", RIPS[n]));
    for (n, route) in [
        (0, "blackhole 192.0.2.0/24 table 100".to_owned()),
        (1, "unreachable 192.0.2.0/24 table 100".to_owned()),
        // A router that does not route.
        (2, format!("192.0.2.0/24 via {} table 100", RIPS[0])),
    ] {
        lab.reals[n].ip(&format!("route replace {route}"));
        finds_and_mends(lab, &names(n).each_ref().map(String::as_str));
    }
    for method in Method::ALL {
        serves(lab, method.service());
    }
}

#[test]
fn a_real_of_ipv6_without_a_way_from_the_vip_to_clients_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| {
        real.xvs_host(&format!("setup --vip {VIP6} --interface eth0")).succeeds();
        real.start_nginx(&[80])
    });
    let service = SocketAddr::from((VIP6, 80));
    lab.director.xvs(&format!("service add tcp {service} --scheduler rr")).succeeds();
    for rip in RIPS.map(rip6) {
        lab.director.xvs(&format!("real add tcp {service} {rip} --forward dr")).succeeds();
    }
    is_healthy(&lab);
    lab.reals[1].sh("ip -6 route replace unreachable 2001:db8::/64 table 100 metric 1").succeeds();
    finds_and_mends(&lab, &[&format!("rp-filter [{}]:80", rip6(RIPS[1]))]);
    serves(&lab, service);
}

#[test]
fn a_strict_filter_on_a_real_with_a_second_link_for_its_replies_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    let real = &lab.reals[0];
    lab.switch.ip(&format!(
        "link add uplink type veth peer name eth1 netns {}\nlink set uplink master lan\nlink set uplink up",
        real.ns().name()
    ));
    // Only packets from the VIP use this route: the default route does not show it.
    real.ip(
        "link set eth1 up\naddress add 192.0.2.52/32 dev eth1\nroute replace 192.0.2.0/24 dev eth1 table 100",
    );
    is_healthy(lab);
    for device in ["all", "eth0", "eth1"] {
        real.sysctl(&format!("ipv4/conf/{device}/rp_filter"), "1");
    }
    let names = [8001, 8002].map(|port| format!("rp-filter {}:{port}", RIPS[0]));
    finds_and_mends(lab, &names.each_ref().map(String::as_str));
    for method in Method::ALL {
        serves(lab, method.service());
    }
}

#[test]
fn replies_of_dr_and_tun_that_come_to_the_director_are_found_and_mended() {
    let lab = Lab::two_arm();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    for real in &lab.reals {
        real.set_up(Method::Tun);
    }
    for method in Method::ALL {
        lab.director.serve("tcp", method.port(), "mh", method, method.real_port());
    }
    // No clients are behind the director: as if each real had a router of its own to them.
    lab.director.sysctl("ipv4/conf/all/accept_local", "1");
    for real in &lab.reals {
        real.ip("route replace 192.0.2.0/24 via 10.0.0.1 table 100");
    }
    is_healthy(&lab);
    for method in Method::ALL {
        serves(&lab, method.service());
    }
    lab.director.sysctl("ipv4/conf/all/accept_local", "0");
    let names: Vec<String> = RIPS.iter().map(|rip| format!("replies-come-back {rip}:8001")).collect();
    finds_and_mends(&lab, &names.iter().map(String::as_str).collect::<Vec<_>>());
    for method in Method::ALL {
        serves(&lab, method.service());
    }
}
