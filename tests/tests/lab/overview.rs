// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists, `xvs status` and messages, as an operator sees them.

use std::fs;

use lb_tests::{
    artifacts,
    lab::{Lab, Method, Stage, VIP, eventually},
};

#[test]
fn an_empty_list_of_connections_names_the_services_that_track_none() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");
    let (director, service) = (&stage.lab.director, Method::Dr.service());
    stage.lab.client.requests(service, 10).is_complete(10);

    let reason =
        format!("tcp {service}: its connections have no entries in the flow table (mh, tracking auto)");
    director.xvs("connections").succeeds().says(&reason).says("service edit");
    director.xvs(&format!("service edit tcp {service} --tracking full")).succeeds();
    director.xvs("connections").succeeds().does_not_say(&reason);
}

#[test]
fn lists_show_the_state_of_each_real() {
    let stage = Stage::new();
    stage.serve_all_methods("tcp", "mh");
    let (director, service) = (&stage.lab.director, Method::Dr.service());
    director.wait_for_next_hops();
    director.xvs(&format!("real edit tcp {service} 10.0.0.12 --weight 0")).succeeds();
    director.xvs(&format!("real add tcp {service} 10.0.0.99")).succeeds();

    let row_of = |rip: &str| {
        let list = director.xvs(&format!("real list tcp {service} --wide")).succeeds().stdout;
        let row = list.lines().find(|row| row.contains(&format!(" {rip}:"))).map(str::to_owned);
        row.unwrap_or_else(|| panic!("no {rip} in\n{list}"))
    };
    assert!(row_of("10.0.0.11").contains(" up "), "{}", row_of("10.0.0.11"));
    assert!(row_of("10.0.0.12").contains(" weight 0 "), "{}", row_of("10.0.0.12"));
    eventually("the real that no host has does not answer", || {
        let row = row_of("10.0.0.99");
        if row.contains(" no answer ") { Ok(()) } else { Err(row) }
    });
}

#[test]
fn status_counts_the_changes_since_the_config_file_was_read() {
    let lab = Lab::new();
    let director = &lab.director;
    let file = director.path("xvs.toml");
    fs::write(&file, format!("[[service]]\nprotocol = \"tcp\"\naddress = \"{VIP}:80\"\n"))
        .expect("the folder is ours");
    let options = format!("--config {}", file.display());
    let mut daemon = director.start_daemon_with(&options);
    director.xvs("status").succeeds().says("no change since it was read");
    director.xvs(&format!("service add tcp {VIP}:81")).succeeds();
    director.xvs("status").succeeds().says("1 change since it was read").says("xvs plan");

    // The next start names the service that the file does not have.
    daemon.kill();
    let daemon = director.start_daemon_with(&options);
    eventually("the log has the removal", || {
        let log = daemon.log();
        if log.contains(&format!("removed service tcp {VIP}:81")) { Ok(()) } else { Err(log) }
    });
}

#[test]
fn status_without_a_daemon_names_the_interfaces_that_forward() {
    let mut stage = Stage::new();
    stage.daemon.kill();
    let director = &stage.lab.director;
    let status = director.xvs(&format!("status --bpffs {}", director.bpffs().display())).fails(3);
    status.says("eth0 continues to forward by the programs pinned under").says("start `xvs run` again");
}

#[test]
fn pins_that_end_with_the_process_are_announced() {
    let lab = Lab::new();
    let director = &lab.director;
    let (socket, bpffs) = (director.path("private.sock"), director.path("private-bpffs"));
    let (xvs, state) = (artifacts::xvs(), director.path("private.json"));
    // As in `ip netns exec` or a container: no other process sees the mounts of the daemon.
    let line = format!(
        "unshare --mount --propagation private timeout --signal TERM 3 {} --socket {} run --interface eth0 \
         --bpffs {} --state {}",
        xvs.display(),
        socket.display(),
        bpffs.display(),
        state.display()
    );
    let ended = director.sh(&line);
    ended
        .says("in this process's own mount namespace: forwarding ends with the daemon")
        .says("stopped: forwarding ends with this mount namespace");
}
