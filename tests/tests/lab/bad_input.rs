// SPDX-License-Identifier: MIT OR Apache-2.0
//! Input that must be refused: with a clear error, a hint, the documented exit code, and no change.

use std::fs;

use lb_tests::{
    artifacts,
    lab::{Lab, Stage, VIP},
};

/// The exit codes of architecture.md.
const FAILED: i32 = 1;
const WRONG_INPUT: i32 = 2;
const UNREACHABLE: i32 = 3;

#[test]
fn wrong_commands_change_nothing() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    director.xvs(&format!("service add tcp {VIP}:80 --scheduler mh")).succeeds();
    director.xvs(&format!("real add tcp {VIP}:80 10.0.0.11:80 --forward dr")).succeeds();
    let before = director.xvs("export").succeeds().stdout;

    for line in [
        "service add tcp 192.0.2.100:80",
        "service add tcp 192.0.2.100:81 --scheduler nonsense",
        "service add tcp 192.0.2.100",
        "service add icmp 192.0.2.100:80",
        "service add tcp 192.0.2.100:65536",
        "service remove tcp 192.0.2.101:80",
        // dr and tun leave the port alone.
        "real add tcp 192.0.2.100:80 10.0.0.12:8080 --forward dr",
        "real add tcp 192.0.2.100:80 10.0.0.12:8080 --forward tun",
        "real add tcp 192.0.2.100:80 10.0.0.12:80 --forward dr --weight -1",
        "real add tcp 192.0.2.100:80 10.0.0.12:80 --forward dr --weight 2147483648",
        "real add tcp 192.0.2.100:80 10.0.0.12:80 --forward pigeon",
        "real add tcp 192.0.2.101:80 10.0.0.12:80 --forward dr",
        "real add tcp 192.0.2.100:80 10.0.0.11:80 --forward dr",
        "real remove tcp 192.0.2.100:80 10.0.0.12:80",
    ] {
        director.xvs(line).fails(WRONG_INPUT);
        assert_eq!(director.xvs("export").succeeds().stdout, before, "after {line}");
    }
}

#[test]
fn a_broken_config_is_refused_with_line_and_column() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    let file = director.path("broken.toml");
    for (text, position) in [
        ("[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.100:80\nscheduler = \"mh\"\n", "3"),
        ("[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.100:80\"\nschedular = \"mh\"\n", "4"),
        ("[[service]]\nprotocol = \"tcp\"\naddress = \"here\"\n", "3"),
    ] {
        fs::write(&file, text).unwrap();
        let refused = director.xvs(&format!("apply {}", file.display())).fails(WRONG_INPUT);
        refused.says(&format!("line {position}")).says("column");
    }
    assert_eq!(director.stats().services.len(), 0);
}

#[test]
fn a_vip_twice_in_a_config_is_refused() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    let file = director.path("twice.toml");
    let service = "[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.100:80\"\n";
    fs::write(&file, service.repeat(2)).unwrap();
    director.xvs(&format!("apply {}", file.display())).fails(WRONG_INPUT).says("192.0.2.100:80");
    assert_eq!(director.stats().services.len(), 0);
}

#[test]
fn what_is_exported_can_be_applied() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    stage.serve_all_methods("tcp", "wrr");
    let exported = director.xvs("export").succeeds().stdout;
    let file = director.path("exported.toml");
    fs::write(&file, &exported).unwrap();

    for port in [8001, 8002, 8003] {
        director.xvs(&format!("service remove tcp {VIP}:{port}")).succeeds();
    }
    director.xvs(&format!("apply {}", file.display())).succeeds();

    assert_eq!(director.xvs("export").succeeds().stdout, exported);
}

#[test]
fn without_a_daemon_the_command_line_says_so() {
    let lab = Lab::new();
    lab.director.xvs("status").fails(UNREACHABLE).says("hint: ");
    lab.director.xvs("service list").fails(UNREACHABLE);
}

#[test]
fn a_daemon_that_cannot_work_does_not_start() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    let run = |options: &str| {
        let xvs = artifacts::xvs();
        director.sh(&format!("{} {options}", xvs.display()))
    };
    let folder = director.folder().display();
    let elsewhere = format!("--bpffs {folder}/bpf/other --state {folder}/other.state");

    // No such interface.
    run(&format!("--socket {folder}/other.sock run -i eth9 {elsewhere}"))
        .fails(WRONG_INPUT)
        .says("eth9")
        .says("hint: ");
    // Another daemon has the socket.
    let taken = director.socket();
    run(&format!("--socket {} run -i eth0 {elsewhere}", taken.display())).fails(FAILED).says("hint: ");
    // The first daemon is unaffected.
    director.xvs("status").succeeds();
}

#[test]
fn a_daemon_without_privileges_says_what_it_needs() {
    let lab = Lab::new();
    let folder = lab.director.folder();
    // The user `nobody` may lack access to the build folder.
    let xvs = folder.join("xvs");
    fs::copy(artifacts::xvs(), &xvs).unwrap();
    let (xvs, folder) = (xvs.display(), folder.display());

    let line = format!(
        "setpriv --reuid 65534 --regid 65534 --clear-groups {xvs} --socket {folder}/nobody.sock run -i eth0 \
         --bpffs {folder}/bpf/nobody --state {folder}/nobody.state"
    );

    lab.director.sh(&line).fails(FAILED).says("`xvs run` lacks CAP_NET_ADMIN").says("run it as root");
    let line = format!(
        "setpriv --reuid 65534 --regid 65534 --clear-groups {xvs} detach --bpffs {folder}/bpf/nobody"
    );
    lab.director.sh(&line).fails(FAILED).says("`xvs detach` lacks CAP_NET_ADMIN").says("run it as root");
    let line = format!(
        "ulimit -n 40; {xvs} --socket {folder}/few.sock run -i eth0 --bpffs {folder}/bpf/few --state \
         {folder}/few.state"
    );
    lab.director
        .exec(["sh", "-c", line.as_str()])
        .fails(FAILED)
        .says("may have 40 open files")
        .says("ulimit -n 1024");
    // Nothing is attached, and the output says so.
    lab.director
        .sh(&format!("{xvs} detach --bpffs {folder}/bpf/few --state {folder}/few.state"))
        .succeeds()
        .says("nothing is pinned under");
}

#[test]
fn numbers_out_of_bounds_and_unknown_fields_are_refused_by_the_daemon() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    director.xvs(&format!("service add tcp {VIP}:80")).succeeds();
    let before = director.xvs("timeouts").succeeds().stdout;
    for line in ["timeouts --tcp 0", "timeouts --tcp 0s", "timeouts --udp 0s", "timeouts --tcp-fin 999ms"] {
        director.xvs(line).fails(WRONG_INPUT).says("0 would end every connection; leave it out to keep it");
    }
    director.xvs("timeouts --tcp 25days").fails(WRONG_INPUT).says("more than 24 days");
    let socket = director.socket();
    for (path, body, expected) in [
        ("timeouts", r#"{"tcp":0}"#, "0 would end every connection"),
        ("timeouts", r#"{"tcp":4503600}"#, "more than 24 days"),
        ("timeouts", r#"{"tpc":60}"#, "unknown field `tpc`"),
        ("zero", r#"{"servce":{"group":1}}"#, "unknown field `servce`"),
        ("resize", r#"{"max_flows":33554433}"#, "max-flows must be between"),
        ("changes", r#"{"change":"clear","service":{"group":1}}"#, "unknown field `service`"),
        ("changes", r#"{"change":"clear""#, "cannot parse the body of"),
        (
            "changes",
            r#"{"change":"edit-service","service":{"protocol":"tcp","address":"192.0.2.100:80"},"options":{"persistent":4000000000}}"#,
            "more than 24 days",
        ),
    ] {
        let url = format!("http://xvs/v1/{path}");
        let socket = socket.to_str().unwrap();
        let asked = director.exec([
            "curl",
            "--silent",
            "--unix-socket",
            socket,
            "--write-out",
            "%{http_code}",
            "--data",
            body,
            url.as_str(),
        ]);
        asked.says(expected).says("400");
    }
    assert_eq!(director.xvs("timeouts").succeeds().stdout, before);
    assert_eq!(director.stats().services.len(), 1);
    // A 0 of ipvsadm keeps the present value.
    director.xvs("ipvsadm --set 0 0 60").succeeds();
    let after = director.xvs("timeouts").succeeds().stdout;
    assert!(after.contains("60") && after != before, "{after}");
}
