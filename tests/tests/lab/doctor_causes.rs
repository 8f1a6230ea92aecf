// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs doctor` names the right one of several likely causes, and none of the many reals without a fault.

use std::{fmt::Write as _, fs};

use lb_tests::lab::{DIP, Lab, Method, RIPS, Server, VIP, VIP6, rip6};

use crate::doctor::{finds, finds_and_mends, healthy, is_healthy, mends};

/// Asserts that there is one finding whose cause contains these words, and that its fix works.
#[track_caller]
fn finds_cause(lab: &Lab, name: &str, words: &str) {
    let found = finds(lab, &[name]);
    let cause = found[0]["cause"].as_str().expect("a text");
    assert!(cause.contains(words), "{cause}");
    mends(lab, &found[0]);
    is_healthy(lab);
}

#[test]
fn a_real_without_the_vip_that_routes_on_is_found_although_another_one_answers() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    // As on a host with containers: packets for the VIP return to the director, which sends them to another
    // real.
    lab.reals[1].sysctl("ipv4/ip_forward", "1");
    is_healthy(lab);
    lab.reals[1].ip(&format!("address delete {VIP}/32 dev lo"));
    let names = [("dr-blackhole", 8001), ("tun-blackhole", 8002)];
    let names = names.map(|(check, port)| format!("{check} {}:{port}", RIPS[1]));
    finds_and_mends(lab, &names.each_ref().map(String::as_str));
}

#[test]
fn a_missing_vip_a_firewall_and_a_tunnel_are_told_apart() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    let drops = |n: usize, rule: &str| {
        let chain = "chain input {\n type filter hook input priority 0\n";
        lab.reals[n].feed(&["nft", "-f", "-"], &format!("table ip wall {{\n {chain} {rule} drop\n }}\n}}"));
    };
    drops(0, &format!("ip daddr {VIP} tcp dport 8001"));
    finds_cause(
        lab,
        &format!("real-firewall {}:8001", RIPS[0]),
        "answers pings of 192.0.2.100, but nothing at port",
    );
    drops(1, &format!("ip daddr {VIP} tcp dport 8002"));
    finds_cause(
        lab,
        &format!("real-firewall {}:8002", RIPS[1]),
        "answers pings of 192.0.2.100, but nothing at port",
    );

    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[8002]));
    for real in &lab.reals {
        real.set_up(Method::Tun);
    }
    lab.director.serve("tcp", 8002, "mh", Method::Tun, 8002);
    is_healthy(&lab);
    let name = format!("tun-blackhole {}:8002", RIPS[0]);
    lab.reals[0].ip(&format!("address delete {VIP}/32 dev lo"));
    finds_cause(&lab, &name, "it decapsulates packets");
    // The real does not decapsulate, and sends no error.
    lab.reals[0].host_restore().succeeds();
    lab.reals[0].set_up(Method::Dr);
    lab.reals[0].feed(
        &["nft", "-f", "-"],
        "table ip mute {\n chain output {\n type filter hook output priority 0\n icmp type destination-unreachable drop\n }\n}",
    );
    finds_cause(&lab, &name, "not for itself inside the tunnel either");
}

#[test]
fn a_nat_real_with_a_link_of_its_own_to_clients_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    for (n, line) in [(1, "route add 192.0.2.0/24 dev eth0"), (2, "address add 192.0.2.55/24 dev eth0")] {
        lab.reals[n].ip(line);
        finds_cause(lab, &format!("nat-replies {}:9003", RIPS[n]), "has a link of its own to 192.0.2.0/24");
        lab.client.requests(Method::Nat.service(), 9).is_complete(9);
    }

    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[9003]));
    lab.director.xvs(&format!("service add tcp [{VIP6}]:8003")).succeeds();
    for rip in RIPS.map(rip6) {
        lab.director.xvs(&format!("real add tcp [{VIP6}]:8003 [{rip}]:9003 --forward nat")).succeeds();
    }
    is_healthy(&lab);
    lab.reals[1].sh("ip -6 route add 2001:db8::/64 dev eth0").succeeds();
    finds_cause(
        &lab,
        &format!("nat-replies [{}]:9003", rip6(RIPS[1])),
        "has a link of its own to 2001:db8::/64",
    );
}

#[test]
fn replies_of_udp_by_nat_and_fnat_that_go_elsewhere_are_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _servers = lab.reals.each_ref().map(|real| Server::udp_echo(real, (real.rip, 53)));
    lab.director.serve("udp", 53, "rr", Method::Nat, 53);
    lab.director.serve("udp", 54, "rr", Method::Fnat, 53);
    is_healthy(&lab);
    lab.reals[1].ip(&format!("route replace default via {}", RIPS[2]));
    finds_and_mends(&lab, &[&format!("nat-replies {}:53", RIPS[1])]);
    lab.reals[0].ip(&format!("route add {DIP}/32 via {}", RIPS[2]));
    finds_and_mends(&lab, &[&format!("fnat-replies {}:53", RIPS[0])]);
    // The firewall drops pings, and passes packets of the service.
    for real in &lab.reals {
        real.feed(
            &["nft", "-f", "-"],
            "table ip wall {\n chain input {\n type filter hook input priority 0; policy drop;\n udp dport 53 accept\n }\n}",
        );
    }
    is_healthy(&lab);
}

#[test]
fn many_services_that_are_well_are_all_well_time_and_again() {
    const SERVICES: usize = 400;
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[80]));
    let mut file = String::new();
    for n in 0..SERVICES {
        let _infallible = writeln!(
            file,
            "[[service]]\nprotocol = \"tcp\"\naddress = \"198.18.{}.{}:80\"",
            n / 250,
            n % 250 + 1
        );
        for rip in RIPS {
            let forward = ["nat", "fnat"][n % 2];
            let _infallible =
                writeln!(file, "[[service.real]]\naddress = \"{rip}:80\"\nforward = \"{forward}\"");
        }
    }
    let config = lab.director.path("services.toml");
    fs::write(&config, file).expect("the lab's folder is writable");
    lab.director.xvs(&format!("apply {}", config.display())).succeeds();
    lab.director.wait_for_next_hops();
    // More fnat flows than the maps of the probes hold, and more answers than the default buffer of a socket.
    for _ in 0..3 {
        lab.director.xvs("doctor").succeeds().says("nothing is wrong");
    }
    lab.reals[2].ip(&format!("address delete {}/24 dev eth0", RIPS[2]));
    let found = lab.director.xvs("--output json doctor").json();
    let found = found.as_array().expect("a list");
    assert_eq!(found.len(), SERVICES);
    assert!(found.iter().all(|one| one["check"] == "next-hop"), "{:#}", found[0]);
}

#[test]
fn a_real_that_does_not_answer_clients_is_mended_whatever_the_cause() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    let rp_filter = [8001, 8002].map(|port| format!("rp-filter {}:{port}", RIPS[1]));
    let nat = format!("nat-replies {}:9003", RIPS[1]);
    let names = [rp_filter[0].as_str(), &rp_filter[1], &nat];

    // The whole network of the clients is on a link of the real.
    lab.reals[1].ip(&format!("address delete {VIP}/32 dev lo\naddress add {VIP}/24 dev lo"));
    finds_and_mends(lab, &names);

    lab.reals[1].feed(
        &["nft", "-f", "-"],
        "table ip wall {\n chain input {\n type filter hook input priority 0\n ip saddr 192.0.2.0/24 drop\n }\n}",
    );
    finds_and_mends(lab, &names);
    for method in [Method::Dr, Method::Tun, Method::Nat] {
        lab.client.requests(method.service(), 30).is_complete(30);
    }
}

#[test]
fn a_vip_of_the_director_where_its_network_does_not_hear_of_it_is_found_and_mended() {
    let lab = Lab::new();
    let director = &lab.director;
    let _daemon = director.start_daemon_with("--no-manage-vips");
    director.ip(&format!("address add {VIP6}/128 dev lo\naddress add {VIP}/32 dev lo"));
    director.xvs(&format!("service add tcp [{VIP6}]:80")).succeeds();
    director.xvs(&format!("service add tcp {VIP}:80")).succeeds();
    // Linux answers ARP for every address of the host, on every interface.
    finds_cause(&lab, "vip-missing", "neighbour discovery");
    director.sysctl("ipv4/conf/all/arp_ignore", "1");
    finds_cause(&lab, "vip-missing", "arp_ignore being 1");
    let asked = lab.client.sh(&format!("ping -c 1 -W 2 {VIP6}"));
    asked.succeeds();
    // A network that is on none of its interfaces is routed to the host.
    director.xvs("service add tcp 198.51.100.1:80").succeeds();
    director.ip("address add 198.51.100.1/32 dev lo");
    is_healthy(&lab);
}

#[test]
fn a_tunnel_too_narrow_for_ipv6_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| {
        real.xvs_host(&format!("setup --vip {VIP6} --forward tun --interface eth0")).succeeds();
        real.start_nginx(&[80])
    });
    lab.director.xvs(&format!("service add tcp [{VIP6}]:80")).succeeds();
    for rip in RIPS {
        lab.director.xvs(&format!("real add tcp [{VIP6}]:80 {rip} --forward tun")).succeeds();
    }
    is_healthy(&lab);
    // An MTU that is one byte too small, and one that is too small for a SYN.
    for (rip, mtu) in [(RIPS[1], 1299), (RIPS[2], 70)] {
        lab.director.ip(&format!("route replace {rip}/32 dev eth0 src {DIP} mtu {mtu}"));
    }
    finds_and_mends(
        &lab,
        &[1, 2].map(|n| format!("tunnel-mtu {}:80", RIPS[n])).each_ref().map(String::as_str),
    );
    lab.director.ip("link set eth0 mtu 1299");
    let names = [0, 1, 2].map(|n| format!("tunnel-mtu {}:80", RIPS[n]));
    finds_and_mends(&lab, &names.each_ref().map(String::as_str));
}
