// SPDX-License-Identifier: MIT OR Apache-2.0
//! The daemon answers even if the reader of its log is gone, stuck or out of space.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lb_tests::lab::{Director, Lab, Process, VIP, eventually};
use nix::{fcntl::OFlag, sys::stat::Mode, unistd::mkfifo};

/// Maximum time of a command, regardless of the log.
const SOON: Duration = Duration::from_secs(1);

/// Runs commands that change and log something, each of which must end soon.
fn changes_are_made(director: &Director, rounds: u16) {
    for port in 1..=rounds {
        for line in [format!("service add tcp {VIP}:{port}"), format!("service remove tcp {VIP}:{port}")] {
            let began = Instant::now();
            director.xvs(&line).succeeds();
            let took = began.elapsed();
            assert!(took < SOON, "{line} took {took:?}");
        }
    }
}

fn starts(director: &Director, log: &Path) -> Process {
    let mut daemon = director.start_daemon_that_logs_to(log);
    daemon.is_ready_when(|| match director.xvs("status") {
        status if status.is_success() => Ok(()),
        status => Err(status.to_string()),
    });
    daemon
}

/// A pipe with its reading end.
fn pipe(director: &Director) -> (PathBuf, File) {
    let path = director.path("log.fifo");
    mkfifo(&path, Mode::S_IRWXU).expect("the lab allows it");
    let reader = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(&path)
        .expect("the lab allows it");
    (path, reader)
}

/// Waits until `xvs status` and the metrics report lost lines.
fn says_that_lines_were_lost(director: &Director) {
    eventually("lost lines are counted", || {
        let status = director.xvs("status").succeeds().stdout;
        if status.contains("log lines were lost") { Ok(()) } else { Err(status) }
    });
    let page = director.metrics();
    let lost = page.lines().find_map(|line| line.strip_prefix("xvs_log_lines_lost_total "));
    assert!(lost.is_some_and(|lost| lost.parse::<u64>().is_ok_and(|lost| lost > 0)), "{page}");
}

#[test]
fn a_log_without_space_stops_nothing() {
    let lab = Lab::new();
    let mut daemon = starts(&lab.director, Path::new("/dev/full"));
    changes_are_made(&lab.director, 5);
    says_that_lines_were_lost(&lab.director);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_reader_that_goes_away_stops_nothing() {
    let lab = Lab::new();
    let (path, reader) = pipe(&lab.director);
    let mut daemon = starts(&lab.director, &path);
    changes_are_made(&lab.director, 1);
    drop(reader);
    changes_are_made(&lab.director, 5);
    // An event of the network is logged too.
    lab.director.ip("link set eth0 down\nlink set eth0 up");
    says_that_lines_were_lost(&lab.director);
    changes_are_made(&lab.director, 1);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_reader_that_is_stuck_stops_nothing() {
    let lab = Lab::new();
    let (path, reader) = pipe(&lab.director);
    // A pipe of one page is full after some lines.
    nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let mut daemon = starts(&lab.director, &path);
    // More than the pipe and the queue hold together.
    let config = lab.director.path("many.toml");
    let services: Vec<String> = (1..100)
        .map(|port| format!("[[service]]\nprotocol = \"tcp\"\naddress = \"{VIP}:{port}\"\n"))
        .collect();
    changes_are_made(&lab.director, 20);
    fs::write(&config, services.join("\n")).unwrap();
    let began = Instant::now();
    lab.director.xvs(&format!("apply {}", config.display())).succeeds();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(daemon.stop(), Some(0));
    assert!(began.elapsed() < 2 * SOON, "the last lines are not waited for: {:?}", began.elapsed());
    drop(reader);
}
