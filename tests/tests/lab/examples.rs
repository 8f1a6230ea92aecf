// SPDX-License-Identifier: MIT OR Apache-2.0
//! The config files of `examples/` with a director, as an operator uses them.

use std::{
    fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
};

use lb_tests::lab::{Lab, Method, VIP};

const REQUESTS: usize = 10;

/// The examples that serve HTTP at port 80 of the VIP, with reals as [`set_up`] prepares them.
const ANSWERED: [&str; 7] = [
    "dual-stack.toml",
    "fnat.toml",
    "groups-persistence.toml",
    "nat.toml",
    "standby-real.toml",
    "tunnel.toml",
    "web-dr.toml",
];

/// Returns the config files of `examples/`, in alphabetical order.
fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let entries = fs::read_dir(&folder).expect("the repository has examples").flatten();
    let is_config = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_config).collect();
    files.sort();
    assert!(files.len() >= ANSWERED.len(), "{files:?}");
    files
}

/// Builds a lab whose reals have the VIP, and decapsulate IP in IP.
fn set_up() -> Lab {
    let lab = Lab::new();
    for real in &lab.reals {
        real.set_up(Method::Tun);
    }
    lab
}

#[test]
fn a_director_starts_with_each_example_and_forwards() {
    let lab = set_up();
    let director = &lab.director;
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[80, 8080]));
    let mut answered = Vec::new();
    for file in examples() {
        let shown = file.display();
        let mut daemon = director.start_daemon_with(&format!("--config {shown}"));
        director
            .xvs(&format!("plan {shown}"))
            .succeeds()
            .says("nothing to change")
            .does_not_say("restart it");
        let name = file.file_name().expect("it is a file").to_string_lossy().into_owned();
        if ANSWERED.contains(&name.as_str()) {
            lab.client.requests(SocketAddrV4::new(VIP, 80), REQUESTS).is_complete(REQUESTS);
            answered.push(name);
        }
        assert_eq!(daemon.stop(), Some(0), "{shown}");
        // The sizes of the tables are those of the next file.
        director.detach();
    }
    assert_eq!(answered, ANSWERED);
}

#[test]
fn each_example_replaces_the_services_of_a_running_director() {
    let lab = Lab::new();
    let director = &lab.director;
    let _daemon = director.start_daemon();
    for file in examples() {
        let shown = file.display();
        director.xvs(&format!("plan --offline {shown}")).succeeds().says("is valid");
        director.xvs(&format!("apply {shown}")).succeeds().says("added real");
        director.xvs(&format!("plan {shown}")).succeeds().says("nothing to change");
    }
}
