// SPDX-License-Identifier: MIT OR Apache-2.0
//! SIGHUP applies the config file again, and never ends the daemon.

use std::fs;

use lb_tests::lab::{Director, Lab, Process, VIP, eventually};

fn hang_up(director: &Director, daemon: &Process) {
    director.sh(&format!("kill -HUP {}", daemon.id())).succeeds();
}

fn says(daemon: &Process, text: &str) {
    eventually("the daemon says so", || {
        let log = daemon.log();
        if log.contains(text) { Ok(()) } else { Err(log) }
    });
}

#[test]
fn sighup_applies_the_config_again_and_never_ends_the_daemon() {
    let lab = Lab::new();
    let director = &lab.director;
    let config = director.path("config.toml");
    let service = |port: u16| format!("[[service]]\nprotocol = \"tcp\"\naddress = \"{VIP}:{port}\"\n");
    fs::write(&config, service(80)).unwrap();
    let mut daemon = director.start_daemon_with(&format!("--config {}", config.display()));
    says(&daemon, "ready: 1 service, 0 reals on eth0");

    fs::write(&config, service(80) + &service(81)).unwrap();
    hang_up(director, &daemon);
    says(&daemon, &format!("added service tcp {VIP}:81"));
    says(&daemon, "SIGHUP: 1 change from");
    assert_eq!(director.stats().services.len(), 2);
    hang_up(director, &daemon);
    says(&daemon, "has no changes");

    for (text, said) in [("[[service]", "SIGHUP: nothing was changed"), ("", "has no services")] {
        fs::write(&config, text).unwrap();
        hang_up(director, &daemon);
        says(&daemon, said);
        assert_eq!(director.stats().services.len(), 2);
    }
    fs::remove_file(&config).unwrap();
    hang_up(director, &daemon);
    says(&daemon, "config.toml");
    assert_eq!(daemon.stop(), Some(0));

    // Without a config file there is nothing to read.
    let mut daemon = director.start_daemon();
    hang_up(director, &daemon);
    says(&daemon, "there is no file to read");
    assert_eq!(director.stats().services.len(), 2);
    assert_eq!(daemon.stop(), Some(0));
}
