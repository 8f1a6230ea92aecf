// SPDX-License-Identifier: MIT OR Apache-2.0
//! The director: the daemon, and its command line.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    ops::Deref,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use super::{Host, Layout, Method, Outcome, Process, RIPS, VIP, eventually};
use crate::artifacts;

/// Address of the daemon's metrics, inside the director's namespace.
pub const METRICS: &str = "127.0.0.1:9471";

/// Address of the API, the metrics and the status page, inside the director's namespace.
pub const HTTP: &str = "127.0.0.1:9472";

/// Address on which the daemon answers agents.
pub const API: &str = "10.0.0.1:9470";

/// The machine that runs xvs.
pub struct Director {
    host: Host,
    interfaces: &'static [&'static str],
    state: PathBuf,
}

/// Output of `xvs --output json stats`.
#[derive(Clone, Debug, Deserialize)]
pub struct Stats {
    /// All services.
    pub services: Vec<ServiceStats>,
    /// Every reason that was counted.
    pub reasons: Vec<ReasonStats>,
}

/// One service in [`Stats`].
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceStats {
    /// `tcp`, `udp`…
    pub protocol: String,
    /// VIP and port.
    pub address: String,
    /// Counters of the service.
    #[serde(flatten)]
    pub count: Counters,
    /// The reals of the service, with their counters.
    pub reals: Vec<RealStats>,
}

/// One real of a service in [`Stats`].
#[derive(Clone, Debug, Deserialize)]
pub struct RealStats {
    /// RIP and port.
    pub address: String,
    /// The MAC address that packets for it are sent to, or why they are not.
    pub next_hop: String,
    /// Counters of the real.
    #[serde(flatten)]
    pub count: Counters,
}

/// The counters of a service or a real.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[expect(missing_docs, reason = "these are the product's names: docs/metrics explains them")]
pub struct Counters {
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    pub new_flows: u64,
    pub active_flows: u64,
}

/// One reason in [`Stats`].
#[derive(Clone, Debug, Deserialize)]
pub struct ReasonStats {
    /// Name of the reason, the same in every interface.
    pub reason: String,
    /// Number of packets with this reason.
    pub packets: u64,
}

impl Director {
    pub(super) fn new(host: Host, layout: Layout) -> Self {
        let interfaces: &[_] = match layout {
            Layout::OneArm => &["eth0"],
            Layout::TwoArm => &["eth0", "eth1"],
        };
        let state = host.path("state");
        Self { host, interfaces, state }
    }

    /// Keeps the state in that file, from the next start on.
    pub fn keep_state_in(&mut self, file: PathBuf) {
        self.state = file;
    }

    /// Attaches to these interfaces alone, from the next start on.
    pub fn attach_to(&mut self, interfaces: &'static [&'static str]) {
        self.interfaces = interfaces;
    }

    /// Runs `xvs detach` after the daemon has stopped.
    #[track_caller]
    pub fn detach(&self) {
        let (bpffs, state) = (self.bpffs(), self.state());
        self.xvs(&format!("detach --bpffs {} --state {}", bpffs.display(), state.display())).succeeds();
    }

    /// Starts the daemon, and waits until it answers.
    #[track_caller]
    pub fn start_daemon(&self) -> Process {
        self.start_daemon_with("")
    }

    /// Starts the daemon with further options, and waits until it is ready.
    #[track_caller]
    pub fn start_daemon_with(&self, options: &str) -> Process {
        let mut daemon = self.start_daemon_at_once(options);
        daemon.is_ready_when(|| {
            let status = self.xvs("status");
            if status.is_success() { Ok(()) } else { Err(status.to_string()) }
        });
        daemon
    }

    /// Starts the daemon with further options, without waiting.
    #[track_caller]
    pub fn start_daemon_at_once(&self, options: &str) -> Process {
        let run = self.run_line(options);
        let mut command = Command::new(artifacts::xvs());
        self.host.start("xvs", command.args(run.split_whitespace()))
    }

    /// Starts the daemon with its stderr going to `file`, without waiting: a device, a pipe that has a
    /// reader, or a file.
    #[track_caller]
    pub fn start_daemon_that_logs_to(&self, file: &Path) -> Process {
        let (xvs, run) = (artifacts::xvs(), self.run_line(""));
        let line = format!("exec {} {run} 2> {}", xvs.display(), file.display());
        self.host.start("xvs", Command::new("sh").args(["-c", &line]))
    }

    /// Makes the token that agents must show, and returns its file.
    #[track_caller]
    pub fn token(&self) -> PathBuf {
        let path = self.host.path("token");
        fs::write(&path, "the-lab-has-no-secrets\n").expect("the lab's folder is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
        path
    }

    /// Starts the daemon with the API for agents.
    #[track_caller]
    pub fn start_daemon_for_agents(&self) -> Process {
        self.start_daemon_with(&format!("--api {API} --api-token-file {}", self.token().display()))
    }

    /// Starts a daemon that must fail, and waits for its end.
    #[track_caller]
    pub fn refused_daemon(&self) -> Outcome {
        self.refused_daemon_with("")
    }

    /// Starts a daemon with more options that must fail, and waits for its end.
    #[track_caller]
    pub fn refused_daemon_with(&self, options: &str) -> Outcome {
        let run = self.run_line(options);
        self.host.sh(&format!("{} {run}", artifacts::xvs().display()))
    }

    fn run_line(&self, options: &str) -> String {
        // Packets that a test did not send would count, unless it is about them.
        let doctor = if options.contains("--doctor-every") { "" } else { "--doctor-every 0s" };
        let interfaces: Vec<_> = self.interfaces.iter().map(|name| format!("--interface {name}")).collect();
        format!(
            "--socket {} run {} --bpffs {} --state {} --metrics {METRICS} {doctor} {options}",
            self.socket().display(),
            interfaces.join(" "),
            self.bpffs().display(),
            self.state().display(),
        )
    }

    /// Runs the command line: `xvs("service list")`. Words are separated by spaces.
    #[track_caller]
    pub fn xvs(&self, line: &str) -> Outcome {
        self.host.exec_as(&format!("xvs {line}"), &self.xvs_words(line))
    }

    /// Returns the words of that command line, to be started as [`Host::exec`] describes.
    pub fn xvs_words(&self, line: &str) -> Vec<PathBuf> {
        let words = [artifacts::xvs(), "--socket".into(), self.socket()].into_iter();
        words.chain(line.split_whitespace().map(PathBuf::from)).collect()
    }

    /// Adds a service at VIP:`port` with all three reals by one method.
    #[track_caller]
    pub fn serve(&self, protocol: &str, port: u16, scheduler: &str, method: Method, real_port: u16) {
        self.xvs(&format!("service add {protocol} {VIP}:{port} --scheduler {scheduler}")).succeeds();
        for rip in RIPS {
            self.add_real(protocol, port, rip, real_port, method, 100);
        }
    }

    /// Adds a real to the service at VIP:`port`.
    #[track_caller]
    pub fn add_real(
        &self,
        protocol: &str,
        port: u16,
        rip: Ipv4Addr,
        real_port: u16,
        method: Method,
        weight: u32,
    ) {
        let real = SocketAddrV4::new(rip, real_port);
        let forward = method.as_str();
        let line = format!("real add {protocol} {VIP}:{port} {real} --forward {forward} --weight {weight}");
        self.xvs(&line).succeeds();
        self.wait_for_next_hops();
    }

    /// Waits until the daemon knows the next hop of every real. Until then the director drops packets for the
    /// real, and a client waits a second before it sends again.
    #[track_caller]
    pub fn wait_for_next_hops(&self) {
        eventually("every real has a next hop", || {
            let stats = self.stats();
            let mut reals = stats.services.iter().flat_map(|service| &service.reals);
            match reals.find(|real| real.next_hop.split(':').count() != 6) {
                None => Ok(()),
                Some(real) => Err(format!("{}: {}", real.address, real.next_hop)),
            }
        });
    }

    /// Returns the director's counters.
    #[track_caller]
    pub fn stats(&self) -> Stats {
        let outcome = self.xvs("--output json stats").succeeds();
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("stats: {error}\n{outcome}"))
    }

    /// Returns the page that Prometheus reads.
    #[track_caller]
    pub fn metrics(&self) -> String {
        self.host.sh(&format!("curl --silent --fail http://{METRICS}/metrics")).succeeds().stdout
    }

    /// Returns the path of the daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.host.path("sock")
    }

    /// Returns the path of the daemon's state file.
    pub fn state(&self) -> PathBuf {
        self.state.clone()
    }

    /// Returns the bpffs in which the daemon pins its programs and maps.
    pub fn bpffs(&self) -> PathBuf {
        self.host.folder().join("bpf").join(self.host.name())
    }
}

impl Deref for Director {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Stats {
    /// Returns the service at VIP:`port`.
    #[track_caller]
    pub fn service(&self, protocol: &str, port: u16) -> &ServiceStats {
        let address = SocketAddrV4::new(VIP, port).to_string();
        let found = self.services.iter().find(|one| one.protocol == protocol && one.address == address);
        found.unwrap_or_else(|| panic!("no service {protocol} {address} in {self:#?}"))
    }

    /// Returns the number of packets with a reason.
    pub fn reason(&self, name: &str) -> u64 {
        self.reasons.iter().find(|one| one.reason == name).map_or(0, |one| one.packets)
    }
}

impl ServiceStats {
    /// Returns the counters of the real at `rip`.
    #[track_caller]
    pub fn real(&self, rip: Ipv4Addr) -> Counters {
        let found = self.reals.iter().find(|one| one.address.starts_with(&format!("{rip}:")));
        found.unwrap_or_else(|| panic!("no real {rip} in {self:#?}")).count
    }
}
