// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of frozen states.
#![forbid(unsafe_code)]

use super::*;

const OK: ResultCode = ResultCode::L4Ok;
const TIMEOUT: ResultCode = ResultCode::L4Timeout;

/// Returns 20 targets on as many hosts, of that many services.
fn targets(services: u16) -> Vec<Target> {
    (0..20).map(|real| target(real, real % services, &check(1000))).collect()
}

fn down(simulation: &Simulation, targets: &[Target]) -> usize {
    targets.iter().filter(|target| simulation.health(target) == Health::Down).count()
}

#[test]
fn states_freeze_if_all_of_several_services_fail_and_counts_begin_again_afterwards() {
    let targets = targets(2);
    let mut simulation = Simulation::new(targets.clone());
    simulation.run(5000, |_, _| OK);
    simulation.run(10_000, |_, _| TIMEOUT);
    assert_eq!(down(&simulation, &targets), 0);
    let frozen = simulation.engine.frozen().unwrap();
    assert!(frozen.since_ms > BEGIN + 5000 && frozen.to_string().contains("of 20 targets"), "{frozen:?}");
    assert!(simulation.engine.take_events().iter().any(|event| matches!(event.kind, EventKind::Frozen(_))));
    // Half of them recover. The others need all their failures again.
    let half = |target: &Target, _| if target.real_id < 10 { OK } else { TIMEOUT };
    simulation.run(1500, half);
    assert_eq!((simulation.engine.frozen(), down(&simulation, &targets)), (None, 0));
    assert!(simulation.engine.take_events().iter().any(|event| event.kind == EventKind::Thawed));
    simulation.run(4000, half);
    assert_eq!((simulation.engine.frozen(), down(&simulation, &targets)), (None, 10));
}

#[test]
fn what_fell_before_the_freeze_is_taken_back() {
    let mut check = check(1000);
    check.timing.fall = 1;
    let targets: Vec<_> = (0..20)
        .map(|real| Target { hold_down: Period::from_millis(60_000), ..target(real, real % 2, &check) })
        .collect();
    let mut simulation = Simulation::new(targets.clone());
    simulation.run(5000, |_, _| OK);
    simulation.run(500, |_, _| TIMEOUT);
    assert!((1..18).contains(&down(&simulation, &targets)), "some are down before the cause is known");
    simulation.run(2000, |_, _| TIMEOUT);
    assert!(simulation.engine.frozen().is_some());
    assert_eq!(down(&simulation, &targets), 0);
    assert_eq!(simulation.state(&targets[0]).held_until_ms, None);
    assert!(simulation.state(&targets[0]).since_ms < BEGIN + 1001, "up since the first verdict");
}

#[test]
fn a_single_service_or_host_or_few_targets_never_freeze() {
    let one_service = targets(1);
    let three: Vec<_> = (0..3).map(|real| target(real, real, &check(1000))).collect();
    let one_host: Vec<_> = (0..8)
        .map(|service| {
            let mut target = target(1, service, &check(1000));
            target.key.real.set_port(8000 + service);
            target
        })
        .collect();
    for targets in [one_service, three, one_host] {
        let mut simulation = Simulation::new(targets.clone());
        simulation.run(3000, |_, _| OK);
        simulation.run(5000, |_, _| TIMEOUT);
        assert_eq!(down(&simulation, &targets), targets.len());
        assert_eq!(simulation.engine.frozen(), None);
    }
}

#[test]
fn one_service_of_several_goes_down_and_slow_failures_do_too() {
    let targets = targets(2);
    let mut simulation = Simulation::new(targets.clone());
    simulation.run(3000, |_, _| OK);
    simulation.run(5000, |target, _| if target.vip.port() == 8000 { TIMEOUT } else { OK });
    assert_eq!((down(&simulation, &targets), simulation.engine.frozen()), (10, None));
    let mut simulation = Simulation::new(targets.clone());
    simulation.run(3000, |_, _| OK);
    for failed in 1..=17 {
        simulation.run(6000, |target, _| if target.real_id < failed { TIMEOUT } else { OK });
        assert_eq!((down(&simulation, &targets), simulation.engine.frozen()), (failed as usize, None));
    }
}

#[test]
fn targets_that_are_down_for_long_cannot_testify() {
    let targets = targets(2);
    let mut simulation = Simulation::new(targets.clone());
    simulation.run(10_000, |target, _| if target.real_id < 10 { TIMEOUT } else { OK });
    assert_eq!(down(&simulation, &targets), 10);
    simulation.run(5000, |_, _| TIMEOUT);
    assert_eq!(down(&simulation, &targets), 10, "those that were up stay so");
    assert!(simulation.engine.frozen().is_some());
}

#[test]
fn states_from_before_a_restart_freeze_too() {
    let targets = targets(2);
    let mut engine = Engine::new(64, 1);
    let saved = |target: &Target| Saved {
        key: target.key.clone(),
        health: Health::Up,
        since_ms: 0,
        is_silent: false,
        weight_percent: None,
        held_until_ms: None,
        at_ms: 0,
    };
    engine.restore(targets.iter().map(saved).collect());
    engine.plan(targets.clone(), at(0));
    let mut simulation = Simulation { engine, now: 0 };
    simulation.run(5000, |_, _| TIMEOUT);
    assert!(simulation.engine.frozen().is_some());
    assert!(targets.iter().all(|target| simulation.state(target).effective() == Health::Up));
}

#[test]
fn a_failing_canary_freezes_targets_by_path_only() {
    let by_path = Check { via: Via::Path, ..check(1000) };
    let targets = [target(1, 1, &by_path), target(2, 1, &check(1000))];
    let mut simulation = Simulation::new(targets.to_vec());
    simulation.run(3000, |_, _| OK);
    simulation.engine.canary(Ok(()), at(simulation.now));
    assert_eq!(simulation.engine.frozen(), None);
    simulation.engine.canary(Err("no answer".into()), at(simulation.now));
    assert!(simulation.engine.frozen().unwrap().to_string().contains("no answer"));
    simulation.run(5000, |_, _| TIMEOUT);
    assert_eq!(targets.each_ref().map(|it| simulation.health(it)), [Health::Up, Health::Down]);
    simulation.engine.canary(Ok(()), at(simulation.now));
    assert_eq!(simulation.engine.frozen(), None);
    simulation.run(4000, |_, _| TIMEOUT);
    assert_eq!(simulation.health(&targets[0]), Health::Down);
}
