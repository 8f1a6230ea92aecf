// SPDX-License-Identifier: MIT OR Apache-2.0
//! Types of `GET /v1/live`: a snapshot of all that a live view shows, and what changed a second later.
//!
//! Services and reals keep their places between two snapshots, so that a change names them by index. A change
//! of the set of services or reals is a new snapshot.
#![forbid(unsafe_code)]

mod difference; // changes from one moment to the next

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    config::ConfigStatus,
    types::{DoctorView, InterfaceStatus},
};
use lb_control::state::Totals;
use lb_model::{
    Forward, ServiceId,
    health::{Admin, Health},
};

/// Data of a live view at one moment: the event `snapshot`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Live {
    /// Number of the event; the next change has the next number.
    pub number: u64,
    /// Time, in milliseconds since 1970.
    pub time_ms: u64,
    /// State of the daemon, at most some seconds old.
    pub daemon: LiveDaemon,
    /// Services, in the order of `xvs service list`.
    pub services: Vec<LiveService>,
    /// Packets by reason, of all services and of no service; reasons without packets are left out.
    pub reasons: Vec<LiveReason>,
    /// Last findings of the doctor, at most some seconds old; `None` before its first run.
    pub doctor: Option<LiveDoctor>,
}

/// State of the daemon.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LiveDaemon {
    /// Version of xvs.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Start of the daemon, in seconds since 1970.
    pub start_time_seconds: u64,
    /// Interfaces to which the program is attached.
    pub interfaces: Vec<InterfaceStatus>,
    /// Number of tracked IPv4 flows.
    pub flows: u64,
    /// Size of the IPv4 flow table.
    pub max_flows: u32,
    /// Number of tracked IPv6 flows.
    pub flows6: u64,
    /// Size of the IPv6 flow table.
    pub max_flows6: u32,
    /// Number of problems.
    pub problem_count: usize,
    /// The first [`LiveDaemon::PROBLEMS`] problems, one line each, as `xvs status` shows them.
    pub problems: Vec<String>,
    /// Config file of `xvs run`, if it has services.
    pub config: Option<ConfigStatus>,
}

impl LiveDaemon {
    /// Maximum number of problems in an event; `xvs status` shows all of them.
    pub const PROBLEMS: usize = 50;
}

/// A finding of the doctor in one line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LiveFinding {
    /// `error` or `warning`.
    pub severity: String,
    /// Check that found the fault.
    pub check: String,
    /// Affected service, and the real if the fault is about one.
    pub about: Option<String>,
    /// Fault, and how it was detected.
    pub cause: String,
    /// Command line that fixes the fault.
    pub fix: String,
}

/// Findings of the doctor.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LiveDoctor {
    /// Number of findings.
    pub count: usize,
    /// Services or reals have changed since.
    pub is_outdated: bool,
    /// The first [`LiveDoctor::FINDINGS`] findings.
    pub findings: Vec<LiveFinding>,
}

impl LiveDoctor {
    /// Maximum number of findings in an event; `xvs doctor` shows all of them.
    pub const FINDINGS: usize = 50;
}

impl From<&DoctorView> for LiveDoctor {
    fn from(view: &DoctorView) -> Self {
        let findings = view.findings.iter().take(Self::FINDINGS).map(|finding| LiveFinding {
            severity: finding.severity.as_str().to_owned(),
            check: finding.check.clone(),
            about: finding.about(),
            cause: finding.cause.clone(),
            fix: finding.fix.clone(),
        });
        Self { count: view.findings.len(), is_outdated: view.is_outdated, findings: findings.collect() }
    }
}

/// A service.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LiveService {
    /// Name, such as `tcp 192.0.2.100:80` or `group 7`.
    pub name: String,
    /// `protocol` and `address`, or `group`, as in a change.
    pub service: ServiceId,
    /// Scheduler.
    pub scheduler: String,
    /// State of the pool.
    pub state: ServiceState,
    /// Rates and connections.
    pub load: Load,
    /// Packets that were not forwarded, by reason; reasons without packets are left out.
    pub reasons: Vec<LiveReason>,
    /// Reals, in the order of their addresses.
    pub reals: Vec<LiveReal>,
}

/// State of the pool of a service.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServiceState {
    /// Number of reals that get new connections.
    pub serving: usize,
    /// Number of reals whose checks fail.
    pub down: usize,
    /// State of the pool: `normal`, `ignored`, `with-backup`, `backup` or `all-down`.
    pub pool: String,
}

/// A real.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LiveReal {
    /// RIP and port.
    pub address: SocketAddr,
    /// Forward method.
    pub forward: Forward,
    /// The real serves only if the others are down.
    pub backup: bool,
    /// State of the real.
    pub state: RealState,
    /// Rates and connections.
    pub load: Load,
}

/// State of a real.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RealState {
    /// State in two words at most: `up`, `down`, `draining`, `drained`, `disabled`, `no answer`, `weight 0`,
    /// `checking` or `standby`.
    pub word: String,
    /// State as the operator set it.
    pub admin: Admin,
    /// Configured weight.
    pub weight: u32,
    /// Weight that is in force.
    pub effective_weight: u32,
    /// State by the checks; `None` without checks.
    pub health: Option<Health>,
    /// Latest result of the checks, such as `L7STS HTTP 500`.
    pub last: Option<String>,
    /// Time of the last change of the health, in seconds since 1970; 0 without one.
    pub since_seconds: u64,
    /// Reason why packets cannot be sent to the real.
    pub unreachable: Option<String>,
}

/// Rates per second in the last interval, and numbers of connections.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Load {
    /// Packets from clients per second.
    pub packets_in: u64,
    /// Packets to clients through the director per second (`nat`, `fnat`).
    pub packets_out: u64,
    /// IP bytes from clients per second.
    pub bytes_in: u64,
    /// IP bytes to clients through the director per second.
    pub bytes_out: u64,
    /// New connections per second.
    pub connections: u64,
    /// Connections that are opening or established; `None` if the flow table does not have each of them.
    pub active: Option<u64>,
    /// Connections that are closing, and UDP flows.
    pub inactive: Option<u64>,
}

impl Load {
    /// Returns the rates between two readings of counters; the numbers of connections stay `None`.
    #[must_use]
    pub fn between(before: &Totals, now: &Totals, millis: u64) -> Self {
        let rate = |before: u64, now: u64| {
            // A counter that decreased belongs to another real with the same id.
            let scaled = u128::from(now.saturating_sub(before)) * 1000;
            let millis = u128::from(millis.max(1));
            u64::try_from((scaled + millis / 2) / millis).unwrap_or(u64::MAX)
        };
        Self {
            packets_in: rate(before.packets_in, now.packets_in),
            packets_out: rate(before.packets_out, now.packets_out),
            bytes_in: rate(before.bytes_in, now.bytes_in),
            bytes_out: rate(before.bytes_out, now.bytes_out),
            connections: rate(before.new_flows, now.new_flows),
            active: None,
            inactive: None,
        }
    }

    /// Adds the rates of another load.
    pub const fn add_rates(&mut self, other: &Self) {
        self.packets_in += other.packets_in;
        self.packets_out += other.packets_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.connections += other.connections;
    }
}

/// Packets of a reason.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LiveReason {
    /// Name of the reason in docs/reasons.md.
    pub reason: String,
    /// Fate of the packets: `sent`, `passed`, `dropped` or `answered`.
    pub fate: String,
    /// Packets per second in the last interval.
    pub rate: u64,
    /// Number of packets.
    pub packets: u64,
}

/// Difference between two moments: the event `change`. What is absent has not changed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LiveChange {
    /// Number of the event.
    pub number: u64,
    /// Time, in milliseconds since 1970.
    pub time_ms: u64,
    /// State of the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon: Option<LiveDaemon>,
    /// Changed services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceChange>,
    /// Packets by reason, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<LiveReason>>,
    /// Last findings of the doctor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doctor: Option<LiveDoctor>,
}

/// Changes of a service.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ServiceChange {
    /// Place of the service in the snapshot, from 0 on.
    pub index: usize,
    /// State of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ServiceState>,
    /// Rates and connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// Packets by reason, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<LiveReason>>,
    /// Changed reals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reals: Vec<RealChange>,
}

/// Changes of a real.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct RealChange {
    /// Place of the real in its service, from 0 on.
    pub index: usize,
    /// State of the real.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RealState>,
    /// Rates and connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
}
