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
    // Without another real, existing connections may as well stay where they are, unless the operator ends them.
    let is_kept =
        |real: &Real| matches!(mode, Mode::Ignored | Mode::AllDown) && real.admin != Admin::Disabled;
    let fate = |(address, real): (&SocketAddr, &Real)| {
        Some((*address, cut(real, health(address, real).as_ref(), policy.on_down)?))
    };
    let cuts = wanted.reals.iter().filter(|(_, real)| !is_kept(real)).filter_map(fate).collect();
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
mod tests {
    use lb_model::{Forward, Protocol, health::MinHealthy};
    use rstest::rstest;

    use super::*;

    const DOWN: RealHealth = RealHealth { health: Health::Down, ..RealHealth::UP };
    const SILENT: RealHealth = RealHealth { is_silent: true, ..DOWN };

    fn id() -> ServiceId {
        ServiceId::new(Protocol::Tcp, "192.0.2.1:80".parse().unwrap())
    }

    fn address(number: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number as u8], 80))
    }

    fn pool(states: &[RealHealth], change: impl FnOnce(&mut Service), was_below: bool) -> Pool {
        let mut service = Service::default();
        let mut table = HealthTable::default();
        for (number, state) in states.iter().enumerate() {
            service.reals.insert(address(number), Real::new(Forward::Dr, 10));
            table.reals.insert((id(), address(number)), *state);
        }
        service.health.checks = vec!["web".parse().unwrap()];
        change(&mut service);
        if was_below {
            table.below.insert(id());
        }
        weigh(&id(), &service, &table)
    }

    fn weights(pool: &Pool) -> Vec<u32> {
        pool.service.reals.values().map(|real| real.weight).collect()
    }

    #[rstest]
    #[case::no_checks(Admin::Enabled, None, Initial::Down, 10)]
    #[case::drained(Admin::Drain, Some(RealHealth::UP), Initial::Up, 0)]
    #[case::disabled(Admin::Disabled, None, Initial::Up, 0)]
    #[case::new(Admin::Enabled, Some(RealHealth::UNKNOWN), Initial::Down, 0)]
    #[case::with_a_new_check(Admin::Enabled, Some(RealHealth { is_assumed_up: true, ..RealHealth::UNKNOWN }), Initial::Down, 10)]
    #[case::new_and_trusted(Admin::Enabled, Some(RealHealth::UNKNOWN), Initial::Up, 10)]
    #[case::down(Admin::Enabled, Some(DOWN), Initial::Up, 0)]
    #[case::up(Admin::Enabled, Some(RealHealth::UP), Initial::Down, 10)]
    #[case::half(Admin::Enabled, Some(RealHealth { weight_percent: 50, ..RealHealth::UP }), Initial::Down, 5)]
    #[case::ramp(Admin::Enabled, Some(RealHealth { ramp_percent: 20, ..RealHealth::UP }), Initial::Down, 2)]
    #[case::least(Admin::Enabled, Some(RealHealth { ramp_percent: 1, ..RealHealth::UP }), Initial::Down, 1)]
    #[case::none(Admin::Enabled, Some(RealHealth { weight_percent: 0, ..RealHealth::UP }), Initial::Down, 0)]
    fn the_effective_weight_follows_from_the_three_states(
        #[case] admin: Admin,
        #[case] state: Option<RealHealth>,
        #[case] initial: Initial,
        #[case] expected: u32,
    ) {
        let real = Real { admin, ..Real::new(Forward::Dr, 10) };
        assert_eq!(weight(&real, state.as_ref(), initial), expected);
        let zero = Real { weight: 0, ..real };
        assert_eq!(weight(&zero, state.as_ref(), initial), 0, "the operator's 0 stays");
    }

    #[rstest]
    #[case(OnDown::Auto, DOWN, Cut::Keep)]
    #[case(OnDown::Auto, SILENT, Cut::Reschedule)]
    #[case(OnDown::Keep, SILENT, Cut::Keep)]
    #[case(OnDown::Reset, DOWN, Cut::Reset)]
    #[case(OnDown::Reschedule, DOWN, Cut::Reschedule)]
    fn connections_of_a_real_that_is_down_end_as_configured(
        #[case] on_down: OnDown,
        #[case] state: RealHealth,
        #[case] expected: Cut,
    ) {
        let pool = pool(&[RealHealth::UP, state], |service| service.health.on_down = on_down, false);
        assert_eq!((weights(&pool), pool.mode), (vec![10, 0], Mode::Normal));
        assert_eq!(pool.cuts, BTreeMap::from([(address(1), expected)]));
    }

    #[test]
    fn a_drained_real_keeps_its_connections_and_a_disabled_one_does_not() {
        for (admin, cuts) in [(Admin::Drain, 0), (Admin::Disabled, 1)] {
            let change = |service: &mut Service| service.reals[0].admin = admin;
            let pool = pool(&[RealHealth::UP, RealHealth::UP], change, false);
            assert_eq!((weights(&pool), pool.cuts.len(), pool.able), (vec![0, 10], cuts, 1));
        }
    }

    #[test]
    fn a_disabled_real_loses_its_connections_in_every_mode() {
        for (states, minimum, mode) in [
            ([RealHealth::UP, RealHealth::UP, DOWN], 2, Mode::Ignored),
            ([RealHealth::UP, DOWN, DOWN], 0, Mode::AllDown),
        ] {
            let change = |service: &mut Service| {
                service.reals[0].admin = Admin::Disabled;
                service.health.min_healthy = MinHealthy::Reals(minimum);
            };
            let pool = pool(&states, change, false);
            assert_eq!((pool.mode, pool.cuts), (mode, [(address(0), Cut::Reschedule)].into()));
        }
    }

    #[test]
    fn a_minimum_above_the_number_of_reals_needs_all_of_them() {
        let change = |service: &mut Service| {
            service.reals[0].admin = Admin::Drain;
            service.health.min_healthy = MinHealthy::Reals(3);
        };
        for was_below in [false, true] {
            assert_eq!(pool(&[RealHealth::UP; 3], change, was_below).mode, Mode::Normal);
            assert_eq!(pool(&[RealHealth::UP, RealHealth::UP, DOWN], change, was_below).mode, Mode::Ignored);
        }
    }

    #[rstest]
    #[case(OnAllDown::Backup, Mode::AllDown, [0, 0])]
    #[case(OnAllDown::Drop, Mode::AllDown, [0, 0])]
    #[case(OnAllDown::Reject, Mode::AllDown, [0, 0])]
    #[case(OnAllDown::All, Mode::Ignored, [10, 10])]
    fn a_pool_that_is_all_down_follows_its_policy(
        #[case] policy: OnAllDown,
        #[case] mode: Mode,
        #[case] expected: [u32; 2],
    ) {
        let pool = pool(&[DOWN, SILENT], |service| service.health.on_all_down = policy, false);
        assert_eq!((pool.mode, weights(&pool), pool.cuts.len()), (mode, expected.to_vec(), 0));
    }

    #[test]
    fn backup_reals_serve_only_if_they_must() {
        let backup = |service: &mut Service| service.reals[2].backup = true;
        let states = |one, two, backup| [one, two, backup];
        let up = RealHealth::UP;
        let normal = pool(&states(up, DOWN, up), backup, false);
        assert_eq!((normal.mode, weights(&normal)), (Mode::Normal, vec![10, 0, 0]));
        let all_down = pool(&states(DOWN, DOWN, up), backup, false);
        assert_eq!((all_down.mode, weights(&all_down)), (Mode::Backup, vec![0, 0, 10]));
        let nothing = pool(&states(DOWN, DOWN, DOWN), backup, false);
        assert_eq!((nothing.mode, weights(&nothing)), (Mode::AllDown, vec![0, 0, 0]));
        let with_minimum = |service: &mut Service| {
            service.reals[2].backup = true;
            service.health.min_healthy = MinHealthy::Reals(2);
        };
        let below = pool(&states(up, DOWN, up), with_minimum, false);
        assert_eq!((below.mode, weights(&below)), (Mode::WithBackup, vec![10, 0, 10]));
    }

    #[test]
    fn new_reals_do_not_bring_a_pool_below_its_minimum() {
        let half = |service: &mut Service| service.health.min_healthy = MinHealthy::Percent(50);
        let (up, new) = (RealHealth::UP, RealHealth::UNKNOWN);
        let grown = pool(&[up, up, new, new, new, new], half, false);
        assert_eq!((grown.mode, grown.able, weights(&grown)), (Mode::Normal, 2, vec![10, 10, 0, 0, 0, 0]));
        let ignored = pool(&[DOWN, DOWN, new], half, false);
        assert_eq!((ignored.mode, weights(&ignored)), (Mode::Ignored, vec![10, 10, 0]));
        let all_new = pool(&[new, new], half, false);
        assert_eq!((all_new.mode, weights(&all_new)), (Mode::Normal, vec![0, 0]));
    }

    #[test]
    fn below_the_minimum_health_is_ignored_until_enough_reals_are_back() {
        let up = RealHealth::UP;
        let half = |service: &mut Service| {
            service.health.min_healthy = MinHealthy::Percent(50);
            service.health.hysteresis = 1;
        };
        let mode = |states: [RealHealth; 4], was_below| pool(&states, half, was_below).mode;
        assert_eq!(mode([up, up, DOWN, DOWN], false), Mode::Normal);
        assert_eq!(mode([up, DOWN, DOWN, DOWN], false), Mode::Ignored);
        assert_eq!(mode([up, up, DOWN, DOWN], true), Mode::Ignored, "one more is needed");
        assert_eq!(mode([up, up, up, DOWN], true), Mode::Normal);
        let ignored = pool(&[up, DOWN, DOWN, SILENT], half, false);
        assert_eq!((weights(&ignored), ignored.cuts.len()), (vec![10; 4], 0));
        let all_down = pool(&[DOWN; 4], half, false);
        assert_eq!(all_down.mode, Mode::Ignored, "a minimum counts without backups too");
    }
}
