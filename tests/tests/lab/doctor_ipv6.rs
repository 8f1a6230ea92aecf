// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs doctor` in IPv6, and through every kind of tunnel.

use std::net::{IpAddr, SocketAddr};

use lb_tests::lab::{Lab, Process, RIPS, VIP, VIP6, rip6};

use crate::doctor::{finds_and_mends, is_healthy};

/// A lab with nginx, the reals set up for both VIPs by the XDP program.
fn scene() -> (Lab, Process, [Process; 3]) {
    let lab = Lab::new();
    let daemon = lab.director.start_daemon();
    let nginx = lab.reals.each_ref().map(|real| {
        real.xvs_host(&format!("setup --vip {VIP} --vip {VIP6} --forward tun --interface eth0")).succeeds();
        real.start_nginx(&[80, 81, 82, 83])
    });
    (lab, daemon, nginx)
}

/// A service with all reals.
fn serve(lab: &Lab, vip: IpAddr, port: u16, rips: [IpAddr; 3], options: &str) {
    let service = SocketAddr::new(vip, port);
    lab.director.xvs(&format!("service add tcp {service}")).succeeds();
    for rip in rips {
        lab.director.xvs(&format!("real add tcp {service} {rip} {options}")).succeeds();
    }
    lab.director.wait_for_next_hops();
}

#[test]
fn faults_of_reals_of_ipv6_are_found_and_mended() {
    let (lab, _daemon, _nginx) = scene();
    let rips = RIPS.map(|rip| rip6(rip).into());
    serve(&lab, VIP6.into(), 80, rips, "--forward dr");
    serve(&lab, VIP6.into(), 81, rips, "--forward tun");
    is_healthy(&lab);
    let name = |check: &str, n: usize, port: u16| format!("{check} {}", SocketAddr::new(rips[n], port));

    lab.reals[1].ip(&format!("address add {VIP6}/128 dev eth0 nodad"));
    finds_and_mends(&lab, &[&name("ndp-leak", 1, 80)]);

    lab.reals[2].ip(&format!("address delete {VIP6}/128 dev lo"));
    finds_and_mends(&lab, &[&name("dr-blackhole", 2, 80), &name("tun-blackhole", 2, 81)]);

    lab.reals[0].ip("link set eth0 mtu 1400");
    finds_and_mends(&lab, &[&name("tunnel-mtu", 0, 81)]);

    lab.director.ip(&format!("address add {VIP6}/128 dev lo"));
    finds_and_mends(&lab, &["vip-twice"]);
}

#[test]
fn every_kind_of_tunnel_is_probed_as_it_is() {
    for (tunnel, vip, outer6) in [
        ("gre", IpAddr::from(VIP), false),
        ("gue", VIP.into(), false),
        ("gre", VIP6.into(), true),
        ("gue", VIP.into(), true),
        ("ipip", VIP6.into(), false),
    ] {
        let (lab, _daemon, _nginx) = scene();
        let rips = RIPS.map(|rip| if outer6 { rip6(rip).into() } else { IpAddr::from(rip) });
        serve(&lab, vip, 80, rips, &format!("--forward tun --tunnel {tunnel}"));
        is_healthy(&lab);

        // Set up for dr, the real has the VIPs and decapsulates nothing.
        lab.reals[1].xvs_host("restore").succeeds();
        lab.reals[1].xvs_host(&format!("setup --vip {VIP} --vip {VIP6} --interface eth0")).succeeds();
        let (names, found) = crate::doctor::diagnose(&lab);
        assert_eq!(names.len(), 1, "{tunnel} {vip} {outer6}: {found:#}");
        let real = SocketAddr::new(rips[1], 80).to_string();
        assert!(
            names[0].starts_with("tun-") && names[0].ends_with(&real),
            "{tunnel} {vip} {outer6}: {found:#}"
        );
        finds_and_mends(&lab, &[&names[0]]);
    }
}
