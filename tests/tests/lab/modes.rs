// SPDX-License-Identifier: MIT OR Apache-2.0
//! Generic XDP, and a director between two networks.

use std::net::SocketAddrV4;

use lb_tests::lab::{Lab, Method, RIPS, Stage, VIP, eventually};

const PORT: u16 = 80;

#[test]
fn every_method_works_in_generic_mode() {
    let stage = Stage::with_daemon_options("--xdp-mode generic");
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");
    stage.lab.director.xvs("status").succeeds().says("generic");
    stage.lab.director.sh("ip link show eth0").succeeds().says("xdpgeneric");

    for method in Method::ALL {
        stage.lab.client.requests(method.service(), 30).is_complete(30);
    }
}

#[test]
fn every_kind_of_tunnel_serves() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let ports = [8101, 8102, 8103];
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&ports));
    let big = lab.big_file("big", 5);
    for (port, tunnel) in ports.into_iter().zip(["ipip", "gre", "gue:6080"]) {
        let service = SocketAddrV4::new(VIP, port);
        lab.director.xvs(&format!("service add tcp {service}")).succeeds();
        for rip in RIPS {
            let real = SocketAddrV4::new(rip, port);
            let line = format!("real add tcp {service} {real} --forward tun --tunnel {tunnel}");
            lab.director.xvs(&line).succeeds();
        }
        lab.director.wait_for_next_hops();
        lab.client.requests(service, 30).is_complete(30);

        let curl = "curl --silent --show-error --fail --max-time 30";
        lab.client
            .sh(&format!("{curl} --upload-file {} http://{service}/upload/{port}", big.display()))
            .succeeds();
        let stored = lab.reals.iter().map(|real| real.uploaded(&port.to_string())).find(|path| path.exists());
        let stored = stored.expect("a real has the file");
        lab.client.sh(&format!("cmp {} {}", big.display(), stored.display())).succeeds();
    }
    lab.director.xvs("real list").succeeds().says("tun gue:6080");
    let listed = lab.director.xvs("ipvsadm -L -n --tun-info").succeeds();
    listed.says("gre:-c").says("gue:6080:-c");
    let saved = lab.director.xvs("ipvsadm -S -n").succeeds();
    saved.says("--tun-type gue --tun-port 6080 --tun-nocsum");
    lab.director.xvs("export").succeeds().says("tunnel = \"gue:6080\"");

    let service = SocketAddrV4::new(VIP, ports[1]);
    let real = SocketAddrV4::new(RIPS[0], ports[1]);
    lab.director.xvs(&format!("real edit tcp {service} {real} --forward dr --tunnel gre")).fails(2);
    lab.director.xvs(&format!("real edit tcp {service} {real} --forward dr")).succeeds();
    lab.client.requests(service, 30).is_complete(30);
}

#[test]
fn nat_works_between_two_networks() {
    let lab = Lab::two_arm();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[8080]));
    lab.director.serve("tcp", PORT, "rr", Method::Nat, 8080);
    let before = lab.crossing();

    let spread = lab.client.requests(SocketAddrV4::new(VIP, PORT), 90);

    spread.is_complete(90);
    for real in &lab.reals {
        assert_eq!(spread.by(real.name()), 30, "{spread:?}");
    }
    eventually("xvs has counted what both switches saw", || {
        let (count, seen) = (lab.director.stats().service("tcp", PORT).count, lab.crossing() - before);
        let requests = [seen.client_to_director.packets, seen.director_to_reals.packets];
        let replies = [seen.reals_to_director.packets, seen.director_to_client.packets];
        if requests == [count.packets_in; 2] && replies == [count.packets_out; 2] {
            Ok(())
        } else {
            Err(format!("{count:?}\n{seen:?}"))
        }
    });
}

#[test]
fn a_file_crosses_two_networks_whole() {
    let lab = Lab::two_arm();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[PORT]));
    lab.director.serve("tcp", PORT, "mh", Method::Nat, PORT);
    let (original, downloaded) = (lab.big_file("big", 20), lab.client.path("downloaded"));

    let curl = format!("curl --silent --show-error --fail --output {}", downloaded.display());
    lab.client.sh(&format!("{curl} http://{VIP}:{PORT}/files/big")).succeeds();

    lab.client.sh(&format!("cmp {} {}", original.display(), downloaded.display())).succeeds();
}
