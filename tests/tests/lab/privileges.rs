// SPDX-License-Identifier: MIT OR Apache-2.0
//! Privileges of the running daemon, and those that it gives up.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
};

use lb_tests::lab::{Lab, Process, RIPS, Stage, VIP};

/// `CAP_NET_ADMIN`, `CAP_NET_RAW`, `CAP_PERFMON` and `CAP_BPF` (include/uapi/linux/capability.h).
const DAEMON: u64 = 1 << 12 | 1 << 13 | 1 << 38 | 1 << 39;
/// `CAP_KILL`, `CAP_SETGID` and `CAP_SETUID`: commands of health checks.
const COMMANDS: u64 = 1 << 5 | 1 << 6 | 1 << 7;
/// [`COMMANDS`] and `CAP_SYS_ADMIN`, which have an effect only in the threads of health checks.
const SPARE: u64 = COMMANDS | 1 << 21;
/// The exit code of what failed.
const FAILED: i32 = 1;

/// Returns the values of a status line, for each thread.
fn of_each_thread(process: &Process, line: &str) -> Vec<u64> {
    let threads = fs::read_dir(format!("/proc/{}/task", process.id())).expect("the lab allows it").flatten();
    let read = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let value =
            status.lines().find_map(|found| found.strip_prefix(line)).expect("the kernel has the line");
        Some(u64::from_str_radix(value.trim(), 16).expect("it is a number"))
    };
    threads.filter_map(read).collect()
}

#[test]
fn the_daemon_keeps_four_capabilities_and_all_commands_work_with_them() {
    let mut stage = Stage::new();
    let director = &stage.lab.director;
    for (line, expected) in [
        ("CapPrm:", DAEMON | SPARE),
        ("CapBnd:", DAEMON | SPARE),
        ("CapInh:", 0),
        ("CapAmb:", 0),
        ("NoNewPrivs:", 1),
    ] {
        let found = of_each_thread(&stage.daemon, line);
        assert!(found.len() > 2 && found.iter().all(|value| *value == expected), "{line} {found:x?}");
    }
    let mut effective = of_each_thread(&stage.daemon, "CapEff:");
    effective.retain(|value| *value != DAEMON);
    assert_eq!(effective, [DAEMON | COMMANDS], "only the thread of health checks has more");

    director.xvs(&format!("service add tcp {VIP}:80")).succeeds();
    director.xvs(&format!("real add tcp {VIP}:80 {}", RIPS[0])).succeeds();
    director.xvs(&format!("explain tcp 192.0.2.10:4000 {VIP}:80")).succeeds().says("forwarded");
    director.xvs("--output json doctor");
    director.xvs("resize --max-flows 2000000").succeeds();
    director.xvs("attach eth0 --xdp-mode generic").succeeds();
    director.xvs("attach eth0 --xdp-mode native").succeeds();
    director.xvs("timeouts --udp 30s").succeeds();
    director.xvs(&format!("real drain tcp {VIP}:80 {}", RIPS[0])).succeeds();
    director.xvs(&format!("service remove tcp {VIP}:80")).succeeds();
    assert_eq!(stage.daemon.stop(), Some(0));
    assert!(!stage.daemon.log().contains("ermission denied"), "{}", stage.daemon.log());
    // The next daemon adopts the pins.
    stage.daemon = director.start_daemon();
}

#[test]
fn pins_are_the_daemons_alone() {
    let lab = Lab::new();
    let director = &lab.director;
    let bpffs = director.bpffs();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    // As another user would prepare them.
    fs::create_dir_all(bpffs.join("links")).unwrap();
    chown(bpffs.join("links"), Some(65534), Some(65534)).unwrap();
    director.refused_daemon().fails(FAILED).says("links").says("it belongs to user 65534");
    fs::remove_dir(bpffs.join("links")).unwrap();
    fs::set_permissions(&bpffs, Permissions::from_mode(0o777)).unwrap();
    director.refused_daemon().fails(FAILED).says("others may write there (mode 777)");
    fs::set_permissions(&bpffs, Permissions::from_mode(0o755)).unwrap();
    let mut daemon = director.start_daemon();
    for path in [bpffs.clone(), bpffs.join("links"), bpffs.join("maps")] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
    assert_eq!(daemon.stop(), Some(0));
    director.detach();
}

#[test]
fn a_file_in_the_place_of_the_socket_is_left_alone() {
    let lab = Lab::new();
    let socket = lab.director.socket();
    fs::write(&socket, "precious").unwrap();
    lab.director.refused_daemon().fails(FAILED).says("exists and is not a socket; it was not changed");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
    fs::remove_file(&socket).unwrap();
}
