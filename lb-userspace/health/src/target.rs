// SPDX-License-Identifier: MIT OR Apache-2.0
//! Targets of checks, and their published and saved states.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_model::{
    Endpoint, Forward, Protocol, RealKey, ServiceId, Tunnel,
    check::{Check, CheckName, CheckType, Period, Via},
    health::{Health, LastResult},
};
use serde::{Deserialize, Serialize};

/// Identity of a target: a real under one definition. Services whose targets have the same key share the probes.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct TargetKey {
    /// Name of the check.
    pub name: CheckName,
    /// RIP and port of the real.
    pub real: SocketAddr,
    /// Forward method.
    pub forward: Forward,
    /// Encapsulation for `tun`.
    pub tunnel: Tunnel,
    /// VIP and port, for probes that depend on them: those by path, and commands.
    pub vip: Option<SocketAddr>,
    /// Protocol of the service.
    pub protocol: Protocol,
}

impl TargetKey {
    /// Creates the key of a real of a service. Probes to the RIP depend neither on the VIP nor on the forward
    /// method, so the keys of such targets have the same constants in their place.
    #[must_use]
    pub fn new(name: CheckName, check: &Check, service: Endpoint, real: RealKey) -> Self {
        let has_vip = check.via == Via::Path || check.kind == CheckType::Exec;
        let vip = has_vip.then_some(service.address);
        match check.via {
            Via::Path => Self {
                name,
                real: real.address,
                forward: real.forward,
                tunnel: real.tunnel,
                vip,
                protocol: service.protocol,
            },
            Via::Direct => Self {
                name,
                real: real.address,
                forward: Forward::Nat,
                tunnel: Tunnel::Ipip,
                vip,
                protocol: Protocol::Tcp,
            },
        }
    }

    /// Returns the address of the real's host.
    #[must_use]
    pub const fn host(&self) -> IpAddr {
        self.real.ip()
    }
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "check {} of real {}", self.name, self.real)?;
        match self.vip {
            Some(vip) => write!(f, " for {vip}"),
            None => Ok(()),
        }
    }
}

/// The subject of a passive sign.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Suspect {
    /// All reals of a host.
    Host(IpAddr),
    /// The real at this address and port.
    Real(SocketAddr),
}

impl Suspect {
    /// Returns the address of the host.
    #[must_use]
    pub const fn host(&self) -> IpAddr {
        match self {
            Self::Host(host) => *host,
            Self::Real(real) => real.ip(),
        }
    }

    /// Returns whether the sign concerns a target.
    #[must_use]
    pub fn concerns(&self, key: &TargetKey) -> bool {
        match self {
            Self::Host(host) => key.host() == *host,
            Self::Real(real) => key.real == *real,
        }
    }
}

/// A real under one definition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Identity.
    pub key: TargetKey,
    /// Definition of the check.
    pub check: Arc<Check>,
    /// VIP and port of a service: probes by path connect to them, and commands get them.
    pub vip: SocketAddr,
    /// Services that use the target. The engine freezes states only if several services are affected.
    pub services: BTreeSet<ServiceId>,
    /// Time for which the target stays down at least.
    pub hold_down: Period,
    /// Id of the real in the maps, for probes by path.
    pub real_id: u32,
    /// Forward method, for probes by path.
    pub forward: Forward,
}

impl Target {
    /// Returns whether probes travel the forwarding path. Packets to a `local` real leave no interface, so its
    /// probes go to the VIP directly.
    #[must_use]
    pub fn is_by_path(&self) -> bool {
        self.check.via == Via::Path && self.forward != Forward::Local
    }
}

/// Published state of a target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetState {
    /// State by verdicts.
    pub health: Health,
    /// State from before a restart, which stands for `health` until the first verdict.
    pub assumed: Option<Health>,
    /// Results in a row that contradict `health`, and their number that changes it.
    pub progress: (u32, u32),
    /// Latest result.
    pub last: Option<LastResult>,
    /// Time of the latest change of `health`, in milliseconds since 1970.
    pub since_ms: u64,
    /// The target is down since the real does not answer at all.
    pub is_silent: bool,
    /// Weight that a command sets, in percent of the configured one.
    pub weight_percent: Option<u8>,
    /// Time before which the target stays down, in milliseconds since 1970.
    pub held_until_ms: Option<u64>,
    /// Number of times that the hold-down was doubled.
    pub flaps: u32,
    /// Time until which a failure doubles the hold-down, in milliseconds since 1970.
    pub flaps_until_ms: Option<u64>,
}

impl TargetState {
    /// Returns `health`, or the state from before a restart if there is no verdict yet.
    #[must_use]
    pub fn effective(&self) -> Health {
        match (self.health, self.assumed) {
            (Health::Unknown, Some(assumed)) => assumed,
            (health, _) => health,
        }
    }
}

/// State of a target in the state file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Saved {
    /// Identity of the target.
    pub key: TargetKey,
    /// State by verdicts, or the assumed one.
    pub health: Health,
    /// Time of the latest change of `health`, in milliseconds since 1970.
    pub since_ms: u64,
    /// The target is down since the real does not answer at all.
    #[serde(default)]
    pub is_silent: bool,
    /// Weight that a command set, in percent of the configured one.
    #[serde(default)]
    pub weight_percent: Option<u8>,
    /// Time before which the target stays down, in milliseconds since 1970.
    #[serde(default)]
    pub held_until_ms: Option<u64>,
    /// Number of times that the hold-down was doubled.
    #[serde(default)]
    pub flaps: u32,
    /// Time until which a failure doubles the hold-down, in milliseconds since 1970.
    #[serde(default)]
    pub flaps_until_ms: Option<u64>,
    /// End of the latest probe, in milliseconds since 1970: its age decides whether the state still counts.
    pub at_ms: u64,
}

impl Saved {
    /// Creates the state to save; `None` if there is none.
    #[must_use]
    pub fn of(key: &TargetKey, state: &TargetState) -> Option<Self> {
        let health = state.effective();
        (health != Health::Unknown).then(|| Self {
            key: key.clone(),
            health,
            since_ms: state.since_ms,
            is_silent: state.is_silent,
            weight_percent: state.weight_percent,
            held_until_ms: state.held_until_ms,
            flaps: state.flaps,
            flaps_until_ms: state.flaps_until_ms,
            at_ms: state.last.as_ref().map_or(state.since_ms, |last| last.at_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_share_direct_probes_and_not_those_by_path() {
        let key = |check: &Check, vip: &str, forward| {
            let service = Endpoint { protocol: Protocol::Tcp, address: vip.parse().unwrap() };
            let real = RealKey { address: "10.0.0.1:80".parse().unwrap(), forward, tunnel: Tunnel::Ipip };
            TargetKey::new("web".parse().unwrap(), check, service, real)
        };
        let path = Check::new(CheckType::Http);
        let direct = Check { via: Via::Direct, ..path.clone() };
        let exec = Check::new(CheckType::Exec);
        let (one, other) = ("192.0.2.1:80", "192.0.2.2:80");
        assert_eq!(key(&direct, one, Forward::Dr), key(&direct, other, Forward::Tun));
        assert_ne!(key(&path, one, Forward::Dr), key(&path, other, Forward::Dr));
        assert_ne!(key(&path, one, Forward::Dr), key(&path, one, Forward::Tun));
        assert_ne!(key(&exec, one, Forward::Dr), key(&exec, other, Forward::Dr));
        assert_eq!(key(&exec, one, Forward::Dr), key(&exec, one, Forward::Nat));
    }
}
