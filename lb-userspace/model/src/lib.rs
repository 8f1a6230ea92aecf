// SPDX-License-Identifier: MIT OR Apache-2.0
//! Types that every layer shares: services and reals as the operator configured them, findings, timeouts, failures.
//! Imports no other crate of userspace.
#![forbid(unsafe_code)]
// The print macros panic if stdout or stderr is closed.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod check; //    definitions of health checks
pub mod command; //  command lines for the operator
mod enums; //        schedulers, flags, tracking, methods, removal policies
pub mod evicted; //  evictions from flow tables
pub mod failure; //  failures of commands and requests
pub mod finding; //  findings of the doctor
pub mod health; //   health of reals
mod id; //           names of services and reals
pub mod names; //    users and hosts of this system
mod scheduler; //    numbers of the schedulers in the programs
mod schema; //       schemas of texts
mod services; //     services by name, shared by copies
pub mod standing; // place among several directors
pub mod text; //     parts of messages
pub mod timeouts; // idle timeouts
mod tunnel; //       encapsulations
pub mod written; //  addresses and numbers in files and options

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use check::{Check, CheckName};
use health::{Admin, HealthPolicy};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use enums::{Forward, OnRemoval, Scheduler, SchedulerFlag, Tracking};
pub use id::{Endpoint, GroupId, Protocol, RealAddress, ServiceId};
pub use services::Services;
pub use tunnel::Tunnel;

/// Largest weight, as in IPVS.
pub const MAX_WEIGHT: u32 = i32::MAX as u32;

/// A real of a service.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Real {
    /// Forward method.
    pub forward: Forward,
    /// Share of new connections, relative to the other reals; 0 means none, while existing connections
    /// continue.
    pub weight: u32,
    /// Number of connections at which the real gets no new ones; 0 means no limit.
    #[serde(default)]
    pub upper: u32,
    /// Number of connections below which an overloaded real gets new ones again; 0 means three quarters of
    /// `upper`.
    #[serde(default)]
    pub lower: u32,
    /// Encapsulation for `tun`.
    #[serde(default, skip_serializing_if = "Tunnel::is_ipip")]
    pub tunnel: Tunnel,
    /// State of the real as the operator set it.
    #[serde(default)]
    pub admin: Admin,
    /// The real takes connections only if no other real can: see [`OnAllDown::Backup`](health::OnAllDown::Backup).
    #[serde(default)]
    pub backup: bool,
    /// Checks of the real; `None`: those of its service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<CheckName>>,
}

/// Key of a real, which is unique within its service: address and method. A real whose method was changed has
/// two entries for a while, since existing connections keep the previous method.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RealKey {
    /// RIP and port.
    pub address: SocketAddr,
    /// Forward method.
    pub forward: Forward,
    /// Encapsulation for `tun`.
    pub tunnel: Tunnel,
}

impl Real {
    /// Returns the key of this real at `address`.
    #[must_use]
    pub const fn key(&self, address: SocketAddr) -> RealKey {
        RealKey { address, forward: self.forward, tunnel: self.tunnel }
    }

    /// Creates a real without thresholds.
    #[must_use]
    pub const fn new(forward: Forward, weight: u32) -> Self {
        Self {
            forward,
            weight,
            upper: 0,
            lower: 0,
            tunnel: Tunnel::Ipip,
            admin: Admin::Enabled,
            backup: false,
            checks: None,
        }
    }
}

/// Persistence: new connections of a client go to the same real.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Persistence {
    /// Timeout in seconds, from a client's last new connection.
    pub seconds: u32,
    /// Prefix length by which clients are grouped: 0 groups all clients, and [`Persistence::WHOLE_ADDRESS`]
    /// none, for both IP versions.
    pub prefix: u8,
}

impl Persistence {
    /// Default timeout of IPVS, in seconds.
    pub const DEFAULT_SECONDS: u32 = 300;
    /// Prefix length that groups no clients.
    pub const WHOLE_ADDRESS: u8 = 128;
}

/// A service and its reals by address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Scheduler, which selects the real of a new connection.
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
    /// Health checks, and what follows from their results.
    pub health: HealthPolicy,
    /// Reals by RIP and port, in the order in which they were added.
    pub reals: IndexMap<SocketAddr, Real>,
    /// Reals that were removed, or whose method was changed, and still have connections.
    /// [`Service::on_removal`] decides what happens to connections of a removed real; those of a changed one
    /// continue with the previous method, as in IPVS.
    pub leaving: IndexMap<RealKey, Real>,
}

impl Default for Service {
    fn default() -> Self {
        let scheduler = Scheduler::default();
        Self {
            scheduler,
            flags: scheduler.default_flags(),
            tracking: Tracking::default(),
            persistence: None,
            one_packet: false,
            on_removal: OnRemoval::default(),
            health: HealthPolicy::default(),
            reals: IndexMap::new(),
            leaving: IndexMap::new(),
        }
    }
}

impl Service {
    /// Returns whether a flag of the scheduler is set.
    #[must_use]
    pub fn has(&self, flag: SchedulerFlag) -> bool {
        self.flags.contains(&flag)
    }

    /// Returns every real with its address, including leaving reals.
    pub fn all_reals(&self) -> impl Iterator<Item = (&SocketAddr, &Real)> + '_ {
        self.reals.iter().chain(self.leaving.iter().map(|(key, real)| (&key.address, real)))
    }

    /// Returns the key of every real, including leaving reals.
    pub fn all_keys(&self) -> impl Iterator<Item = RealKey> + '_ {
        self.all_reals().map(|(address, real)| real.key(*address))
    }

    /// Returns whether a real that gets new connections has that key.
    #[must_use]
    pub fn has_real(&self, key: &RealKey) -> bool {
        self.reals.get(&key.address).is_some_and(|real| real.key(key.address) == *key)
    }

    /// Returns whether the method of the real with that key was changed.
    #[must_use]
    pub fn is_replaced(&self, key: &RealKey) -> bool {
        self.reals.contains_key(&key.address) && !self.has_real(key)
    }

    /// Returns the names of the checks of a real of this service.
    #[must_use]
    pub fn checks_of<'a>(&'a self, real: &'a Real) -> &'a [CheckName] {
        real.checks.as_deref().unwrap_or(&self.health.checks)
    }

    /// Returns the options of the service in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut words = vec![self.describe_scheduler()];
        words.push(format!("tracking {}", self.tracking));
        if let Some(Persistence { seconds, prefix }) = self.persistence {
            words.push(format!("persistent {seconds}s"));
            if prefix != Persistence::WHOLE_ADDRESS {
                words.push(format!("netmask {prefix}"));
            }
        }
        if self.one_packet {
            words.push("one packet".to_owned());
        }
        if self.on_removal != OnRemoval::default() {
            words.push(format!("on removal {}", self.on_removal));
        }
        let default = HealthPolicy::default().traits();
        let differ = self.health.traits().into_iter().zip(default).filter(|(own, default)| own != default);
        words.extend(differ.map(|((name, value), _)| format!("{name} {value}")));
        words.join(", ")
    }

    /// Returns each option with its value, in the same order for every service.
    #[must_use]
    pub fn traits(&self) -> Vec<(&'static str, String)> {
        let flags: Vec<&str> = self.flags.iter().map(|flag| flag.as_str()).collect();
        let none = || "none".to_owned();
        let prefix = self.persistence.map(|persistence| persistence.prefix);
        let prefix = prefix.filter(|prefix| *prefix != Persistence::WHOLE_ADDRESS);
        let mut traits = vec![
            ("scheduler", self.scheduler.to_string()),
            ("flags", if flags.is_empty() { none() } else { flags.join(",") }),
            ("tracking", self.tracking.to_string()),
            ("persistent", self.persistence.map_or_else(none, |one| format!("{}s", one.seconds))),
            ("netmask", prefix.map_or_else(none, |prefix| prefix.to_string())),
            ("one packet", self.one_packet.to_string()),
            ("on removal", self.on_removal.to_string()),
        ];
        traits.extend(self.health.traits());
        traits
    }

    /// Returns the scheduler, and its flags if they are not the default.
    #[must_use]
    pub fn describe_scheduler(&self) -> String {
        let mut words = format!("scheduler {}", self.scheduler);
        if self.flags != self.scheduler.default_flags() {
            let flags: Vec<&str> = self.flags.iter().map(|flag| flag.as_str()).collect();
            words += ", flags ";
            words += &if flags.is_empty() { "none".to_owned() } else { flags.join(",") };
        }
        words
    }

    /// Returns whether the scheduler's hash covers ports.
    #[must_use]
    pub fn hashes_ports(&self) -> bool {
        self.has(SchedulerFlag::MhPort) || self.has(SchedulerFlag::ShPort)
    }

    /// Returns whether two services have the same options; their reals may differ.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        self.describe() == other.describe()
    }
}

impl Real {
    /// Returns each option with its value, in the same order for every real.
    #[must_use]
    pub fn traits(&self) -> Vec<(&'static str, String)> {
        let limit = |limit: u32| if limit == 0 { "none".to_owned() } else { limit.to_string() };
        vec![
            ("forward", self.forward.to_string()),
            ("weight", self.weight.to_string()),
            ("upper", limit(self.upper)),
            ("lower", limit(self.lower)),
            ("tunnel", self.tunnel.to_string()),
            ("state", self.admin.to_string()),
            ("backup", self.backup.to_string()),
            ("check", self.checks.as_deref().map_or_else(|| "of the service".to_owned(), check::list)),
        ]
    }

    /// Returns the options of the real in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut words = vec![format!("forward {}", self.forward), format!("weight {}", self.weight)];
        if self.upper > 0 {
            words.push(format!("upper {}", self.upper));
        }
        if self.lower > 0 {
            words.push(format!("lower {}", self.lower));
        }
        if self.tunnel != Tunnel::Ipip {
            words.push(format!("tunnel {}", self.tunnel));
        }
        if self.admin != Admin::Enabled {
            words.push(self.admin.to_string());
        }
        if self.backup {
            words.push("backup".to_owned());
        }
        if let Some(checks) = &self.checks {
            words.push(format!("check {}", check::list(checks)));
        }
        words.join(", ")
    }
}

/// All services that the director should provide.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Desired {
    /// Services.
    pub services: Services,
    /// Groups of endpoints, by number.
    pub groups: BTreeMap<GroupId, BTreeSet<Endpoint>>,
    /// Definitions of health checks.
    pub checks: BTreeMap<CheckName, Check>,
}

impl Desired {
    /// Returns every RIP, except those of `local` reals.
    pub fn rips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let reals = self.services.values().flat_map(Service::all_reals);
        reals.filter(|(_, real)| real.forward != Forward::Local).map(|(address, _)| address.ip())
    }

    /// Returns the endpoints at which clients reach a service.
    #[must_use]
    pub fn endpoints(&self, id: &ServiceId) -> Vec<Endpoint> {
        match id {
            ServiceId::Endpoint(endpoint) => vec![*endpoint],
            ServiceId::Group { group, ipv6 } => {
                let divided = self.services.contains_key(&ServiceId::Group { group: *group, ipv6: true });
                let is_own = |endpoint: &&Endpoint| {
                    if *ipv6 { endpoint.address.is_ipv6() } else { !divided || endpoint.address.is_ipv4() }
                };
                self.groups.get(group).into_iter().flatten().filter(is_own).copied().collect()
            }
        }
    }

    /// Returns the service of the group that contains an endpoint, if any.
    #[must_use]
    pub fn group_of(&self, endpoint: &Endpoint) -> Option<ServiceId> {
        let (group, _) = self.groups.iter().find(|(_, members)| members.contains(endpoint))?;
        let of_ipv6 = ServiceId::Group { group: *group, ipv6: true };
        let divided = endpoint.address.is_ipv6() && self.services.contains_key(&of_ipv6);
        Some(if divided { of_ipv6 } else { ServiceId::group(*group) })
    }

    /// Returns every VIP.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.services.keys().flat_map(|id| self.endpoints(id)).map(|endpoint| endpoint.address.ip())
    }
}
