// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs doctor`: faults of the director, of the path to a real, and of a real with one wrong setting.

use std::{fs, net::SocketAddrV4};

use lb_tests::{
    artifacts,
    lab::{Lab, METRICS, Method, Options, Process, RIPS, Server, Stage, VIP, attach_stub, eventually},
};

use crate::doctor::{finds, finds_and_mends, healthy, is_healthy};

#[test]
fn generic_xdp_that_nobody_asked_for_is_found_and_mended() {
    let lab = Lab::new();
    // As after a start with a driver without native XDP: the next daemon adopts the attachment.
    lab.director.start_daemon_with("--xdp-mode generic").stop();
    let _daemon = lab.director.start_daemon();
    finds_and_mends(&lab, &["xdp-generic"]);
    assert_eq!(lab.director.xvs("--output json status").succeeds().json()["interfaces"][0]["mode"], "native");
}

#[test]
fn generic_xdp_that_was_asked_for_is_none_of_its_business() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon_with("--xdp-mode generic");
    is_healthy(&lab);
}

#[test]
fn a_program_that_is_taken_off_is_back_by_itself() {
    let lab = Lab::new();
    let daemon = lab.director.start_daemon();
    is_healthy(&lab);
    let links = lab.director.bpffs().join("links");
    let pins = || fs::read_dir(&links).expect("the daemon pins").count();
    let before = pins();
    for link in fs::read_dir(&links).expect("the daemon pins") {
        fs::remove_file(link.expect("it can be read").path()).expect("root may");
    }
    eventually(
        "the link is pinned again",
        || if pins() == before { Ok(()) } else { Err("no pin".to_owned()) },
    );
    is_healthy(&lab);

    take_off(&lab, &daemon);
    eventually("the program is attached again", || {
        let log = daemon.log();
        if log.contains("it is attached again") { Ok(()) } else { Err(log) }
    });
    is_healthy(&lab);
}

/// Ends the attachment of the daemon's program, as another administrator may.
fn take_off(lab: &Lab, daemon: &Process) {
    let infos = fs::read_dir(format!("/proc/{}/fdinfo", daemon.id())).expect("it runs");
    let texts = infos.filter_map(|info| fs::read_to_string(info.ok()?.path()).ok());
    let links: Vec<String> = texts
        .filter(|text| text.contains("link_type:\txdp"))
        .filter_map(|text| {
            Some(text.lines().find_map(|line| line.strip_prefix("link_id:"))?.trim().to_owned())
        })
        .collect();
    assert!(!links.is_empty(), "the daemon holds its links");
    for id in links {
        lab.director.xvs(&format!("detach --link {id}")).succeeds();
    }
}

/// Detaches the daemon's program from eth0 while the daemon is stopped, and lets `other` attach another one.
fn take_its_place(lab: &Lab, daemon: &Process, other: impl FnOnce()) {
    let signal = |name: &str| lab.director.exec(["kill", name, &daemon.id().to_string()]).succeeds();
    signal("-STOP");
    take_off(lab, daemon);
    other();
    signal("-CONT");
}

#[test]
fn another_program_in_its_place_is_found_and_mended() {
    let lab = Lab::new();
    let daemon = lab.director.start_daemon();
    is_healthy(&lab);
    let stub = artifacts::stub();
    take_its_place(&lab, &daemon, || {
        let line = format!("ip link set dev eth0 xdp object {} section xdp", stub.display());
        lab.director.sh(&line).succeeds();
    });
    finds_and_mends(&lab, &["xdp-other"]);

    // Attached by a BPF link, as by most programs, which netlink cannot detach.
    take_its_place(&lab, &daemon, || attach_stub(&lab.director, ["eth0"], &lab.director.bpffs()));
    finds_and_mends(&lab, &["xdp-other"]);
    assert_eq!(lab.director.xvs("--output json status").succeeds().json()["interfaces"][0]["mode"], "native");
}

#[test]
fn a_program_that_cannot_be_attached_again_is_found_and_mended() {
    let lab = Lab::new();
    let daemon = lab.director.start_daemon_with("--xdp-mode native");
    is_healthy(&lab);
    // The driver accepts no XDP program if frames may be larger than a page.
    take_its_place(&lab, &daemon, || lab.switch.ip("link set dev director mtu 9000"));
    finds(&lab, &["xdp-detached"]);
    lab.switch.ip("link set dev director mtu 1500");
    is_healthy(&lab);
}

#[test]
fn another_program_where_reals_are_is_found_and_mended() {
    let mut lab = Lab::with(Options { layout: lb_tests::lab::Layout::TwoArm, ..Options::default() });
    lab.director.attach_to(&["eth0"]);
    lab.director.sysctl("ipv4/conf/all/accept_local", "1");
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[80]));
    for real in &lab.reals {
        real.set_up(Method::Dr);
        // Clients are behind the director here.
        real.ip("route replace 192.0.2.0/24 via 10.0.0.1 table 100");
    }
    lab.director.serve("tcp", 80, "mh", Method::Dr, 80);
    is_healthy(&lab);

    let stub = artifacts::stub();
    lab.director.sh(&format!("ip link set dev eth1 xdp object {} section xdp", stub.display())).succeeds();
    finds_and_mends(&lab, &["xdp-other"]);
}

#[test]
fn a_client_on_the_director_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    let at = SocketAddrV4::new(VIP, 8001);
    let _server = Server::greeter(&lab.director, at);
    let client = lab.director.run(|| std::net::TcpStream::connect(at)).expect("it has the VIP");
    let found = finds(lab, &["local-client"]);
    assert_eq!(found[0]["service"], format!("tcp {at}"), "{found:#}");
    // From now on a real answers all new connections; connections that led elsewhere are closed.
    finds_and_mends(lab, &["local-client"]);
    let broken = lab.director.run(|| std::io::Read::read_to_end(&mut &client, &mut Vec::new()));
    assert!(broken.is_err(), "{broken:?}");
    let answer = lab.director.exec(["curl", "--silent", "--max-time", "5", &format!("http://{at}/")]);
    answer.succeeds().says("real1");

    // A connection that is refused, and tries again.
    let other = Method::Nat.service();
    let line = format!("while :; do curl --silent http://{other}/; sleep 0.1; done");
    let _client = lab.director.start("curl", std::process::Command::new("sh").args(["-c", &line]));
    finds_and_mends(lab, &["local-client"]);
    lab.director
        .exec(["curl", "--silent", "--max-time", "5", &format!("http://{other}/")])
        .succeeds()
        .says("real1");
    is_healthy(lab);
}

#[test]
fn a_full_flow_table_is_found_and_mended() {
    let lab = Lab::new();
    let config = lab.director.path("config");
    let start = |flows: u64| {
        fs::write(&config, format!("[director]\nmax-flows = {flows}\n"))
            .expect("the lab's folder is writable");
        lab.director.start_daemon_with(&format!("--config {}", config.display()))
    };
    let mut daemon = start(8192);
    let _servers = lab.reals.each_ref().map(|real| {
        real.set_up(Method::Dr);
        Server::udp_echo(real, SocketAddrV4::new(VIP, 53))
    });
    lab.director.serve("udp", 53, "rr", Method::Dr, 53);
    is_healthy(&lab);
    lab.client.run(|| {
        for port in 10_000..22_000 {
            let socket = std::net::UdpSocket::bind((lb_tests::lab::CLIENT, port)).expect("a free port");
            socket.send_to(b"hello", (VIP, 53)).expect("there is a route");
        }
    });
    let before = lab.director.xvs("--output json stats").succeeds().json();
    finds_and_mends(&lab, &["flow-table"]);

    // Counters and flows are still there, and a start with the same config continues with them.
    let after = lab.director.xvs("--output json stats").succeeds().json();
    assert_eq!(before["services"], after["services"]);
    daemon.stop();
    drop(daemon);
    let _daemon = start(8192);
    is_healthy(&lab);
    let status = lab.director.xvs("--output json status").succeeds().json();
    assert_eq!((&status["max_flows"], &status["adopted"]), (&32_768.into(), &true.into()), "{status:#}");
}

#[test]
fn a_flow_table_that_forgets_flows_that_live_is_found_and_mended() {
    let lab = Lab::new();
    let config = lab.director.path("config");
    fs::write(&config, "[director]\nmax-flows = 8192\n").expect("the lab's folder is writable");
    let _daemon = lab.director.start_daemon_with(&format!("--config {}", config.display()));
    let _servers = lab.reals.each_ref().map(|real| {
        real.set_up(Method::Dr);
        Server::udp_echo(real, SocketAddrV4::new(VIP, 53))
    });
    lab.director.serve("udp", 53, "rr", Method::Dr, 53);
    let send = |ports: std::ops::Range<u16>| {
        lab.client.run(|| {
            for port in ports {
                let socket = std::net::UdpSocket::bind((lb_tests::lab::CLIENT, port)).expect("a free port");
                socket.send_to(b"hello", (VIP, 53)).expect("there is a route");
            }
        });
    };
    send(10_000..14_000);
    is_healthy(&lab);
    let swept = || lab.director.xvs("--output json status").succeeds().json()["sweep_seconds"].clone();
    let before = swept();
    eventually(
        "they are noted at a sweep",
        || if swept() == before { Err(before.to_string()) } else { Ok(()) },
    );
    // More flows than the table has places evict them. They have ended when the doctor runs.
    send(14_000..54_000);
    lab.director.xvs("timeouts --udp 1s").succeeds();
    eventually("flows were forgotten", || {
        let (names, found) = crate::doctor::diagnose(&lab);
        let cause = found[0]["cause"].as_str().unwrap_or_default();
        if names == ["flow-table"] && cause.contains("of 1024 that lived") {
            Ok(())
        } else {
            Err(format!("{found:#}"))
        }
    });
    finds_and_mends(&lab, &["flow-table"]);
}

#[test]
fn a_dr_real_behind_a_router_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals[2].start_nginx(&[80]);
    lab.reals[2].set_up(Method::Tun);
    lab.director.xvs(&format!("service add tcp {VIP}:80")).succeeds();
    lab.director.add_real("tcp", 80, RIPS[2], 80, Method::Dr, 100);
    is_healthy(&lab);

    lab.reals[1].sysctl("ipv4/ip_forward", "1");
    lab.director.ip(&format!("route add {}/32 via {}", RIPS[2], RIPS[1]));
    eventually("the router is found", || {
        let next_hop = lab.director.stats().service("tcp", 80).reals[0].next_hop.clone();
        if next_hop == "02:00:0a:00:00:0c" { Ok(()) } else { Err(next_hop) }
    });
    let name = format!("dr-not-on-link {}:80", RIPS[2]);
    finds(&lab, &[&name]);
    finds_and_mends(&lab, &[&name]);
}

#[test]
fn a_real_behind_a_firewall_of_its_own_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    let real = &lab.reals[2];
    real.feed(
        &["nft", "-f", "-"],
        "table ip wall {\n chain input {\n type filter hook input priority 0\n drop\n }\n}",
    );
    let names = [8001, 8002, 9003, 9004].map(|port| format!("real-silent {}:{port}", RIPS[2]));
    finds_and_mends(lab, &names.each_ref().map(String::as_str));

    // All entries of xvs are removed, and the doctor notices.
    real.host_restore().succeeds();
    real.sh("nft list ruleset").succeeds().says("drop").does_not_say("xvs");
    real.sh("nft delete table ip wall").succeeds();
    real.set_up(Method::Tun);
    is_healthy(lab);

    real.feed(
        &["nft", "-f", "-"],
        "table inet wall {\n chain input {\n type filter hook input priority 0\n tcp dport { 8001, 9004 } reject\n }\n}",
    );
    let names = [8001, 9004].map(|port| format!("real-firewall {}:{port}", RIPS[2]));
    finds_and_mends(lab, &names.each_ref().map(String::as_str));
}

#[test]
fn a_strict_reverse_path_filter_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[80]));
    for real in &lab.reals {
        real.set_up(Method::Dr);
    }
    // The real answers clients through a second cable: correct unless a filter drops it.
    let real = &lab.reals[1];
    lab.switch.ip(&format!(
        "link add uplink type veth peer name eth1 netns {}\nlink set uplink master lan\nlink set uplink up",
        real.ns().name()
    ));
    real.ip(
        "link set eth1 up\naddress add 192.0.2.52/24 dev eth1\nroute replace 192.0.2.0/24 dev eth1 table 100\nroute replace default dev eth1",
    );
    lab.director.serve("tcp", 80, "mh", Method::Dr, 80);
    is_healthy(&lab);

    real.sysctl("ipv4/conf/eth0/rp_filter", "1");
    finds_and_mends(&lab, &[&format!("rp-filter {}:80", RIPS[1])]);
}

#[test]
fn what_the_doctor_finds_by_itself_is_in_status_metrics_and_log() {
    let stage = Stage::with_daemon_options("--doctor-every 1s");
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");
    let lab = &stage.lab;
    let shows = |what: &str, line: &str, text: &str| {
        eventually(what, || {
            let shown = lab.director.sh(line).stdout;
            if shown.contains(text) { Ok(()) } else { Err(shown) }
        });
    };
    let metrics = format!("curl --silent http://{METRICS}/metrics");
    let status =
        format!("{} --socket {} status", artifacts::xvs().display(), lab.director.socket().display());
    shows("status of a healthy lab", &status, "nothing is wrong (");
    shows("metrics of a healthy lab", &metrics, "xvs_doctor_age_seconds");

    lab.reals[2].ip(&format!("address delete {VIP}/32 dev lo"));
    let real = RIPS[2];
    shows("status", &status, &format!("WRONG dr-blackhole tcp {VIP}:8001 -> {real}:8001: "));
    let labels = format!(
        "check=\"dr-blackhole\",severity=\"error\",protocol=\"tcp\",service=\"{VIP}:8001\",real=\"{real}:8001\""
    );
    shows("metrics", &metrics, &format!("xvs_doctor_findings{{{labels}}} 1"));
    let page = lab.director.sh(&metrics).succeeds().stdout;
    lab.director.feed(&["promtool", "check", "metrics"], &format!("{page}\n"));
    let log = stage.daemon.log();
    assert!(log.contains("doctor: WRONG dr-blackhole"), "{log}");
    let status = lab.director.xvs("--output json status").succeeds().json();
    assert_eq!(status["doctor"]["findings"][0]["check"], "dr-blackhole", "{status:#}");

    lab.reals[2].xvs_host(&format!("setup --vip {VIP} --rip {real}")).succeeds();
    let status =
        format!("{} --socket {} status", artifacts::xvs().display(), lab.director.socket().display());
    shows("it is well again", &status, "nothing is wrong (");
}
