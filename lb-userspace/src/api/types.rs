// SPDX-License-Identifier: MIT OR Apache-2.0
//! Types of the API, and of `--output json`. The names of the fields are part of the API.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::{
    config::{ConfigStatus, Unconfirmed},
    follow::FollowView,
    health::{HealthView, PoolView},
    real_state::RealFacts,
};
use lb_control::{
    options::{CheckOptions, RealOptions, ServiceOptions},
    state::Totals,
};
use lb_dataplane::Mode;
use lb_model::standing::Role as DirectorRole;
use lb_model::{
    Endpoint, Forward, GroupId, OnRemoval, Persistence, Protocol, RealAddress, Scheduler, SchedulerFlag,
    ServiceId, Tracking, Tunnel,
    check::{CheckName, CheckType},
    finding::FindingView,
    health::Admin,
};

/// A change that an operator requests.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// Add a service.
    AddService {
        /// Service.
        service: ServiceId,
        /// Options of the service.
        options: ServiceOptions,
        /// The VIP is added even if another machine has it.
        #[serde(default)]
        take_over: bool,
    },
    /// Change a service; options that are not given stay.
    EditService {
        /// Service.
        service: ServiceId,
        /// Options of the service.
        options: ServiceOptions,
        /// The change is made although it ends connections that have no flow table entry.
        #[serde(default)]
        force: bool,
    },
    /// Remove a service and its reals.
    RemoveService {
        /// Service.
        service: ServiceId,
    },
    /// Add a real to a service.
    AddReal {
        /// Service.
        service: ServiceId,
        /// RIP and optional port.
        real: RealAddress,
        /// Options of the real.
        options: RealOptions,
    },
    /// Change a real; options that are not given stay.
    EditReal {
        /// Service.
        service: ServiceId,
        /// RIP and optional port.
        real: RealAddress,
        /// Options of the real.
        options: RealOptions,
    },
    /// Remove a real from a service.
    RemoveReal {
        /// Service.
        service: ServiceId,
        /// RIP and optional port.
        real: RealAddress,
    },
    /// Add endpoints to a group, which is created if necessary.
    AddToGroup {
        /// Number of the group.
        group: GroupId,
        /// Endpoints to add.
        endpoints: Vec<Endpoint>,
        /// VIPs are added even if other machines have them.
        #[serde(default)]
        take_over: bool,
    },
    /// Remove endpoints from a group; all of them if none is named.
    RemoveFromGroup {
        /// Number of the group.
        group: GroupId,
        /// Endpoints to remove.
        endpoints: Vec<Endpoint>,
    },
    /// Add a health check.
    AddCheck {
        /// Name of the check.
        name: CheckName,
        /// Type of the check.
        #[serde(rename = "type")]
        kind: CheckType,
        /// Options of the check.
        #[serde(default)]
        options: Box<CheckOptions>,
    },
    /// Change a health check; options that are not given stay.
    EditCheck {
        /// Name of the check.
        name: CheckName,
        /// Options of the check.
        options: Box<CheckOptions>,
    },
    /// Remove a health check that no service uses.
    RemoveCheck {
        /// Name of the check.
        name: CheckName,
    },
    /// Remove every service, every group and every check.
    Clear,
    /// Remove every service; groups stay, as firewall marks do.
    ClearServices,
}

/// An atomic batch of changes.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Together {
    /// Changes in order.
    pub changes: Vec<Change>,
    /// Existing services and reals are left unchanged, rather than refused.
    #[serde(default)]
    pub if_missing: bool,
}

/// An interface to which the program is attached again.
#[derive(clap::Args, Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct AttachOptions {
    /// One of the director's interfaces
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// XDP mode [default: the mode of `xvs run`]
    #[arg(long = "xdp-mode", value_name = "MODE")]
    pub mode: Option<Mode>,
}

/// Timeouts of idle flows, in seconds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct TimeoutView {
    /// Established TCP flows.
    pub tcp: u32,
    /// Closing TCP flows.
    pub tcp_fin: u32,
    /// UDP flows.
    pub udp: u32,
}

/// A group of endpoints.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct GroupView {
    /// Number of the group.
    pub group: GroupId,
    /// Endpoints of the group.
    pub endpoints: Vec<Endpoint>,
    /// A service uses the group.
    pub service: bool,
}

/// Result of a change.
#[derive(Clone, Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Done {
    /// Changes that were made, one line each.
    pub changes: Vec<String>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
}

impl Done {
    /// Adds a warning, if there is one.
    #[must_use]
    pub fn warn(mut self, warning: Option<String>) -> Self {
        self.warnings.extend(warning);
        self
    }
}

/// Status of the daemon.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Status {
    /// Version of xvs.
    pub version: String,
    /// Version of the maps' layout.
    pub schema: u32,
    /// Process id of the daemon.
    pub pid: u32,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// The daemon adopted the maps of an earlier run.
    pub adopted: bool,
    /// Number of instructions of the main program that the verifier processed.
    pub verified_instructions: Option<u32>,
    /// Interfaces to which the program is attached.
    pub interfaces: Vec<InterfaceStatus>,
    /// VIPs that the daemon added.
    pub vips: Vec<IpAddr>,
    /// Number of services.
    pub services: usize,
    /// Number of reals.
    pub reals: usize,
    /// Timeouts of idle flows.
    pub timeouts: TimeoutView,
    /// Number of tracked IPv4 flows.
    pub flows: u64,
    /// Size of the IPv4 flow table.
    pub max_flows: u32,
    /// Number of tracked IPv6 flows.
    #[serde(default)]
    pub flows6: u64,
    /// Size of the IPv6 flow table.
    #[serde(default)]
    pub max_flows6: u32,
    /// Number of places that the flow table has at present; it grows and shrinks by itself.
    #[serde(default)]
    pub flow_places: u32,
    /// Number of opening IPv4 connections, which are not in [`Status::flows`].
    #[serde(default)]
    pub opening_flows: u64,
    /// Number of opening IPv6 connections.
    #[serde(default)]
    pub opening_flows6: u64,
    /// Duration of the last sweep over all flows in seconds; 0 before the first one.
    pub sweep_seconds: f64,
    /// Number of log lines that could not be written since the daemon started.
    #[serde(default)]
    pub log_lines_lost: u64,
    /// Number of times that the daemon attached or pinned the program again after it was removed, since the
    /// daemon started.
    #[serde(default)]
    pub interface_repairs: u64,
    /// Problems, one line each.
    pub problems: Vec<String>,
    /// State of `xvs run --follow-ipvs`; `None` without it.
    #[serde(default)]
    pub follow: Option<FollowView>,
    /// Config file of `xvs run`, if it has services.
    #[serde(default)]
    pub config: Option<ConfigStatus>,
    /// Config that reverts unless it is confirmed.
    #[serde(default)]
    pub unconfirmed: Option<Unconfirmed>,
    /// Start of the daemon, in seconds since 1970.
    #[serde(default)]
    pub start_time_seconds: u64,
    /// Last findings of the doctor; `None` before its first run.
    #[serde(default)]
    pub doctor: Option<DoctorView>,
}

/// Whether the director can take over traffic, and its place among several.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct ReadyView {
    /// It can.
    pub ready: bool,
    /// The reasons why it cannot, one line each.
    pub reasons: Vec<String>,
    /// Its role, as the operator set it.
    pub role: DirectorRole,
    /// The operator has drained it.
    pub drained: bool,
}

/// Change of the place of the director among several; what is not said stays.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StandingChange {
    /// Whether the director is drained.
    pub drained: Option<bool>,
    /// Role.
    pub role: Option<DirectorRole>,
}

/// Findings of the doctor, and their age.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct DoctorView {
    /// Seconds since the end of the run.
    pub seconds_ago: u64,
    /// Duration of the run in seconds.
    pub took_seconds: f64,
    /// Services or reals have changed since.
    #[serde(default)]
    pub is_outdated: bool,
    /// Findings.
    pub findings: Vec<FindingView>,
}

impl ServiceView {
    /// Returns whether the flow table has an entry for each connection, so that connections can be counted.
    #[must_use]
    pub fn counts_flows(&self) -> bool {
        let has_entries = self.active_flows + self.inactive_flows > 0;
        let hashes = self.slots > 0 && self.persistence.is_none();
        let all_by_fnat =
            !self.reals.is_empty() && self.reals.iter().all(|real| real.forward == Forward::Fnat);
        has_entries || !hashes || self.tracking == Tracking::Full || all_by_fnat
    }
}

impl RealView {
    /// Returns the weight as IPVS shows it, where a real that takes no new connections has weight 0.
    #[must_use]
    pub const fn ipvs_weight(&self) -> u32 {
        if matches!(self.admin, Admin::Enabled) { self.weight } else { 0 }
    }

    /// Returns the weight in lists: `10`, or `0/10` if the effective weight is 0 and the configured one 10.
    #[must_use]
    pub fn weights(&self) -> String {
        if self.effective_weight == self.weight {
            return self.weight.to_string();
        }
        format!("{}/{}", self.effective_weight, self.weight)
    }

    /// Returns whether connections of the real are left.
    const fn has_flows(&self) -> bool {
        self.active_flows > 0 || self.slots > 0
    }

    /// Returns the state of the real, in two words at most.
    #[must_use]
    pub fn state(&self) -> &'static str {
        let facts = RealFacts {
            is_reachable: self.is_up || self.is_local,
            admin: self.admin,
            health: self.health.as_ref().map(|view| view.health),
            weight: self.weight,
            effective_weight: self.effective_weight,
            is_backup: self.backup,
            has_flows: self.has_flows(),
        };
        facts.word()
    }
}

/// An interface to which the program is attached.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct InterfaceStatus {
    /// Name of the interface.
    pub name: String,
    /// XDP mode: `native` or `generic`, or the reason why the program is not attached.
    pub mode: String,
}

/// A service with its counters and reals.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct ServiceView {
    /// `protocol` and `address`, or `group`.
    #[serde(flatten)]
    pub id: ServiceId,
    /// Endpoints of the service.
    pub endpoints: Vec<Endpoint>,
    /// Scheduler.
    pub scheduler: Scheduler,
    /// Flags of the scheduler.
    pub flags: BTreeSet<SchedulerFlag>,
    /// Choice of flows to track.
    pub tracking: Tracking,
    /// Persistence, if enabled.
    pub persistence: Option<Persistence>,
    /// One-packet scheduling: each UDP datagram is scheduled on its own.
    pub one_packet: bool,
    /// Fate of the connections of a removed real.
    pub on_removal: OnRemoval,
    /// Number of slots of a hashing scheduler.
    pub slots: u32,
    /// Number of slots in transition.
    pub slots_in_transition: u32,
    /// Counters of all reals, including removed ones.
    #[serde(flatten)]
    pub totals: Totals,
    /// Tracked flows that are opening or established.
    pub active_flows: u64,
    /// Tracked flows that are closing, and UDP flows, as IPVS counts them.
    pub inactive_flows: u64,
    /// Packets that were not forwarded, by reason; reasons without packets are left out.
    pub reasons: Vec<ReasonCount>,
    /// Health checks of the reals, and what follows from their results.
    #[serde(default)]
    pub health: PoolView,
    /// Reals, in the order in which they were added.
    pub reals: Vec<RealView>,
    /// Reals that were removed and still have connections.
    pub leaving: Vec<RealView>,
}

/// A real with its counters.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct RealView {
    /// RIP and port.
    pub address: SocketAddr,
    /// Forward method.
    pub forward: Forward,
    /// Weight.
    pub weight: u32,
    /// Number of connections at which the real gets no new ones; 0 means no limit.
    pub upper: u32,
    /// Number of connections below which an overloaded real gets new ones again; 0 means three quarters of
    /// `upper`.
    pub lower: u32,
    /// Encapsulation for `tun`.
    #[serde(default)]
    pub tunnel: Tunnel,
    /// Packets can be sent to the real.
    #[serde(default)]
    pub is_up: bool,
    /// Next hop, or the reason why there is none.
    pub next_hop: String,
    /// The director itself serves: the real is `local`, or has an address of the director.
    #[serde(default)]
    pub is_local: bool,
    /// Counters of the real.
    #[serde(flatten)]
    pub totals: Totals,
    /// Tracked flows that are opening or established.
    pub active_flows: u64,
    /// Tracked flows that are closing, and UDP flows, as IPVS counts them.
    pub inactive_flows: u64,
    /// Number of clients that persistence keeps on the real.
    pub persistent_clients: u64,
    /// Number of slots whose untracked flows are on the real; 0 if every flow is tracked.
    #[serde(default)]
    pub slots: u32,
    /// State of the real as the operator set it.
    #[serde(default)]
    pub admin: Admin,
    /// The real serves only if the others are down.
    #[serde(default)]
    pub backup: bool,
    /// Names of the checks of the real.
    #[serde(default)]
    pub checks: Vec<CheckName>,
    /// State by the checks; `None` without checks.
    #[serde(flatten)]
    pub health: Option<HealthView>,
    /// Weight that is in force: see docs/health.md.
    #[serde(default)]
    pub effective_weight: u32,
}

/// Packet count of a reason.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ReasonCount {
    /// Name of the reason in docs/reasons.md.
    pub reason: String,
    /// Number of packets.
    pub packets: u64,
}

/// All counters.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Stats {
    /// Counters by service.
    pub services: Vec<ServiceView>,
    /// Counts by reason, of all services and of packets of no service.
    pub reasons: Vec<ReasonCount>,
}

/// A tracked flow.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Connection {
    /// Protocol.
    pub protocol: Protocol,
    /// CIP and port.
    pub client: SocketAddr,
    /// VIP and port as the client sees them.
    pub service: SocketAddr,
    /// Group, for a persistence entry of a service with a group; then `service` is the group's number, as
    /// IPVS shows a mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// RIP and port.
    pub real: SocketAddr,
    /// `SYN_RECV`, `ESTABLISHED`, `FIN_WAIT`, `CLOSE` or `UDP`.
    pub state: String,
    /// Seconds since its last packet.
    pub idle_seconds: u64,
    /// Seconds until it ends if no packet comes.
    pub expires_seconds: u64,
}
