// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs doctor` finds nothing in set-ups without a fault, with services of every kind.

use std::{net::SocketAddr, process::Command};

use lb_tests::lab::{Lab, Layout, Method, Options, RIPS, VIP, VIP6, Way};

use crate::doctor::healthy;

/// Asserts that the doctor finds nothing, not even in its first run.
#[track_caller]
fn is_quiet(lab: &Lab) {
    for _ in 0..3 {
        lab.director.xvs("doctor").succeeds().says("nothing is wrong");
    }
}

#[test]
fn services_of_every_kind_that_are_well_are_left_alone() {
    let lab = Lab::new();
    let mut daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| {
        real.xvs_host(&format!("setup --vip {VIP} --vip {VIP6} --forward tun --interface eth0")).succeeds();
        real.start_nginx(&Method::real_ports())
    });
    for way in Way::all() {
        way.serve(&lab.director, "tcp", "mh");
        way.serve(&lab.director, "udp", "wlc");
        if way.method != Method::Fnat {
            // Its ports stay as they are.
            let service = SocketAddr::new(way.vip(), 7000 + way.method.port());
            lab.director.xvs(&format!("service add sctp {service} --scheduler rr")).succeeds();
            for real in way.reals() {
                let real = SocketAddr::new(real.ip(), service.port());
                let forward = way.method.as_str();
                lab.director.xvs(&format!("real add sctp {service} {real} --forward {forward}")).succeeds();
            }
        }
    }
    is_quiet(&lab);
    daemon.stop();
    let _daemon = lab.director.start_daemon();
    is_quiet(&lab);
}

#[test]
fn a_real_that_is_drained_and_traffic_are_left_alone() {
    let (stage, mut nginx) = healthy();
    let lab = &stage.lab;
    let _clients = Method::ALL.map(|method| {
        let line = format!("while :; do wrk -t1 -c10 -d2 http://{}/ > /dev/null; done", method.service());
        lab.client.start(&format!("wrk-{}", method.as_str()), Command::new("sh").args(["-c", &line]))
    });
    is_quiet(lab);
    for method in Method::ALL {
        let (service, port) = (method.service(), method.real_port());
        lab.director.xvs(&format!("real edit tcp {service} {}:{port} --weight 0", RIPS[2])).succeeds();
    }
    is_quiet(lab);
    drop(nginx.remove(2));
    is_quiet(lab);
    lab.reals[2].ip("link set eth0 down");
    is_quiet(lab);
    lab.director.ip("neighbour flush dev eth0");
    is_quiet(lab);
}

#[test]
fn firewalls_that_let_services_pass_are_left_alone() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    let ports = [8001, 8002, 9003, 9004].map(|port: u16| port.to_string()).join(", ");
    for real in &lab.reals {
        real.feed(
            &["nft", "-f", "-"],
            &format!(
                "table inet wall {{\n chain input {{\n type filter hook input priority 0; policy drop;\n \
                 ct state established,related accept\n tcp dport {{ {ports} }} accept\n }}\n}}"
            ),
        );
    }
    is_quiet(lab);
}

#[test]
fn a_vip_that_is_routed_to_the_director_is_left_alone() {
    let lab = Lab::with(Options { layout: Layout::TwoArm, ..Options::default() });
    lab.director.sysctl("ipv4/conf/all/accept_local", "1");
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| {
        real.xvs_host("setup --vip 203.0.113.5 --forward tun --interface eth0").succeeds();
        real.start_nginx(&[80, 9003])
    });
    for (port, forward, real_port) in [(80, "dr", 80), (81, "nat", 9003), (82, "fnat", 9003)] {
        lab.director.xvs(&format!("service add tcp 203.0.113.5:{port}")).succeeds();
        for rip in RIPS {
            let real = format!("{rip}:{real_port} --forward {forward}");
            lab.director.xvs(&format!("real add tcp 203.0.113.5:{port} {real}")).succeeds();
        }
    }
    is_quiet(&lab);
}
