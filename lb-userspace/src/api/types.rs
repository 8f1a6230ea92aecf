// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes over the API, and what `--output json` prints. Field names are API.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use crate::{
    control::{
        options::{RealOptions, ServiceOptions},
        state::Totals,
    },
    dataplane::Mode,
    model::{
        Endpoint, Forward, GroupId, OnRemoval, Persistence, Protocol, RealAddress, Scheduler, SchedulerFlag,
        ServiceId, Tracking, Tunnel, finding::Finding,
    },
};

/// A change that an operator asks for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// Add a service.
    AddService {
        /// Which.
        service: ServiceId,
        /// What was said of it.
        options: ServiceOptions,
        /// Whether its VIP is taken from a machine that has it.
        #[serde(default)]
        take_over: bool,
    },
    /// Change a service; what is not said stays.
    EditService {
        /// Which.
        service: ServiceId,
        /// What was said of it.
        options: ServiceOptions,
    },
    /// Remove a service and its reals.
    RemoveService {
        /// Which.
        service: ServiceId,
    },
    /// Add a real to a service.
    AddReal {
        /// Which service.
        service: ServiceId,
        /// The RIP and perhaps a port.
        real: RealAddress,
        /// What was said of it.
        options: RealOptions,
    },
    /// Change a real; what is not said stays.
    EditReal {
        /// Which service.
        service: ServiceId,
        /// The RIP and perhaps a port.
        real: RealAddress,
        /// What was said of it.
        options: RealOptions,
    },
    /// Remove a real from a service.
    RemoveReal {
        /// Which service.
        service: ServiceId,
        /// The RIP and perhaps a port.
        real: RealAddress,
    },
    /// Add endpoints to a group, which is made if it is not there.
    AddToGroup {
        /// Its number.
        group: GroupId,
        /// What to add.
        endpoints: Vec<Endpoint>,
        /// Whether VIPs are taken from machines that have them.
        #[serde(default)]
        take_over: bool,
    },
    /// Remove endpoints from a group; all of them if none is named.
    RemoveFromGroup {
        /// Its number.
        group: GroupId,
        /// What to remove.
        endpoints: Vec<Endpoint>,
    },
    /// Remove every service and every group.
    Clear,
    /// Remove every service; groups stay, as firewall marks do.
    ClearServices,
}

/// Changes that are made all or none.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Together {
    /// In their order.
    pub changes: Vec<Change>,
    /// Whether what is there already is left as it is, rather than refused.
    #[serde(default)]
    pub if_missing: bool,
}

/// An interface that the program is to be attached to once more.
#[derive(clap::Args, Clone, Debug, Deserialize, Serialize)]
pub struct AttachOptions {
    /// One of the director's interfaces
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// Where in the kernel to run [default: as `xvs run` was told]
    #[arg(long = "xdp-mode", value_name = "MODE")]
    pub mode: Option<Mode>,
}

/// How long silent flows live, in seconds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TimeoutView {
    /// Established TCP flows.
    pub tcp: u32,
    /// Closing TCP flows.
    pub tcp_fin: u32,
    /// UDP flows.
    pub udp: u32,
}

/// Endpoints that are scheduled as one.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GroupView {
    /// Its number.
    pub group: GroupId,
    /// What belongs to it.
    pub endpoints: Vec<Endpoint>,
    /// Whether there is a service that schedules it.
    pub service: bool,
}

/// What was done, a line each.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Done {
    /// In the operator's words.
    pub changes: Vec<String>,
    /// What the operator should know besides.
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

/// How the daemon is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Status {
    /// Version of xvs.
    pub version: String,
    /// Version of the maps' layout.
    pub schema: u32,
    /// Process id of the daemon.
    pub pid: u32,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// Whether it took over the maps of an earlier run.
    pub adopted: bool,
    /// Instructions of the main program that the verifier walked through.
    pub verified_instructions: Option<u32>,
    /// Where the program is attached.
    pub interfaces: Vec<InterfaceStatus>,
    /// VIPs that are on the director because of the daemon.
    pub vips: Vec<IpAddr>,
    /// How many services there are.
    pub services: usize,
    /// How many reals there are.
    pub reals: usize,
    /// How long silent flows live.
    pub timeouts: TimeoutView,
    /// How many flows of IPv4 are tracked.
    pub flows: u64,
    /// How many fit.
    pub max_flows: u32,
    /// How many flows of IPv6 are tracked.
    #[serde(default)]
    pub flows6: u64,
    /// How many fit.
    #[serde(default)]
    pub max_flows6: u32,
    /// How many connections of IPv4 are opening; they have a table of their own, beside [`Status::flows`].
    #[serde(default)]
    pub opening_flows: u64,
    /// The same of IPv6.
    #[serde(default)]
    pub opening_flows6: u64,
    /// Seconds that the last sweep over all flows took; 0 before the first one.
    pub sweep_seconds: f64,
    /// Lines of the log that could not be written since the daemon started.
    #[serde(default)]
    pub log_lines_lost: u64,
    /// How often the daemon attached or pinned the program again, because it had been removed, since it started.
    #[serde(default)]
    pub interface_repairs: u64,
    /// What is wrong, a line each.
    pub problems: Vec<String>,
    /// The config file of `xvs run`, if it names services.
    #[serde(default)]
    pub config: Option<ConfigStatus>,
    /// When the daemon started, in seconds since 1970.
    #[serde(default)]
    pub start_time_seconds: u64,
    /// What the doctor found last; `None` if it was not here yet.
    #[serde(default)]
    pub doctor: Option<DoctorView>,
}

/// What the doctor found, and when.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DoctorView {
    /// Seconds since then.
    pub seconds_ago: u64,
    /// Seconds that it took.
    pub took_seconds: f64,
    /// Whether services or reals have changed since.
    #[serde(default)]
    pub is_outdated: bool,
    /// What was wrong.
    pub findings: Vec<Finding>,
}

/// The config file that the daemon read.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConfigStatus {
    /// The file.
    pub file: String,
    /// Changes that were made since it was read, and that its next reading takes back.
    pub changes: u64,
}

impl ConfigStatus {
    /// Returns the line of `xvs status`.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { file, changes } = self;
        match changes {
            0 => format!("{file}, no change since it was read"),
            1 => format!("{file}, 1 change since it was read: `xvs plan {file}` shows it"),
            _ => format!("{file}, {changes} changes since it was read: `xvs plan {file}` shows them"),
        }
    }
}

impl ServiceView {
    /// Returns whether the flow table has an entry for each connection, so that they can be counted.
    #[must_use]
    pub fn counts_flows(&self) -> bool {
        let has_entries = self.active_flows + self.inactive_flows > 0;
        let hashes = self.slots > 0 && self.persistence.is_none();
        let all_by_fnat =
            !self.reals.is_empty() && self.reals.iter().all(|real| real.forward == Forward::Fnat);
        has_entries || !hashes || self.tracking == Tracking::Full || all_by_fnat
    }

    /// Returns a number of flows as lists show it: `-` where they are not counted.
    #[must_use]
    pub fn shown(&self, flows: u64) -> String {
        if self.counts_flows() { flows.to_string() } else { "-".to_owned() }
    }
}

impl RealView {
    /// Returns what the real does, in two words at most.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match (self.is_up || self.is_local, self.weight) {
            (false, _) => "no answer",
            (true, 0) if self.active_flows > 0 || self.slots > 0 => "draining",
            (true, 0) => "weight 0",
            (true, _) => "up",
        }
    }
}

/// An interface that the program is attached to.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// `native`, `generic`, or why not.
    pub mode: String,
}

/// A service with its counters and reals.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ServiceView {
    /// `protocol` and `address`, or `group`.
    #[serde(flatten)]
    pub id: ServiceId,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// How it picks a real.
    pub scheduler: Scheduler,
    /// Flags of the scheduler.
    pub flags: BTreeSet<SchedulerFlag>,
    /// Which flows are written down.
    pub tracking: Tracking,
    /// Whether the connections of a client stay together.
    pub persistence: Option<Persistence>,
    /// Whether each datagram of UDP is scheduled by itself.
    pub one_packet: bool,
    /// What becomes of the connections of a real that is removed.
    pub on_removal: OnRemoval,
    /// Slots of its table, if it hashes.
    pub slots: u32,
    /// Slots of its table that a pool change moved and that have not settled yet.
    pub slots_in_transition: u32,
    /// Counters of all its reals, also of those that were removed.
    #[serde(flatten)]
    pub totals: Totals,
    /// Tracked flows that are opening or established.
    pub active_flows: u64,
    /// Tracked flows that are closing, and UDP, as IPVS counts them.
    pub inactive_flows: u64,
    /// Packets that were not forwarded, by reason; reasons that never came are left out.
    pub reasons: Vec<ReasonCount>,
    /// Its reals, the one that was added first first.
    pub reals: Vec<RealView>,
    /// Reals that were removed and still have connections.
    pub leaving: Vec<RealView>,
}

/// A real with its counters.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RealView {
    /// RIP and port.
    pub address: SocketAddr,
    /// How packets reach it.
    pub forward: Forward,
    /// Its share.
    pub weight: u32,
    /// Connections at which it takes no more; 0 = no limit.
    pub upper: u32,
    /// Connections below which it takes more again; 0 = three quarters of `upper`.
    pub lower: u32,
    /// How packets travel to it by `tun`.
    #[serde(default)]
    pub tunnel: Tunnel,
    /// Whether packets can be sent to it.
    #[serde(default)]
    pub is_up: bool,
    /// Whether packets can be sent to it, and if not, why.
    pub next_hop: String,
    /// Whether the director itself serves in its place: it is `local`, or its address is one of the director.
    #[serde(default)]
    pub is_local: bool,
    /// Its counters.
    #[serde(flatten)]
    pub totals: Totals,
    /// Tracked flows that are opening or established.
    pub active_flows: u64,
    /// Tracked flows that are closing, and UDP, as IPVS counts them.
    pub inactive_flows: u64,
    /// Clients that are kept on it by persistence.
    pub persistent_clients: u64,
    /// Slots of the scheduler's table whose flows, those that nobody wrote down, are on it. 0 where all are written down.
    #[serde(default)]
    pub slots: u32,
}

/// How many packets ended for a reason.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReasonCount {
    /// A name of docs/reasons.md.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

/// All counters.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Stats {
    /// By service.
    pub services: Vec<ServiceView>,
    /// Of all services and of none in particular.
    pub reasons: Vec<ReasonCount>,
}

/// A tracked flow.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Connection {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// CIP and port.
    pub client: SocketAddr,
    /// VIP and port as the client sees them.
    pub service: SocketAddr,
    /// The group, where a client is kept on a real of one; `service` is then its number, as IPVS shows a mark.
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
