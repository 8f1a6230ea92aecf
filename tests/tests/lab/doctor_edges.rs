// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs doctor`: machines with several RIPs and roles, VIPs that the kernel does not use, paths too narrow
//! for any packet.

use std::net::SocketAddr;

use lb_tests::lab::{DIP, Lab, Method, RIPS, VIP, VIP6, rip6};

use crate::doctor::{finds, finds_and_mends, healthy, is_healthy, mends};

#[test]
fn of_a_machine_with_several_rips_the_one_that_has_the_vip_is_named_and_mended() {
    let lab = Lab::new();
    let (director, dual, nat) = (&lab.director, "192.0.2.101", "192.0.2.102");
    let _daemon = director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| {
        let vips = format!("--vip {VIP} --vip {VIP6} --vip {dual}");
        real.xvs_host(&format!("setup {vips} --forward tun --interface eth0")).succeeds();
        real.start_nginx(&[80, 9003])
    });
    let services = [format!("{VIP}:80"), format!("{dual}:80"), format!("[{VIP6}]:80"), format!("{nat}:80")];
    for service in &services {
        director.xvs(&format!("service add tcp {service} --scheduler rr")).succeeds();
    }
    for rip in RIPS {
        for (service, real) in services.iter().zip([
            format!("{rip} --forward dr"),
            format!("{rip} --forward tun"),
            format!("{} --forward dr", rip6(rip)),
            format!("{rip}:9003 --forward nat"),
        ]) {
            director.xvs(&format!("real add tcp {service} {real}")).succeeds();
        }
    }
    is_healthy(&lab);

    // Each fix works at once: VIPs that belong there are on lo again.
    lab.reals[0].ip(&format!("address add {VIP}/32 dev eth0"));
    finds_and_mends(&lab, &[&format!("arp-leak {}:80", RIPS[0])]);
    lab.reals[2].ip(&format!("address add {dual}/32 dev eth0"));
    let found = finds(&lab, &[&format!("arp-leak {}:80", RIPS[2])]);
    assert_eq!(found[0]["service"], format!("tcp {dual}:80"), "{found:#}");
    mends(&lab, &found[0]);
    is_healthy(&lab);
    // With nat, no real must have the VIP.
    lab.reals[1].ip(&format!("address add {nat}/32 dev eth0"));
    let found = finds(&lab, &[&format!("arp-leak {}:9003", RIPS[1])]);
    assert_eq!(found[0]["service"], format!("tcp {nat}:80"), "{found:#}");
    mends(&lab, &found[0]);
    is_healthy(&lab);
    // The machine is a proxy for the VIP: none of its interfaces has it.
    let real = &lab.reals[1];
    real.sysctl("ipv6/conf/all/forwarding", "1");
    real.sysctl("ipv6/conf/eth0/proxy_ndp", "1");
    real.sh(&format!("ip -6 neighbour add proxy {VIP6} dev eth0")).succeeds();
    finds_and_mends(&lab, &[&format!("ndp-leak [{}]:80", rip6(RIPS[1]))]);
    for service in &services {
        for _ in 0..6 {
            let url = format!("http://{service}/");
            let answer = lab.client.exec(["curl", "--silent", "--globoff", "--max-time", "5", &url]);
            answer.succeeds().says("real");
        }
    }
}

#[test]
fn a_vip_of_ipv6_that_another_machine_had_first_is_found_and_mended() {
    let lab = Lab::new();
    let director = &lab.director;
    let _daemon = director.start_daemon_with("--no-manage-vips");
    director.xvs(&format!("service add tcp [{VIP6}]:80")).succeeds();
    director.ip(&format!("address add {VIP6}/128 dev eth0 nodad"));
    is_healthy(&lab);

    director.ip(&format!("address delete {VIP6}/128 dev eth0"));
    finds_and_mends(&lab, &["vip-missing"]);

    director.ip(&format!("address delete {VIP6}/128 dev eth0"));
    lab.client.ip(&format!("address add {VIP6}/128 dev eth0 nodad"));
    director.sysctl("ipv6/conf/eth0/accept_dad", "1");
    director.ip(&format!("address add {VIP6}/128 dev eth0"));
    let found = finds(&lab, &["vip-missing", "ndp-leak"]);
    assert!(found[0]["cause"].as_str().is_some_and(|cause| cause.contains("dadfailed")), "{found:#}");
    // The first fix repairs one fault, and the other one remains.
    lab.client.exec(["sh", "-c", found[1]["fix"].as_str().expect("a text")]).succeeds();
    finds_and_mends(&lab, &["vip-missing"]);
    lab.client.sh(&format!("ping -c 1 -W 2 {VIP6}")).succeeds();
}

#[test]
fn a_way_that_no_packet_fits_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    // Not even a SYN.
    lab.director.ip(&format!("route replace {}/32 dev eth0 src {DIP} mtu 30", RIPS[1]));
    let name = |check: &str, port: u16| format!("{check} {}:{port}", RIPS[1]);
    let names = [
        name("not-forwarded", 8001),
        name("not-forwarded", 9003),
        name("not-forwarded", 9004),
        name("tunnel-mtu", 8002),
    ];
    let found = finds(lab, &names.each_ref().map(String::as_str));
    assert!(found[0]["cause"].as_str().is_some_and(|cause| cause.contains("too_big")), "{found:#}");
    mends(lab, &found[0]);
    is_healthy(lab);
    for method in Method::ALL {
        lab.client.requests(method.service(), 30).is_complete(30);
    }
}

#[test]
fn a_tunnel_that_is_too_narrow_for_ipv4_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| {
        real.set_up(Method::Tun);
        real.start_nginx(&[80])
    });
    let service = SocketAddr::from((VIP, 80));
    lab.director.xvs(&format!("service add tcp {service} --scheduler rr")).succeeds();
    for rip in RIPS {
        lab.director.xvs(&format!("real add tcp {service} {rip} --forward tun --tunnel gue")).succeeds();
    }
    is_healthy(&lab);
    // An MTU that suffices for the smallest packets to which Linux reduces its own, and one that does not.
    lab.director.ip(&format!("route replace {}/32 dev eth0 src {DIP} mtu 600", RIPS[0]));
    is_healthy(&lab);
    for (n, mtu) in [(1, 580), (2, 68)] {
        lab.director.ip(&format!("route replace {}/32 dev eth0 src {DIP} mtu {mtu}", RIPS[n]));
        finds_and_mends(&lab, &[&format!("tunnel-mtu {}:80", RIPS[n])]);
    }
    // In the middle of the path, at a device that reports nothing.
    lab.switch.ip("link set real2 mtu 1300");
    finds_and_mends(&lab, &[&format!("tunnel-mtu {}:80", RIPS[1])]);
    lab.client.requests(std::net::SocketAddrV4::new(VIP, 80), 30).is_complete(30);
}

#[test]
fn a_real_that_announces_the_vip_in_its_own_questions_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    for device in ["all", "lo", "eth0"] {
        lab.reals[2].sysctl(&format!("ipv4/conf/{device}/arp_announce"), "0");
    }
    let found = finds(lab, &[&format!("arp-leak {}:8001", RIPS[2])]);
    assert!(found[0]["cause"].as_str().is_some_and(|cause| cause.contains("arp_announce")), "{found:#}");
    mends(lab, &found[0]);
    is_healthy(lab);
}
