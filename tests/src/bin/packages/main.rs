// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Debian package in Debian systems with systemd, as the director and as a real server of a lab: install, start,
//! balance, alert, upgrade, fail, remove, purge.
//!
//! Run by `cargo xtask test-dist`. The arguments are the package, one with a higher version, and the root folder of
//! the system, which is changed. The system of the real server is a copy beside it.
#![expect(clippy::print_stdout, reason = "it is here to show something")]

mod acceptance;
mod agent;

use std::{
    fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use lb_tests::lab::{CLIENT, Host, Lab, Machine, Method, Options, RIPS, VIP, eventually};

/// Requests after each step.
const REQUESTS: usize = 50;
/// Seconds for which wrk sends while the package is upgraded.
const LOAD: u32 = 12;
/// Paths that a package may leave behind: the records of apt, dpkg and systemd, logs, and caches.
const NOT_OURS: [&str; 7] = [
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/systemd",
    "/var/log",
    "/var/cache",
    "/root",
    "/usr/share/mime",
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [package, newer, root] = &words[..] else {
        panic!("usage: packages PACKAGE NEWER-PACKAGE ROOT");
    };
    for (from, to) in [(package, "old.deb"), (newer, "new.deb")] {
        fs::copy(from, Path::new(root).join("root").join(to)).expect("the packages are there");
    }
    // Before the first boot, so that both are new.
    let root_of_real = PathBuf::from(format!("{root}-real"));
    let copy = Command::new("cp").arg("-a").arg(root).arg(&root_of_real).status();
    assert!(copy.is_ok_and(|status| status.success()), "cannot copy {root}");
    let lab = Lab::with(Options { more_reals: 1, ..Options::default() });
    let _nginx = lab.reals.each_ref().map(|real| {
        real.set_up(Method::Dr);
        real.start_nginx(&[80])
    });
    // The package's own configuration finds the interface by this route.
    lab.director.ip(&format!("route add default via {CLIENT} dev eth0"));
    let machine = Machine::boot(&lab.director, root);
    let before = files(&machine);
    let began = Instant::now();
    let step = |what: &str| println!("{:5.1} s  {what}", began.elapsed().as_secs_f64());

    acceptance::first_service(&lab, &machine);
    step("installed, started with the configuration of the package, a checked service: four commands");
    acceptance::dead_real(&lab, &machine);
    step("a real was switched off: the page, xvs top and an alert in Prometheus show it");
    checks(&machine);
    step("health checks by path and by command work in the sandbox");
    upgrade(&lab, &machine);
    step("upgraded under wrk: no request failed");
    watchdog(&lab, &machine);
    step("a daemon that hangs is restarted, and forwarding goes on");
    wrong_config(&lab, &machine);
    step("a wrong configuration is named in the journal, and forwarding goes on");
    agent::follows(&lab, &machine, &root_of_real);
    step("a real server follows its director by the unit of the agent, until the package is removed");
    remove(&lab, &machine);
    step("removed: forwarding has ended");
    machine.sh("dpkg --purge xvs").succeeds();
    is_as_before(&machine, &before);
    machine.sh("getent group xvs").ends_without_success();
    step("purged: nothing is left");
}

/// Returns the files of the system, without those of others, and the pins.
fn files(machine: &Machine<'_>) -> Vec<String> {
    let skip: Vec<String> = NOT_OURS.iter().map(|path| format!("-path {path} -prune")).collect();
    let line = format!(
        "find / -xdev \\( {} \\) -o -print | sort; find /run/xvs* /sys/fs/bpf/* 2>&-; true",
        skip.join(" -o ")
    );
    let found = machine.sh(&line).succeeds().stdout;
    // dpkg and the tools for users keep a copy of what they change, and the linker has a cache.
    let other = |line: &str| {
        line.ends_with('-')
            || ["/etc/ld.so", "/etc/systemd", "/etc/.pwd.lock", "/var/tmp"]
                .iter()
                .any(|start| line.starts_with(start))
    };
    found.lines().filter(|line| !other(line)).map(str::to_owned).collect()
}

/// Asserts that a purge has left nothing, and has removed nothing else.
fn is_as_before(machine: &Machine<'_>, before: &[String]) {
    let now = files(machine);
    let more: Vec<&String> = now.iter().filter(|file| !before.contains(file)).collect();
    let less: Vec<&String> = before.iter().filter(|file| !now.contains(file)).collect();
    assert!(more.is_empty() && less.is_empty(), "a purge has left {more:?} and has removed {less:?}");
}

fn property(machine: &Machine<'_>, unit: &str, name: &str) -> String {
    machine.sh(&format!("systemctl show --value --property {name} {unit}")).succeeds().stdout
}

/// Has the client send requests, each of which must be answered.
fn requests(lab: &Lab) {
    lab.client.requests(SocketAddrV4::new(VIP, 80), REQUESTS).is_complete(REQUESTS);
}

/// Installs the package of before the upgrade.
fn install_old(machine: &Machine<'_>) {
    machine.sh("dpkg --install /root/old.deb").succeeds();
}

fn checks(machine: &Machine<'_>) {
    machine.sh("xvs check edit web --interval 200ms --timeout 200ms").succeeds();
    machine.sh("xvs check add command exec --interval 200ms --timeout 200ms -- /bin/true").succeeds();
    machine.sh(&format!("xvs service edit tcp {VIP}:80 --check web --check command")).succeeds();
    eventually("every real is up", || {
        let list = machine.sh(&format!("xvs --output json real list tcp {VIP}:80")).succeeds();
        let up = list.stdout.matches("\"up\"").count();
        if up >= RIPS.len() { Ok(()) } else { Err(list.to_string()) }
    });
}

/// Runs wrk on the client while `during` runs, and returns what it printed. Each request has a connection of its own.
fn under_load(client: &Host, during: impl FnOnce()) -> String {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--connections", "20", "--timeout", "5s", "--header", "Connection: close"]);
    wrk.arg("--duration").arg(format!("{LOAD}s")).arg(format!("http://{VIP}/"));
    let mut process = client.start("wrk", &mut wrk);
    during();
    assert_eq!(process.ends(), Some(0));
    process.log()
}

fn upgrade(lab: &Lab, machine: &Machine<'_>) {
    let before = property(machine, "xvs", "MainPID");
    let printed = under_load(&lab.client, || {
        machine.sh("dpkg --install /root/new.deb").succeeds();
        let after = property(machine, "xvs", "MainPID");
        assert!(after != before && after != "0", "process {before}, then {after}");
        assert_eq!(property(machine, "xvs", "ActiveState"), "active");
    });
    println!("{}", printed.trim_end());
    assert!(!printed.contains("Socket errors") && !printed.contains("Non-2xx"), "{printed}");
    let requests =
        printed.lines().find_map(|line| line.trim().split_once(" requests in")?.0.parse::<u64>().ok());
    assert!(requests.is_some_and(|requests| requests > 100), "{printed}");
    machine.sh("xvs status").succeeds();
    machine.sh("dpkg-query --show --showformat '${Version}' xvs").succeeds().says("newer");
}

fn watchdog(lab: &Lab, machine: &Machine<'_>) {
    machine
        .sh("mkdir -p /run/systemd/system/xvs.service.d \
             && printf '[Service]\\nWatchdogSec=3\\n' > /run/systemd/system/xvs.service.d/test.conf \
             && systemctl daemon-reload && systemctl restart xvs")
        .succeeds();
    // A daemon that works outlives the limit several times.
    let started = property(machine, "xvs", "MainPID");
    std::thread::sleep(std::time::Duration::from_secs(8));
    assert_eq!(property(machine, "xvs", "MainPID"), started);
    machine.sh(&format!("kill -STOP {started}")).succeeds();
    requests(lab);
    eventually("systemd restarts the daemon", || match property(machine, "xvs", "NRestarts") {
        restarts if restarts == "0" => Err(restarts),
        _ => Ok(()),
    });
    machine.sh("journalctl --no-pager --unit xvs").succeeds().says("Watchdog timeout");
    machine
        .sh("rm -r /run/systemd/system/xvs.service.d && systemctl daemon-reload && systemctl restart xvs")
        .succeeds();
    requests(lab);
}

fn wrong_config(lab: &Lab, machine: &Machine<'_>) {
    machine.sh("cp /etc/xvs/xvs.toml /root/ && echo 'no-such-key = 1' >> /etc/xvs/xvs.toml").succeeds();
    machine.sh("systemctl restart xvs").ends_without_success();
    machine.sh("journalctl --no-pager --unit xvs").succeeds().says("no-such-key");
    requests(lab);
    machine.sh("cp /root/xvs.toml /etc/xvs/xvs.toml && systemctl restart xvs").succeeds();
    machine.sh("xvs status").succeeds();
}

fn remove(lab: &Lab, machine: &Machine<'_>) {
    let removed = machine.sh("dpkg --remove xvs").succeeds();
    machine.sh("test -e /etc/xvs/xvs.toml -a -e /var/lib/xvs/state.json").succeeds();
    // Some kernels put two files of their own into each bpffs (CONFIG_BPF_PRELOAD).
    let pins = machine.sh("find /sys/fs/bpf -type f ! -name '*.debug'").succeeds().stdout;
    assert_eq!(pins, "", "pins after {removed}");
    lab.director.sh("ip -details link show eth0").succeeds().does_not_say("prog/xdp");
    lab.director.sh("ip address show").succeeds().does_not_say(&VIP.to_string());
    lab.client.sh(&format!("curl --silent --max-time 1 http://{VIP}/")).ends_without_success();
}
