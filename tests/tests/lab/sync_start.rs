// SPDX-License-Identifier: MIT OR Apache-2.0
//! Start and stop of the sender and the receiver of announcements.

use std::fs;

use lb_tests::lab::{Director, Lab, eventually};

#[test]
fn the_words_of_ipvsadm_start_and_stop_sender_and_receiver() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let ipvsadm = |words: &str| lab.director.xvs(&format!("ipvsadm {words}"));
    ipvsadm("--start-daemon master --mcast-interface eth0 --syncid 7").succeeds();
    let again = ipvsadm("--start-daemon master --mcast-interface eth0").ends_with(255);
    assert_eq!(again.stderr, "Daemon has already run");
    ipvsadm("--start-daemon backup --mcast-interface eth0 --mcast-group ff02::81").succeeds();
    ipvsadm("--stop-daemon backup").succeeds();
    let missing = ipvsadm("--start-daemon backup --mcast-interface eth9").ends_with(255);
    assert_eq!(missing.stderr.lines().next(), Some("No such device"));
    assert_eq!(
        ipvsadm("-L --daemon").succeeds().stdout,
        "master sync daemon (mcast=eth0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)"
    );
}

/// Returns whether the director sends and receives.
#[track_caller]
fn ends(director: &Director) -> [bool; 2] {
    let status = director.xvs("--json sync status").succeeds().stdout;
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    ["master", "backup"].map(|end| status[end].is_object())
}

#[test]
fn a_section_that_is_refused_changes_nothing_and_works_when_its_interface_comes() {
    let lab = Lab::new();
    let director = &lab.director;
    let config = director.path("toml");
    let on = |interface: &str| {
        let text = format!("[sync]\ninterface = '{interface}'\nsend = 7\nreceive = 7\n");
        fs::write(&config, text).expect("the lab's folder is writable");
    };
    on("none0");
    let refused = director.refused_daemon_with(&format!("--config {}", config.display()));
    refused.ends_without_success().says("none0");
    assert!(!director.sh("ip link show dev eth0").succeeds().stdout.contains("xdp"), "nothing was attached");

    on("eth0");
    let daemon = director.start_daemon_with(&format!("--config {}", config.display()));
    assert_eq!(ends(director), [true, true]);
    on("none0");
    let hang_up = |said: &str, times: usize| {
        director.sh(&format!("kill -HUP {}", daemon.id())).succeeds();
        eventually("the file is read", || {
            let log = daemon.log();
            if log.matches(said).count() >= times { Ok(()) } else { Err(log) }
        });
    };
    hang_up("SIGHUP: nothing was changed: there is no interface none0", 1);
    assert_eq!(ends(director), [true, true], "those of before go on");
    hang_up("SIGHUP: nothing was changed: there is no interface none0", 2);
    director.ip("link add none0 type veth peer name none1\nlink set none0 up\nlink set none1 up");
    hang_up("has no services", 1);
    let status = director.xvs("--json sync status").succeeds().stdout;
    assert_eq!(status.matches("none0").count(), 2, "{status}");
}
