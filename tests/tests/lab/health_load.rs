// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ten thousand checks a second: none is late, and one core is enough.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    thread,
    time::{Duration, Instant},
};

use lb_tests::{
    artifacts::is_full,
    lab::{DIP, Host, Lab, RIPS, VIP, eventually},
};
use serde_json::Value;

/// First port of the services.
const FIRST: u16 = 10_000;
/// Port on which each real accepts connections to all of them.
const PORT: u16 = 7000;

/// Accepts connections and closes them at once, on all ports of the services.
fn accept_all(host: &Host, services: u16) {
    let last = FIRST + services - 1;
    let redirect = "nft add table ip lab; add chain ip lab in { type nat hook prerouting priority -100; }";
    host.sh(&format!("{redirect}; add rule ip lab in tcp dport {FIRST}-{last} redirect to :{PORT}"))
        .succeeds();
    let listener = host.run(|| TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT)));
    let listener = listener.expect("the port is free");
    host.ns().spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            drop(stream);
        }
    });
}

/// Returns the CPU time of the threads of health checks.
fn cpu_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the daemon runs").flatten();
    let ticks = threads.filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(')')?;
        if !name.contains("xvs-health") && !name.contains("xvs-path") {
            return None;
        }
        // The fields behind the name (proc_pid_stat(5)): utime and stime are the 12th and the 13th.
        let fields: Vec<u64> = rest.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
        Some(fields.iter().sum::<u64>())
    });
    // USER_HZ is 100 on every architecture that we have.
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Returns the sum of a metric over its labels.
fn metric(page: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with([' ', '{']) {
            return None;
        }
        rest.rsplit_once(' ')?.1.parse::<f64>().ok()
    };
    page.lines().filter_map(value).sum()
}

#[test]
fn thousands_of_checks_a_second_need_less_than_a_core() {
    let (services, seconds) = if is_full() { (3334, 60) } else { (200, 5) };
    let lab = Lab::new();
    for real in &lab.reals {
        real.xvs_host(&format!("setup --vip {VIP} --forward dr --interface eth0")).succeeds();
        accept_all(real, services);
    }
    let mut config = "[director]\nmax-services = 4096\nmax-reals = 16384\n\
                      [[check]]\nname = \"tcp\"\ntype = \"tcp\"\ninterval = \"1s\"\n"
        .to_owned();
    for port in FIRST..FIRST + services {
        let _ = write!(
            config,
            "[[service]]\nprotocol = \"tcp\"\naddress = \"{VIP}:{port}\"\nscheduler = \"rr\"\ncheck = [\"tcp\"]\n"
        );
        for rip in RIPS {
            let _ = write!(config, "[[service.real]]\naddress = \"{rip}\"\n");
        }
    }
    let file = lab.director.path("many.toml");
    fs::write(&file, config).expect("the lab's folder is writable");
    let daemon = lab.director.start_daemon_with(&format!("--config {}", file.display()));
    let targets = f64::from(services) * 3.0;
    eventually("every target is up", || {
        let up = metric(&lab.director.metrics(), "xvs_real_up");
        if up >= targets { Ok(()) } else { Err(format!("{up} of {targets}")) }
    });
    let (before, began, page) = (cpu_time(daemon.id()), Instant::now(), lab.director.metrics());
    thread::sleep(Duration::from_secs(seconds));
    let (after, elapsed, now) = (cpu_time(daemon.id()), began.elapsed(), lab.director.metrics());
    let grown = |name: &str| metric(&now, name) - metric(&page, name);
    let rate = grown("xvs_check_runs_total") / elapsed.as_secs_f64();
    let cores = after.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64();
    let (late, missed) = (grown("xvs_check_late_total"), grown("xvs_check_missed_total"));
    println!("{rate:.0} checks a second, {cores:.2} cores, {late} late, {missed} missed");
    assert!(rate > targets * 0.95, "{rate} checks a second for {targets} targets");
    assert!(cores < 1.0, "{cores} cores");
    // An interval late: the acceptance of the checks. The machine of the tests has other work.
    assert!(missed < rate * 0.01 || !is_full() && missed < rate, "{missed} missed, {late} late");
    let up = metric(&now, "xvs_real_up");
    assert!(up >= targets, "{up} of {targets} are up");
}

/// Two thirds of the reals of a service fail at once: each is out soon after the probe that decides.
#[test]
fn many_reals_that_fail_at_once_are_out_at_once() {
    // The daemon keeps 1,000 events.
    let (ports, longest) = if is_full() { (495, 500) } else { (10, 1500) };
    let lab = Lab::new();
    for real in &lab.reals {
        accept_all(real, ports);
        real.ip(&format!("route replace default via {DIP}"));
    }
    let mut config =
        "[[check]]\nname = \"tcp\"\ntype = \"tcp\"\ninterval = \"1s\"\ntimeout = \"500ms\"\n".to_owned();
    let _ = write!(
        config,
        "[[service]]\nprotocol = \"tcp\"\naddress = \"{VIP}:80\"\nscheduler = \"mh\"\ncheck = [\"tcp\"]\n"
    );
    for rip in RIPS {
        for port in FIRST..FIRST + ports {
            let _ = write!(config, "[[service.real]]\naddress = \"{rip}:{port}\"\nforward = \"nat\"\n");
        }
    }
    let file = lab.director.path("many.toml");
    fs::write(&file, &config).expect("the lab's folder is writable");
    let _daemon = lab.director.start_daemon_with(&format!("--config {}", file.display()));
    let up = |expected: u16| {
        eventually(&format!("{expected} targets are up"), || {
            let up = metric(&lab.director.metrics(), "xvs_real_up");
            if (up - f64::from(expected)).abs() < 0.5 { Ok(()) } else { Err(format!("{up}")) }
        });
    };
    up(3 * ports);
    for real in &lab.reals[..2] {
        real.sh("nft add chain ip lab cut { type filter hook prerouting priority -300; policy drop; }")
            .succeeds();
    }
    up(ports);
    let mut delays: Vec<u64> = Vec::new();
    for event in lab.director.xvs("events").succeeds().stdout.lines() {
        let event: Value = serde_json::from_str(event).expect("a JSON object a line");
        if event["to"] == "down" {
            // The daemon publishes the event when the maps are written.
            let (at, probe) = (event["time_ms"].as_u64(), event["last"]["at_ms"].as_u64());
            delays.push(at.expect("a number") - probe.expect("a number"));
        }
    }
    delays.sort_unstable();
    let (median, last) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    println!(
        "{} reals are out {median} ms after their last probe in the median, {last} ms at most",
        delays.len()
    );
    assert_eq!(delays.len(), usize::from(2 * ports));
    assert!(last <= longest, "{last} ms");
}
