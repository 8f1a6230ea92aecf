// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults that health checks by path find, and wrong input.

use std::{fs, net::IpAddr, thread, time::Duration};

use lb_tests::{
    artifacts::is_full,
    lab::{Lab, Layout, Method, Options, VIP, Way, eventually, rip6},
};

use crate::{
    health::{self, Scene},
    health_pool::{DR, FNAT6, Pool, ready, ways},
};

/// Timing of the checks.
const TIMING: &str = "--interval 200ms --timeout 150ms --fall 2 --rise 1";

#[test]
fn every_way_is_probed_in_generic_mode() {
    let mut scene = Scene::new("--xdp-mode generic");
    scene.check("http");
    scene.lab.director.xvs("status").succeeds().says("generic");
    scene.nginx[0].stop();
    scene.fails(|_| true, &["L4CON"]);
    scene.nginx[0] = scene.lab.reals[0].start_nginx(&Method::real_ports());
    scene.recovers();
    if is_full() {
        health::hangs(&scene);
        health::loses_vip(&scene);
        health::loses_tunnels(&scene);
        let other = Scene::new("--xdp-mode generic");
        health::answers_wrongly(&other);
    }
}

#[test]
fn cables_that_are_out_for_a_while_are_noticed() {
    let mut scene = Scene::new("");
    scene.check("http");
    scene.lab.switch.ip("link set real1 down");
    scene.fails(|_| true, &["L4TOUT", "L4CON"]);
    scene.lab.switch.ip("link set real1 up");
    scene.recovers();
    // The director loses all neighbours at once, and with them the addresses from which it probes.
    scene.lab.switch.ip("link set director down");
    eventually("no next hop is known", || {
        let stats = scene.lab.director.stats();
        let mut reals = stats.services.iter().flat_map(|service| &service.reals);
        match reals.find(|real| real.next_hop.split(':').count() == 6) {
            None => Ok(()),
            Some(real) => Err(format!("{}: {}", real.address, real.next_hop)),
        }
    });
    // The prober learns of it with its next probe.
    thread::sleep(Duration::from_millis(500));
    scene.lab.switch.ip("link set director up");
    scene.lab.director.wait_for_next_hops();
    scene.recovers();
    scene.nginx[0].stop();
    scene.fails(|_| true, &["L4CON"]);
    scene.nginx[0] = scene.lab.reals[0].start_nginx(&Method::real_ports());
    scene.recovers();
}

/// The link of the real loses large packets, and no ICMP error tells the real: small answers pass.
#[test]
fn an_mtu_hole_is_found_by_a_large_body() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    for real in &lab.reals {
        let folder = real.path("www").join("upload");
        fs::create_dir_all(&folder).expect("the lab's folder is writable");
        let text = format!("{} is well", "large ".repeat(2000));
        fs::write(folder.join("large"), text).expect("the lab's folder is writable");
    }
    let add = |line: &str| lab.director.xvs(&format!("check add {line} {TIMING}")).succeeds();
    add("small http");
    add("large http --path /upload/large --body is.well$");
    let few = [DR, Way { method: Method::Tun, six: false }, FNAT6];
    let pools: Vec<Pool> = ways(&few).into_iter().map(|way| Pool::new(&lab, "tcp", way)).collect();
    for pool in &pools {
        pool.use_check("large");
        pool.is_up();
    }
    let rule = "add table bridge hole; add chain bridge hole pass { type filter hook forward priority 0; }; \
                add rule bridge hole pass iifname real1 meta length > 1300 drop";
    lab.switch.sh(&format!("nft {rule}")).succeeds();
    for pool in &pools {
        pool.fails("L7TOUT", "");
        let spread = pool.requests("http");
        assert!(!spread.contains(&"real1".to_owned()), "{spread:?}");
    }
    let run = format!("check run small tcp {} {}", DR.service(), DR.reals()[0]);
    lab.director.xvs(&run).succeeds().says("L7OK");
    lab.switch.sh("nft delete table bridge hole").succeeds();
    for pool in &pools {
        pool.is_up();
    }
}

/// Another host has the address of the real, and the director learns its MAC address.
#[test]
fn a_stolen_address_is_found() {
    let lab = Lab::with(Options { layout: Layout::OneArm, more_reals: 1, ..Options::default() });
    let _daemon = ready(&lab);
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    lab.director.xvs(&format!("check add web http {TIMING}")).succeeds();
    let few = [DR, Way { method: Method::Tun, six: false }, Way { method: Method::Nat, six: false }];
    let pools: Vec<Pool> = ways(&few).into_iter().map(|way| Pool::new(&lab, "tcp", way)).collect();
    for pool in &pools {
        pool.use_check("web");
        pool.is_up();
    }
    let (real, thief) = (&lab.reals[0], &lab.more_reals[0]);
    // The thief answers all requests for the addresses; it has neither the VIP nor a server.
    real.sh(
        "nft add table arp lab; add chain arp lab in { type filter hook input priority 0; policy drop; }; \
         add table ip6 lab; add chain ip6 lab in { type filter hook input priority 0; }; \
         add chain ip6 lab out { type filter hook output priority 0; }; \
         add rule ip6 lab in icmpv6 type nd-neighbor-solicit drop; \
         add rule ip6 lab out icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } drop",
    )
    .succeeds();
    let addresses = [IpAddr::V4(real.rip), IpAddr::V6(rip6(real.rip))];
    let steal = |verb: &str| {
        for (address, rest) in addresses.iter().zip(["/24 dev eth0", "/64 dev eth0 nodad"]) {
            let rest = if verb == "delete" { rest.trim_end_matches(" nodad") } else { rest };
            thief.ip(&format!("address {verb} {address}{rest}"));
        }
    };
    steal("add");
    let neighbour = |host: &str| {
        for (address, version) in addresses.iter().zip(["-4", "-6"]) {
            lab.director.sh(&format!("ip {version} neighbour flush dev eth0")).succeeds();
            eventually(&format!("the director has the MAC address of {host} for {address}"), || {
                lab.director.sh(&format!("ping -c 1 -W 1 {address}"));
                let shown = lab.director.sh(&format!("ip neighbour show {address}")).stdout;
                if shown.contains(host) { Ok(()) } else { Err(shown) }
            });
        }
    };
    neighbour("02:00:0a:00:00:0e");
    for pool in &pools {
        pool.fails("L4", "");
        let spread = pool.requests("http");
        assert!(!spread.contains(&"real1".to_owned()), "{spread:?}");
    }
    steal("delete");
    real.sh("nft delete table arp lab; delete table ip6 lab").succeeds();
    neighbour("02:00:0a:00:00:0b");
    for pool in &pools {
        pool.is_up();
    }
}

#[test]
fn wrong_input_changes_nothing() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    let director = &lab.director;
    director.xvs("check add web http --path /health").succeeds();
    director.xvs("check add near http --via direct").succeeds();
    let pool = Pool::new(&lab, "tcp", FNAT6);
    pool.use_check("web");
    let _udp = Pool::new(&lab, "udp", DR);
    let before = director.xvs("export").succeeds().stdout;
    assert!(before.contains("/health"), "{before}");
    let (service, real) = (FNAT6.service(), FNAT6.reals()[0]);
    for (line, text) in [
        ("check add bad exec --user root -- /bin/true", "root"),
        ("check add bad exec --user 0 -- /bin/true", "root"),
        ("check add bad exec --user no-such-user -- /bin/true", "no-such-user"),
        ("check add bad exec -- true", "full path"),
        ("check add bad tcp --interval 1s --timeout 2s", "longer than interval 1s"),
        ("check add bad tcp --interval 10ms --timeout 10ms", "shorter than 50ms"),
        ("check add bad http --body (", "not a regular expression"),
        ("check add bad tcp --send x --expect [", "not a regular expression"),
        ("check add bad http --status 700", "700"),
        ("check add bad pong", "pong"),
        ("check add bad tcp --path /", "for http and https"),
        ("check add bad tcp --port 80", "via direct"),
        ("check add none tcp", "none"),
        ("check add web tcp", "web"),
        ("check edit wed --interval 1s", "did you mean web"),
        ("check edit web --timeout 1m", "longer than interval"),
        ("check edit web --body (", "not a regular expression"),
        ("check remove web", "uses"),
        ("check remove wed", "did you mean web"),
        (&format!("service edit tcp {service} --check wed"), "did you mean web"),
        (&format!("real edit tcp {service} {real} --check wed"), "did you mean web"),
        (&format!("service edit udp {} --check web", DR.service()), "sends tcp"),
        (&format!("service add tcp {VIP}:0 --check near"), "has no port"),
    ] {
        director.xvs(line).fails(2).says(text);
        assert_eq!(director.xvs("export").succeeds().stdout, before, "{line}");
    }
}

/// A check replaces another one. Its first verdict comes after the health of another service has changed.
#[test]
fn the_last_verdict_is_shown_until_the_next_one() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    let director = &lab.director;
    director.xvs(&format!("check add web http {TIMING}")).succeeds();
    director.xvs("check add late exec --interval 3s --timeout 3s -- /bin/sleep 2").succeeds();
    let [other, pool] = [DR, FNAT6].map(|way| Pool::new(&lab, "tcp", way));
    for pool in [&other, &pool] {
        pool.use_check("web");
        pool.is_up();
    }
    pool.use_check("late");
    lab.reals[0]
        .sh("nft add table inet lab; add chain inet lab in { type filter hook input priority 0; }; \
             add rule inet lab in tcp dport 8001 drop")
        .succeeds();
    other.fails("L4TOUT", "");
    pool.is_up();
    eventually("the check has run", || {
        let reals = pool.is_up();
        let codes: Vec<_> = reals.iter().map(|real| real["last_result"]["code"].clone()).collect();
        if codes.iter().all(|code| code == "PROCOK") { Ok(()) } else { Err(format!("{codes:?}")) }
    });
    director.xvs("events").succeeds().does_not_say(r#""to":"unknown""#);
}
