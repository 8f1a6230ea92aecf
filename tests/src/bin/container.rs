// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root file system of the container and its compose file, with podman in a Debian system, as the director of a
//! lab: start, balance, stop, start again, detach.
//!
//! podman stands for docker, whose daemon would need a machine of its own: the compose file, the capabilities, the
//! read-only root and a seccomp profile are those of a container, but for control groups.
//!
//! Run by `cargo xtask test-dist`. The arguments are the archive of the root file system, the compose file, the config
//! file, and the root folder of the system, which is changed.
#![expect(clippy::print_stdout, reason = "it is here to show something")]

use std::{fs, net::SocketAddrV4, path::Path, time::Instant};

use lb_tests::lab::{CLIENT, Lab, Machine, Method, Outcome, RIPS, VIP, eventually};

/// Limit of open files in the compose file.
const NOFILE: u32 = 65_536;
/// Capabilities of the container, as podman lists them, and its root file system.
const BOUNDS: &str = "[CAP_BPF CAP_KILL CAP_NET_ADMIN CAP_NET_RAW CAP_PERFMON CAP_SETGID CAP_SETPCAP CAP_SETUID \
                      CAP_SYS_ADMIN] read-only true";
/// Requests after each step.
const REQUESTS: usize = 50;
/// Settings of podman for a system within another one: no layers of file systems, and no control groups, for which crun
/// would raise a limit.
const SETTINGS: [(&str, &str); 2] = [
    (
        "storage.conf",
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"/var/lib/containers\"\nrunroot = \"/run/containers\"\n",
    ),
    (
        "containers.conf",
        "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n[containers]\ncgroups = \"disabled\"\nlog_driver = \"k8s-file\"\n",
    ),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [archive, compose, config, root] = &words[..] else {
        panic!("usage: container ARCHIVE COMPOSE-FILE CONFIG-FILE ROOT");
    };
    let inside = |path: &str| Path::new(root).join(path);
    fs::create_dir_all(inside("etc/xvs")).expect("the system is ours");
    fs::create_dir_all(inside("etc/containers")).expect("the system is ours");
    for (from, to) in
        [(archive, "root/xvs-rootfs.tar"), (compose, "root/compose.yaml"), (config, "etc/xvs/xvs.toml")]
    {
        fs::copy(from, inside(to)).expect("the files are there");
    }
    for (name, text) in SETTINGS {
        fs::write(inside("etc/containers").join(name), text).expect("the system is ours");
    }
    let lab = Lab::new();
    let _nginx = lab.reals.each_ref().map(|real| {
        real.set_up(Method::Dr);
        real.start_nginx(&[80])
    });
    lab.director.ip(&format!("route add default via {CLIENT} dev eth0"));
    let machine = Machine::boot(&lab.director, root);
    lower_limits(&machine);
    let began = Instant::now();
    let step = |what: &str| println!("{:5.1} s  {what}", began.elapsed().as_secs_f64());
    let compose = |line: &str| {
        machine.sh(&format!(
            "cd /root && PYTHONPATH=/opt/podman-compose python3 -m podman_compose -f compose.yaml {line}"
        ))
    };
    let xvs = |line: &str| machine.sh(&format!("podman exec root_xvs_1 /usr/bin/xvs {line}"));
    let is_ready = || eventually("the daemon answers", || failed(&xvs("status")));
    let requests = || {
        lab.client.requests(SocketAddrV4::new(VIP, 80), REQUESTS).is_complete(REQUESTS);
    };

    let entry = r#"'ENTRYPOINT ["/usr/bin/xvs"]'"#;
    machine.sh(&format!("podman import --change {entry} /root/xvs-rootfs.tar xvs")).succeeds();
    machine.sh("mkdir -p /var/lib/xvs /run/xvs").succeeds();
    compose("up -d").succeeds();
    is_ready();
    let inspect =
        "podman inspect --format '{{.BoundingCaps}} read-only {{.HostConfig.ReadonlyRootfs}}' root_xvs_1";
    machine.sh(inspect).succeeds().says(BOUNDS);
    let reals: Vec<String> = RIPS.iter().map(|rip| format!("--real {rip}")).collect();
    for line in [
        "check add web http --interval 200ms --timeout 200ms".to_owned(),
        "check add direct tcp --via direct --interval 200ms --timeout 200ms".to_owned(),
        format!("service add tcp {VIP}:80 --check web --check direct {}", reals.join(" ")),
    ] {
        xvs(&line).succeeds();
    }
    eventually("every real is up", || {
        let list = xvs(&format!("--output json real list tcp {VIP}:80"));
        if list.stdout.matches("\"up\"").count() >= RIPS.len() { Ok(()) } else { Err(list.to_string()) }
    });
    requests();
    step("started by the compose file: a service with checks by path and direct ones");

    compose("stop").succeeds();
    xvs("status").ends_without_success();
    requests();
    step("stopped: forwarding goes on");
    compose("start").succeeds();
    is_ready();
    xvs(&format!("real list tcp {VIP}:80")).succeeds().says(&RIPS[0].to_string());
    requests();
    step("started again: the services are those of before");

    compose("down").succeeds();
    compose("run --rm xvs detach").succeeds();
    lab.director.sh("ip -details link show eth0").succeeds().does_not_say("prog/xdp");
    lab.client.sh(&format!("curl --silent --max-time 1 http://{VIP}/")).ends_without_success();
    step("detached: forwarding has ended");
}

/// Adapts the compose file to a machine whose root may not raise limits of processes. podman would raise that of their
/// number by itself.
fn lower_limits(machine: &Machine<'_>) {
    let limit = |letter: char| machine.sh(&format!("ulimit -H{letter}")).succeeds().stdout.trim().to_owned();
    let (files, processes) = (limit('n'), limit('p'));
    if files.parse::<u32>().is_ok_and(|files| files < NOFILE) {
        println!("this machine allows {files} open files, not {NOFILE}");
        let limits = format!("nofile: {files}\\n      nproc: {processes}");
        machine.sh(&format!("sed -i 's/nofile: {NOFILE}/{limits}/' /root/compose.yaml")).succeeds();
    }
}

fn failed(outcome: &Outcome) -> Result<(), String> {
    if outcome.is_success() { Ok(()) } else { Err(outcome.to_string()) }
}
