// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of effective weights and pools.
#![forbid(unsafe_code)]

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
    let kept = |number| (address(number), Cut::Keep);
    for (states, minimum, mode, others) in [
        ([RealHealth::UP, RealHealth::UP, DOWN], 2, Mode::Ignored, vec![]),
        ([RealHealth::UP, DOWN, DOWN], 0, Mode::AllDown, vec![kept(1), kept(2)]),
    ] {
        let change = |service: &mut Service| {
            service.reals[0].admin = Admin::Disabled;
            service.health.min_healthy = MinHealthy::Reals(minimum);
        };
        let pool = pool(&states, change, false);
        let cuts = others.into_iter().chain([(address(0), Cut::Reschedule)]).collect();
        assert_eq!((pool.mode, pool.cuts), (mode, cuts));
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
#[case(OnAllDown::Backup, Mode::AllDown, [0, 0], [Cut::Keep; 2].as_slice())]
#[case(OnAllDown::Drop, Mode::AllDown, [0, 0], [Cut::Keep; 2].as_slice())]
#[case(OnAllDown::Reject, Mode::AllDown, [0, 0], [Cut::Keep; 2].as_slice())]
#[case(OnAllDown::All, Mode::Ignored, [10, 10], [].as_slice())]
fn a_pool_that_is_all_down_follows_its_policy(
    #[case] policy: OnAllDown,
    #[case] mode: Mode,
    #[case] expected: [u32; 2],
    #[case] cuts: &[Cut],
) {
    let pool = pool(&[DOWN, SILENT], |service| service.health.on_all_down = policy, false);
    assert_eq!((pool.mode, weights(&pool)), (mode, expected.to_vec()));
    assert_eq!(pool.cuts.values().copied().collect::<Vec<_>>(), cuts);
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
