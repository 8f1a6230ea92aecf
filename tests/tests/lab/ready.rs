// SPDX-License-Identifier: MIT OR Apache-2.0
//! Readiness of a director, its role among several, and VIPs that a routing daemon announces.

use std::{fs, net::SocketAddrV4, process::Command};

use lb_tests::lab::{Director, Lab, RIPS, Server, VIP, eventually};
use serde_json::Value;

/// Exit codes.
const NOT_READY: i32 = 1;
const UNREACHABLE: i32 = 3;

fn has_vip(director: &Director, device: &str) -> bool {
    director.sh(&format!("ip address show dev {device}")).succeeds().stdout.contains(&format!("{VIP}/32"))
}

fn eventually_ready(director: &Director, file: &str) {
    eventually("the director is ready", || {
        let told = fs::read_to_string(director.path(file)).unwrap_or_default();
        if told == "0\n" && director.xvs("ready").is_success() { Ok(()) } else { Err(told) }
    });
}

/// Starts the servers of both reals.
fn start_servers(lab: &Lab) -> Vec<Server> {
    let reals = lab.reals[..2].iter().zip(RIPS);
    reals.map(|(real, rip)| Server::greeter(real, SocketAddrV4::new(rip, 80))).collect()
}

/// Writes a config with a service that is checked, and more settings of the director.
fn write_config(director: &Director, settings: &str) -> String {
    let config = director.path("ready.toml");
    let real = |rip: &_| format!("  [[service.real]]\n  address = \"{rip}:80\"\n");
    let reals = RIPS[..2].iter().map(real).collect::<Vec<_>>().concat();
    let text = format!(
        "[director]\nready-file = \"{}\"\n{settings}\n[[check]]\nname = \"tcp\"\ntype = \"tcp\"\nvia = \"direct\"\ninterval = \"300ms\"\ntimeout = \"200ms\"\n\
         [[service]]\nprotocol = \"tcp\"\naddress = \"{VIP}:80\"\ncheck = [\"tcp\"]\nhold-down = \"0s\"\non-all-down = \"reject\"\n{reals}",
        director.path("ready").display()
    );
    fs::write(&config, text).expect("the file can be written");
    config.display().to_string()
}

#[test]
fn a_vip_is_there_exactly_while_the_director_is_ready_and_serves() {
    let lab = Lab::new();
    let director = &lab.director;
    let config = write_config(director, "announce = \"address\"\nvip-interface = \"lo\"");
    director.xvs("ready").ends_with(UNREACHABLE);
    let daemon = director.start_daemon_with(&format!("--config {config}"));

    // No real answers its check: a routing daemon must not announce the VIP.
    eventually("the reason is known", || {
        let said = director.xvs("ready").ends_with(NOT_READY).stdout;
        if said.contains("no service has a real that takes connections") { Ok(()) } else { Err(said) }
    });
    assert!(!has_vip(director, "lo") && !has_vip(director, "eth0"));
    assert_eq!(fs::read_to_string(director.path("ready")).unwrap(), "-254\n");

    let mut servers = start_servers(&lab);
    eventually_ready(director, "ready");
    eventually(
        "the VIP is on lo",
        || if has_vip(director, "lo") { Ok(()) } else { Err("no VIP".to_owned()) },
    );
    assert!(!has_vip(director, "eth0"));
    assert!(director.metrics().contains("xvs_director_ready 1"));

    // A drained director gives its VIP up, and remains drained after a restart.
    director.xvs("director drain --wait 10s").succeeds().says("the director is drained");
    assert!(!has_vip(director, "lo"), "the command has removed the VIP when it returns");
    director.xvs("ready").ends_with(NOT_READY).says("xvs director resume");
    director.xvs("status").succeeds().says("drained");
    drop(daemon);
    let daemon = director.start_daemon_with(&format!("--config {config}"));
    director.xvs("ready").ends_with(NOT_READY).says("drained");
    assert!(!has_vip(director, "lo"));
    director.xvs("director resume").succeeds();
    eventually_ready(director, "ready");
    eventually("the VIP is back", || if has_vip(director, "lo") { Ok(()) } else { Err("no VIP".to_owned()) });

    // The VIP survives the daemon, and is at no moment of its next start away.
    drop(daemon);
    assert!(has_vip(director, "lo"));
    let mut monitor = director.start("monitor", Command::new("ip").args(["monitor", "address"]));
    let _daemon = director.start_daemon_with(&format!("--config {config}"));
    eventually_ready(director, "ready");
    assert!(has_vip(director, "lo"));
    monitor.stop();
    assert!(!monitor.log().contains("Deleted"), "{}", monitor.log());

    servers.clear();
    eventually("the VIP goes with the last real", || {
        if has_vip(director, "lo") { Err("a VIP".to_owned()) } else { Ok(()) }
    });
    director.xvs("ready").ends_with(NOT_READY).says("no service has a real");
}

#[test]
fn a_pool_below_its_minimum_has_no_routed_vip_and_a_ready_director() {
    let lab = Lab::new();
    let director = &lab.director;
    let config = write_config(director, "announce = \"address\"");
    let text = fs::read_to_string(&config).expect("the file can be read");
    fs::write(&config, text.replace("hold-down =", "min-healthy = \"100%\"\nhold-down ="))
        .expect("the file can be written");
    let mut servers = start_servers(&lab);
    let _daemon = director.start_daemon_with(&format!("--config {config}"));
    eventually_ready(director, "ready");
    eventually(
        "the VIP is there",
        || if has_vip(director, "lo") { Ok(()) } else { Err("no VIP".to_owned()) },
    );

    // Both reals get connections again, since the health of too few counts for nothing.
    servers.pop();
    eventually("the VIP goes", || if has_vip(director, "lo") { Err("a VIP".to_owned()) } else { Ok(()) });
    director.xvs("ready").succeeds();
    assert_eq!(fs::read_to_string(director.path("ready")).expect("the file can be read"), "0\n");
}

#[test]
fn a_standby_director_has_no_vip_and_is_ready() {
    let lab = Lab::new();
    let director = &lab.director;
    let config = write_config(director, "");
    let _servers = start_servers(&lab);
    let _daemon = director.start_daemon_with(&format!("--config {config}"));
    eventually_ready(director, "ready");
    assert!(has_vip(director, "eth0"));

    director.xvs("director role standby").succeeds().says("the director is standby");
    assert!(!has_vip(director, "eth0"));
    let view: Value = serde_json::from_str(&director.xvs("ready --json").succeeds().stdout).unwrap();
    assert_eq!((view["ready"].as_bool(), view["role"].as_str()), (Some(true), Some("standby")));
    director.xvs("director role standby").succeeds().says("nothing to change");
    director.xvs("director role active").succeeds();
    assert!(has_vip(director, "eth0"));

    // Without the program, no packet is forwarded.
    director.sh("ip link set eth0 down").succeeds();
    director.sh("ip link set eth0 up").succeeds();
    eventually_ready(director, "ready");
}

#[test]
fn a_restart_with_another_announcement_moves_the_vip() {
    let lab = Lab::new();
    let director = &lab.director;
    let _servers = start_servers(&lab);
    let on = |device: &'static str, other: &'static str| {
        eventually("the VIP moves", || {
            if has_vip(director, device) && !has_vip(director, other) {
                Ok(())
            } else {
                Err(device.to_owned())
            }
        });
    };
    for (settings, device, other) in [
        ("announce = \"address\"", "lo", "eth0"),
        ("", "eth0", "lo"),
        ("announce = \"address\"", "lo", "eth0"),
    ] {
        let config = write_config(director, settings);
        let _daemon = director.start_daemon_with(&format!("--config {config}"));
        eventually_ready(director, "ready");
        on(device, other);
    }
}

#[test]
fn a_ready_file_never_says_ready_without_a_reason() {
    let lab = Lab::new();
    let director = &lab.director;
    let _servers = start_servers(&lab);
    let config = write_config(director, "announce = \"none\"");
    let missing = fs::read_to_string(&config).unwrap().replace("director.ready", "missing/ready");
    let refused = director.path("missing.toml");
    fs::write(&refused, missing).unwrap();
    let refused = director.refused_daemon_with(&format!("--config {}", refused.display()));
    refused.ends_without_success().says("cannot write the `ready-file`");

    let read = || fs::read_to_string(director.path("ready")).unwrap();
    let daemon = director.start_daemon_with(&format!("--config {config}"));
    eventually_ready(director, "ready");
    drop(daemon);
    assert_eq!(read(), "0\n", "forwarding continues");
    let daemon = director.start_daemon_with(&format!("--detach-on-exit --config {config}"));
    eventually_ready(director, "ready");
    drop(daemon);
    assert_eq!(read(), "-254\n", "forwarding has ended");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let lab = Lab::new();
    let director = &lab.director;
    for (settings, why) in [
        ("announce = \"address\"\nmanage-vips = false", "manage-vips"),
        ("vip-interface = \"lo\"", "announce"),
        ("announce = \"address\"\nvip-interface = \"none0\"", "none0"),
        ("announce = \"bgp\"", "announce"),
        ("announce = \"address\"\nfnat-addresses = [\"10.0.0.77\"]", "come back to the one director"),
    ] {
        let config = write_config(director, settings);
        director.refused_daemon_with(&format!("--config {config}")).ends_without_success().says(why);
    }
}
