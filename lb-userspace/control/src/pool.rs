// SPDX-License-Identifier: MIT OR Apache-2.0
//! Effects of health on a service: the effective weight of each real, and the fate of connections of reals that
//! are down. These functions are pure: the same states give the same weights on every director.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use lb_model::{
    Real, Service, ServiceId,
    health::{Admin, Health, Initial, OnAllDown, OnDown},
};

/// Health of a real, as far as its weight depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RealHealth {
    /// State by the checks of the real.
    pub health: Health,
    /// The real is down and did not answer at all.
    pub is_silent: bool,
    /// Without a verdict, the real counts as up: it took connections before it had checks.
    pub is_assumed_up: bool,
    /// Part of the weight that the real itself asks for, in percent.
    pub weight_percent: u8,
    /// Part of the weight that slow start permits, in percent.
    pub ramp_percent: u8,
}

impl RealHealth {
    /// A real whose checks succeed.
    pub const UP: Self = Self {
        health: Health::Up,
        is_silent: false,
        is_assumed_up: false,
        weight_percent: 100,
        ramp_percent: 100,
    };
    /// A real whose checks have no verdict yet.
    pub const UNKNOWN: Self = Self { health: Health::Unknown, ..Self::UP };
}

/// Health of all reals that have checks, and the services that have too few healthy ones.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HealthTable {
    /// Health by service and real. A real with checks that is not in the table is new: its state is unknown.
    pub reals: BTreeMap<(ServiceId, SocketAddr), RealHealth>,
    /// Services that were below their minimum, for the hysteresis.
    pub below: BTreeSet<ServiceId>,
}

impl HealthTable {
    /// Notes that a real without a verdict serves.
    pub fn assume_up(&mut self, service: ServiceId, real: SocketAddr) {
        let assumed = RealHealth { is_assumed_up: true, ..RealHealth::UNKNOWN };
        self.reals.insert((service, real), assumed);
    }

    /// Returns the health of a real of a service; `None` if it has no checks.
    #[must_use]
    pub fn of(
        &self,
        id: &ServiceId,
        service: &Service,
        address: &SocketAddr,
        real: &Real,
    ) -> Option<RealHealth> {
        if service.checks_of(real).is_empty() {
            return None;
        }
        Some(self.reals.get(&(*id, *address)).copied().unwrap_or(RealHealth::UNKNOWN))
    }
}

/// Fate of the connections of a real that takes none.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Cut {
    /// TCP connections stay on the real; UDP flows move.
    Keep,
    /// Packets of TCP connections are answered with a RST; UDP flows move.
    Reset,
    /// All flows move to other reals.
    Reschedule,
}

/// State of a pool of reals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Enough reals are healthy.
    Normal,
    /// Fewer reals are healthy than the service needs: health is ignored.
    Ignored,
    /// Fewer reals are healthy than the service needs: backup reals serve as well.
    WithBackup,
    /// No real is healthy: backup reals serve.
    Backup,
    /// No real is healthy, and none serves.
    AllDown,
}

impl Mode {
    /// Returns the name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Ignored => "ignored",
            Self::WithBackup => "with-backup",
            Self::Backup => "backup",
            Self::AllDown => "all-down",
        }
    }
}

/// A pool with effective weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The service, whose reals have their effective weights.
    pub service: Service,
    /// Reals whose connections may not simply continue.
    pub cuts: BTreeMap<SocketAddr, Cut>,
    /// State of the pool.
    pub mode: Mode,
    /// Number of reals that could serve, if they were healthy; without backup reals, and reals that wait for their
    /// first success.
    pub able: usize,
    /// Number of those that are healthy.
    pub healthy: usize,
}

/// Returns the effective weight of a real that is not a backup, or is in use as one.
///
/// | admin | health | weight |
/// |---|---|---|
/// | `drain`, `disabled` | any | 0 |
/// | `enabled` | `down`, or `unknown` with `initial = "down"` | 0 |
/// | `enabled` | `unknown` with `initial = "up"`, or none | the configured weight |
/// | `enabled` | `up` | the configured weight × dynamic weight × slow start, at least 1 unless a factor is 0 |
#[must_use]
pub fn weight(real: &Real, health: Option<&RealHealth>, initial: Initial) -> u32 {
    if real.admin != Admin::Enabled {
        return 0;
    }
    let Some(state) = health else { return real.weight };
    match (state.health, initial) {
        (Health::Unknown, _) if state.is_assumed_up => real.weight,
        (Health::Down, _) | (Health::Unknown, Initial::Down) => 0,
        (Health::Unknown, Initial::Up) => real.weight,
        (Health::Up, _) => {
            let full = u64::from(real.weight) * u64::from(state.weight_percent);
            if full == 0 {
                return 0;
            }
            (full * u64::from(state.ramp_percent) / 10_000).max(1) as u32
        }
    }
}

/// Returns whether neither health nor the operator's states nor backup reals can affect a service.
#[must_use]
pub fn is_plain(service: &Service) -> bool {
    let is_plain =
        |real: &Real| real.admin == Admin::Enabled && !real.backup && service.checks_of(real).is_empty();
    service.reals.values().all(is_plain)
}

/// Returns the pool of a service in these states of its reals.
#[must_use]
pub fn weigh(id: &ServiceId, wanted: &Service, table: &HealthTable) -> Pool {
    let mut service = wanted.clone();
    if is_plain(wanted) {
        let able = wanted.reals.values().filter(|real| real.weight > 0).count();
        return Pool { service, cuts: BTreeMap::new(), mode: Mode::Normal, able, healthy: able };
    }
    let policy = &wanted.health;
    let health = |address: &SocketAddr, real: &Real| table.of(id, wanted, address, real);
    let weight_of =
        |address: &SocketAddr, real: &Real| weight(real, health(address, real).as_ref(), policy.initial);
    // New reals neither take connections nor bring a pool below its minimum before their first success.
    let waits = |address: &SocketAddr, real: &Real| {
        let is_new = |state: RealHealth| state.health == Health::Unknown && !state.is_assumed_up;
        policy.initial == Initial::Down && health(address, real).is_some_and(is_new)
    };
    let is_able = |address: &SocketAddr, real: &Real| {
        real.admin == Admin::Enabled && real.weight > 0 && !waits(address, real)
    };
    let count = |backup: bool, counts: &dyn Fn(&SocketAddr, &Real) -> bool| {
        wanted.reals.iter().filter(|(address, real)| real.backup == backup && counts(address, real)).count()
    };
    let is_healthy = |address: &SocketAddr, real: &Real| weight_of(address, real) > 0;
    let (able, healthy) = (count(false, &is_able), count(false, &is_healthy));
    let mode = mode(wanted, able, healthy, count(true, &is_healthy) > 0, table.below.contains(id));
    for (address, real) in &mut service.reals {
        let serves = match mode {
            Mode::Normal | Mode::Ignored => !real.backup,
            Mode::WithBackup => true,
            Mode::Backup => real.backup,
            Mode::AllDown => false,
        };
        real.weight = match (serves, mode) {
            (false, _) => 0,
            (true, Mode::Ignored) if waits(address, real) => 0,
            (true, Mode::Ignored) => weight(real, None, policy.initial),
            (true, _) => weight_of(address, real),
        };
    }
    // Without another real, existing connections may as well stay where they are, unless the operator ends them. If
    // none serves, persistence must not send new ones to a real that is down.
    let fate = |(address, real): (&SocketAddr, &Real)| {
        let cut = cut(real, health(address, real).as_ref(), policy.on_down)?;
        match mode {
            Mode::Ignored if real.admin != Admin::Disabled => None,
            Mode::AllDown if real.admin != Admin::Disabled => Some((*address, Cut::Keep)),
            _ => Some((*address, cut)),
        }
    };
    let cuts = wanted.reals.iter().filter_map(fate).collect();
    Pool { service, cuts, mode, able, healthy }
}

/// Returns the state of a pool.
fn mode(service: &Service, able: usize, healthy: usize, has_backup: bool, was_below: bool) -> Mode {
    let policy = &service.health;
    // Drained reals may leave fewer than the minimum: then all of the others are needed.
    let minimum = policy.min_healthy.of(able).min(able);
    let needed = if was_below { (minimum + policy.hysteresis as usize).min(able) } else { minimum };
    let backs_up = policy.on_all_down == OnAllDown::Backup && has_backup;
    match (able, healthy) {
        // The operator has drained or disabled every real: health has no part in that.
        (0, _) => {
            if backs_up {
                Mode::Backup
            } else {
                Mode::Normal
            }
        }
        (_, 0) if backs_up => Mode::Backup,
        (_, 0) => match policy.on_all_down {
            OnAllDown::All => Mode::Ignored,
            OnAllDown::Backup if minimum > 0 => Mode::Ignored,
            OnAllDown::Backup | OnAllDown::Drop | OnAllDown::Reject => Mode::AllDown,
        },
        _ if healthy >= needed => Mode::Normal,
        _ if backs_up => Mode::WithBackup,
        _ => Mode::Ignored,
    }
}

/// Returns the fate of the connections of a real; `None` if they continue.
fn cut(real: &Real, health: Option<&RealHealth>, on_down: OnDown) -> Option<Cut> {
    let down = health.filter(|state| state.health == Health::Down);
    if real.admin != Admin::Disabled && down.is_none() {
        return None;
    }
    let answers = real.admin != Admin::Disabled && down.is_some_and(|state| !state.is_silent);
    Some(match on_down {
        OnDown::Reset => Cut::Reset,
        OnDown::Keep => Cut::Keep,
        OnDown::Auto if answers => Cut::Keep,
        OnDown::Auto | OnDown::Reschedule => Cut::Reschedule,
    })
}

#[cfg(test)]
mod tests;
