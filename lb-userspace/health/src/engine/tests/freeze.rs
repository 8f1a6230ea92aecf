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
    simulation.run(8_000, |_, _| TIMEOUT);
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
fn failures_that_outlast_the_freeze_count_without_a_hold_down() {
    let hold_down = Period::from_millis(60_000);
    let targets: Vec<_> = targets(2).into_iter().map(|target| Target { hold_down, ..target }).collect();
    let mut simulation = Simulation::new(targets.clone());
    simulation.run(5000, |_, _| OK);
    let begin = simulation.now;
    while down(&simulation, &targets) == 0 {
        simulation.run(100, |_, _| TIMEOUT);
        assert!(simulation.now < begin + 20_000, "the freeze ends");
    }
    // The third failure of the first target is after two to three intervals.
    let took = simulation.now - begin;
    assert!((12_000..=13_200).contains(&took), "{took} ms");
    simulation.run(1200, |_, _| TIMEOUT);
    assert_eq!((down(&simulation, &targets), simulation.engine.frozen()), (20, None));
    let kinds: Vec<_> = simulation.engine.take_events().into_iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&EventKind::Accepted) && !kinds.contains(&EventKind::Thawed));
    assert!(simulation.engine.is_accepted());
    simulation.run(30_000, |_, _| TIMEOUT);
    assert_eq!((down(&simulation, &targets), simulation.engine.frozen()), (20, None), "they stay down");
    simulation.run(2200, |_, _| OK);
    assert_eq!(down(&simulation, &targets), 0, "nothing holds them down");
    assert!(!simulation.engine.is_accepted());
    // The next failure of all freezes again, and that of one is held down for the first time.
    simulation.run(4000, |_, _| TIMEOUT);
    assert!(simulation.engine.frozen().is_some());
    simulation.run(3000, |_, _| OK);
    simulation.run(4000, |target, _| if target.real_id == 1 { TIMEOUT } else { OK });
    let held = simulation.state(&targets[1]).held_until_ms.unwrap() - BEGIN - simulation.now;
    assert!((58_000..=60_000).contains(&held), "{held} ms");
}

#[test]
fn without_time_nothing_freezes() {
    let targets = targets(2);
    let mut simulation = Simulation::new(targets.clone());
    simulation.engine.set_freeze_for(0);
    simulation.run(5000, |_, _| OK);
    simulation.run(4000, |_, _| TIMEOUT);
    assert_eq!((down(&simulation, &targets), simulation.engine.frozen()), (20, None));
}

#[test]
fn slow_checks_are_frozen_from_the_first_fall_on() {
    let slow = check(60_000);
    let targets: Vec<_> = (0..20).map(|real| target(real, real % 2, &slow)).collect();
    let mut simulation = Simulation::new(targets.clone());
    simulation.run(120_000, |_, _| OK);
    let begin = simulation.now;
    while down(&simulation, &targets) == 0 {
        simulation.run(1000, |_, _| TIMEOUT);
    }
    let took = simulation.now - begin;
    assert!((130_000..=195_000).contains(&took), "three failures of one target, and ten seconds: {took} ms");
}

#[test]
fn many_failures_of_one_service_cost_little() {
    let all = check(1000);
    let targets: Vec<_> = (0..20_000).map(|real| target(real, 1, &all)).collect();
    let mut engine = Engine::new(100_000, 1);
    engine.plan(targets.clone(), at(0));
    let begin = std::time::Instant::now();
    for round in 1..=5 {
        for probe in engine.next(at(round * 1000)).start {
            let code = if round == 1 { OK } else { TIMEOUT };
            engine.ended(probe.id, result(code), None, at(round * 1000 + 1));
        }
    }
    assert!(engine.states(at(6000)).values().all(|state| state.health == Health::Down));
    // With a scan of all targets at each failure, it is minutes.
    assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
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
        flaps: 0,
        flaps_until_ms: None,
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

#[test]
fn what_fell_since_the_last_success_of_the_canary_is_taken_back() {
    let by_path = Check { via: Via::Path, ..check(1000) };
    let targets = [target(1, 1, &by_path), target(2, 1, &check(1000))];
    let mut simulation = Simulation::new(targets.to_vec());
    simulation.run(3000, |_, _| OK);
    simulation.engine.canary(Ok(()), at(simulation.now));
    // Much longer than the interval: the canary was late.
    simulation.run(9000, |_, _| TIMEOUT);
    assert_eq!(targets.each_ref().map(|it| simulation.health(it)), [Health::Down; 2]);
    simulation.engine.canary(Err("no answer".into()), at(simulation.now));
    assert_eq!(targets.each_ref().map(|it| simulation.health(it)), [Health::Up, Health::Down]);
    simulation.run(20_000, |_, _| TIMEOUT);
    assert_eq!(simulation.health(&targets[0]), Health::Up);
    simulation.engine.canary(Ok(()), at(simulation.now));
    simulation.run(4000, |_, _| TIMEOUT);
    simulation.engine.canary(Err("no answer".into()), at(simulation.now));
    simulation.engine.canary(Err("no answer".into()), at(simulation.now));
    assert_eq!(simulation.health(&targets[0]), Health::Up);
}
