// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs doctor`: other causes of the same faults, and reals by full NAT.

use std::net::SocketAddr;

use lb_tests::lab::{Client, DIP, Lab, Method, RIPS, Stage, VIP, VIP6, rip6};

use crate::doctor::{finds, finds_and_mends, healthy, is_healthy};

/// Asserts that all three reals answer a client of the service of a method.
#[track_caller]
fn serves(client: &Client, method: Method) {
    let spread = client.requests(method.service(), 30);
    spread.is_complete(30);
    for real in ["real1", "real2", "real3"] {
        assert!(spread.by(real) > 0, "{method:?}: {spread:?}");
    }
}

#[test]
fn faults_of_reals_by_fnat_are_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let mut nginx: Vec<_> = lab.reals.iter().map(|real| real.start_nginx(&[9004])).collect();
    lab.director.serve("tcp", 8004, "wlc", Method::Fnat, 9004);
    is_healthy(&lab);
    let name = |check: &str, n: usize| format!("{check} {}:9004", RIPS[n]);

    // The route to the director's address leads to a host that has no further route.
    lab.reals[1].ip(&format!("route add {DIP}/32 via {}", RIPS[2]));
    finds_and_mends(&lab, &[&name("fnat-replies", 1)]);
    serves(&lab.client, Method::Fnat);

    lab.reals[0].feed(
        &["nft", "-f", "-"],
        "table ip wall {\n chain early {\n type filter hook prerouting priority -300\n tcp dport 9004 drop\n }\n}",
    );
    finds_and_mends(&lab, &[&name("real-firewall", 0)]);
    serves(&lab.client, Method::Fnat);

    drop(nginx.remove(2));
    finds_and_mends(&lab, &[&name("not-listening", 2)]);
    // A probe adds no flow table entry.
    assert_eq!(lab.director.stats().service("tcp", 8004).real(RIPS[2]).active_flows, 0);
}

#[test]
fn a_server_that_listens_at_its_own_address_alone_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    for real in &lab.reals {
        real.set_up(Method::Tun);
    }
    let _nginx = [0, 2].map(|n| lab.reals[n].start_nginx(&[8001, 8002]));
    let real = &lab.reals[1];
    let _servers = [8001, 8002].map(|port| lb_tests::lab::Server::greeter(real, (real.rip, port)));
    for method in [Method::Dr, Method::Tun] {
        lab.director.serve("tcp", method.port(), "mh", method, method.port());
    }
    let names = [8001, 8002].map(|port| format!("not-listening {}:{port}", RIPS[1]));
    finds_and_mends(&lab, &names.each_ref().map(String::as_str));
}

#[test]
fn the_way_to_a_real_that_the_director_has_wrong_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let Stage { lab, .. } = &stage;
    let (rip, director) = (RIPS[1], &lab.director);
    let all = [8001, 8002, 9003, 9004].map(|port| format!("next-hop {rip}:{port}"));
    let all = all.each_ref().map(String::as_str);

    director.ip(&format!("neighbour replace {rip} lladdr 02:00:00:00:00:99 dev eth0 nud permanent"));
    finds_and_mends(lab, &all);

    director.ip(&format!("route add blackhole {rip}/32"));
    finds_and_mends(lab, &all);

    // The route leads to a host that is no router.
    director.ip(&format!("route replace {rip}/32 via 10.0.0.99"));
    finds_and_mends(lab, &all);

    director.ip(&format!("address add {rip}/32 dev lo"));
    finds_and_mends(lab, &all);

    director.ip("link add other type veth peer name end\nlink set other up\nlink set end up");
    director.ip(&format!("route replace {rip}/32 dev other"));
    finds_and_mends(lab, &all);
    serves(&lab.client, Method::Nat);
}

#[test]
fn a_vip_that_leaks_in_any_way_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[8001]));
    for real in &lab.reals {
        real.set_up(Method::Dr);
    }
    lab.director.serve("tcp", 8001, "mh", Method::Dr, 8001);
    is_healthy(&lab);

    // On an interface where no ARP setting prevents the answer.
    lab.reals[0].ip(&format!("address add {VIP}/24 dev eth0"));
    finds_and_mends(&lab, &[&format!("arp-leak {}:8001", RIPS[0])]);
    serves(&lab.client, Method::Dr);

    // The answer comes from a second cable, whose MAC address the director has never seen.
    let real = &lab.reals[2];
    lab.switch.ip(&format!(
        "link add uplink type veth peer name eth1 netns {}\nlink set uplink master lan\nlink set uplink up",
        real.ns().name()
    ));
    real.ip(&format!("link set eth1 up\naddress add {VIP}/32 dev eth1"));
    finds_and_mends(&lab, &[&format!("arp-leak {}:8001", RIPS[2])]);
    serves(&lab.client, Method::Dr);

    // A machine that is no real.
    lab.client.ip(&format!("address add {VIP}/32 dev lo"));
    let found = finds(&lab, &["arp-leak"]);
    assert_eq!(found[0]["place"], "02:00:c0:00:02:0a", "{found:#}");
    lab.client.exec(["sh", "-c", found[0]["fix"].as_str().expect("a text")]).succeeds();
    is_healthy(&lab);
}

#[test]
fn a_router_that_answers_for_a_vip_is_not_taken_for_a_real_that_it_forwards_to() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let [real, router, other] = &lab.reals;
    let _nginx = [real, other].map(|real| real.start_nginx(&[9003]));
    for vip in [SocketAddr::from((VIP, 80)), SocketAddr::from((VIP6, 80))] {
        lab.director.xvs(&format!("service add tcp {vip} --scheduler rr")).succeeds();
        for real in [real, other] {
            let rip = if vip.is_ipv4() { real.rip.into() } else { rip6(real.rip).into() };
            let rip = SocketAddr::new(rip, 9003);
            lab.director.xvs(&format!("real add tcp {vip} {rip} --forward nat")).succeeds();
        }
    }
    lab.director.wait_for_next_hops();
    is_healthy(&lab);

    // The machine is on the link of the reals, and forwards packets for them.
    router.sysctl("ipv4/ip_forward", "1");
    router.sysctl("ipv6/conf/all/forwarding", "1");
    for (check, address) in
        [("arp-leak", format!("{VIP}/32 dev eth0")), ("ndp-leak", format!("{VIP6}/128 dev eth0 nodad"))]
    {
        router.ip(&format!("address add {address}"));
        let found = finds(&lab, &[check]);
        assert_eq!(found[0]["place"], "02:00:0a:00:00:0c", "{found:#}");
        router.exec(["sh", "-c", found[0]["fix"].as_str().expect("a text")]).succeeds();
        is_healthy(&lab);
    }
}

#[test]
fn a_dr_real_behind_a_router_that_unwraps_nothing_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals[2].start_nginx(&[8001]);
    lab.reals[2].set_up(Method::Dr);
    lab.director.xvs(&format!("service add tcp {VIP}:8001")).succeeds();
    lab.director.add_real("tcp", 8001, RIPS[2], 8001, Method::Dr, 100);
    is_healthy(&lab);

    lab.reals[1].sysctl("ipv4/ip_forward", "1");
    lab.director.ip(&format!("route add {}/32 via {}", RIPS[2], RIPS[1]));
    finds_and_mends(&lab, &[&format!("dr-not-on-link {}:8001", RIPS[2])]);
    lab.client.requests(Method::Dr.service(), 3).is_complete(3);
}

#[test]
fn a_nat_real_with_a_way_of_its_own_to_clients_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    lab.reals[2]
        .ip(&format!("route replace default via {}\nroute add 192.0.2.0/24 via {}", RIPS[0], RIPS[1]));
    finds_and_mends(lab, &[&format!("nat-replies {}:9003", RIPS[2])]);
    serves(&lab.client, Method::Nat);
}

#[test]
fn checksums_that_a_real_leaves_to_its_device_are_found_and_mended() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    // Its replies of nat and fnat are lost; those of dr and tun do not pass the director.
    lab.switch.sh("ethtool -K director tx on").succeeds();
    is_healthy(lab);
    lab.reals[1].sh("ethtool -K eth0 tx on").succeeds();
    finds_and_mends(
        lab,
        &[9003, 9004].map(|port| format!("checksum {}:{port}", RIPS[1])).each_ref().map(String::as_str),
    );
    serves(&lab.client, Method::Nat);
    serves(&lab.client, Method::Fnat);
}

#[test]
fn packets_that_are_merged_before_generic_xdp_are_found_and_mended() {
    let stage = Stage::with_daemon_options("--xdp-mode generic");
    let lab = &stage.lab;
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");
    is_healthy(lab);
    lab.director.sh("ethtool -K eth0 gro on").succeeds();
    finds_and_mends(lab, &["offload"]);
}
