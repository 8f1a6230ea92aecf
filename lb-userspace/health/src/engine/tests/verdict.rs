// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of counts, hold-down and restored states.
#![forbid(unsafe_code)]

use super::*;

const OK: ResultCode = ResultCode::L4Ok;
const REFUSED: ResultCode = ResultCode::L4Connection;

/// Hands the engine the results of successive probes of its only target. Returns the time of the last one.
fn feed(simulation: &mut Simulation, codes: &[ResultCode]) {
    for code in codes {
        let probe = loop {
            let next = simulation.engine.next(at(simulation.now));
            match next.start.into_iter().next() {
                Some(probe) => break probe,
                None => simulation.now = next.at.unwrap(),
            }
        };
        simulation.engine.ended(probe.id, result(*code), None, at(simulation.now));
    }
}

#[test]
fn the_first_verdict_decides_at_once() {
    for (code, health) in [(OK, Health::Up), (REFUSED, Health::Down)] {
        let target = target(1, 1, &check(1000));
        let mut simulation = Simulation::new(vec![target.clone()]);
        assert_eq!(simulation.health(&target), Health::Unknown);
        feed(&mut simulation, &[ResultCode::SocketError]);
        assert_eq!(simulation.health(&target), Health::Unknown);
        feed(&mut simulation, &[code]);
        assert_eq!(simulation.health(&target), health);
    }
}

#[test]
fn rise_and_fall_count_results_in_a_row() {
    let target = target(1, 1, &check(1000));
    let mut simulation = Simulation::new(vec![target.clone()]);
    feed(&mut simulation, &[OK, REFUSED, REFUSED]);
    assert_eq!(simulation.state(&target).progress, (2, 3));
    feed(&mut simulation, &[OK, REFUSED, REFUSED]);
    assert_eq!(simulation.health(&target), Health::Up);
    feed(&mut simulation, &[ResultCode::SocketError, REFUSED]);
    let state = simulation.state(&target);
    assert_eq!((state.health, state.is_silent, state.progress), (Health::Down, true, (0, 2)));
    feed(&mut simulation, &[ResultCode::L7Status]);
    assert!(!simulation.state(&target).is_silent, "the real answers, if wrongly");
    feed(&mut simulation, &[OK]);
    assert_eq!(simulation.state(&target).progress, (1, 2));
    feed(&mut simulation, &[REFUSED, OK]);
    assert_eq!(simulation.health(&target), Health::Down);
    feed(&mut simulation, &[OK]);
    assert_eq!(simulation.health(&target), Health::Up);
    let turns = simulation.engine.take_events().into_iter().filter_map(|event| match event.kind {
        EventKind::Turned { from, to, .. } => Some((from, to)),
        _ => None,
    });
    let expected = [(Health::Unknown, Health::Up), (Health::Up, Health::Down), (Health::Down, Health::Up)];
    assert!(turns.eq(expected));
}

#[test]
fn the_hold_down_doubles_up_to_five_minutes_and_is_forgotten() {
    let mut target = target(1, 1, &check(1000));
    target.hold_down = Period::from_millis(10_000);
    let mut simulation = Simulation::new(vec![target.clone()]);
    feed(&mut simulation, &[OK]);
    let mut cycle = |pause: u64| {
        simulation.run(pause, |_, _| OK);
        feed(&mut simulation, &[REFUSED; 3]);
        let (down, state) = (simulation.now, simulation.state(&target));
        assert_eq!(state.health, Health::Down);
        assert!(state.held_until_ms.is_some());
        let mut most = 0;
        while simulation.health(&target) == Health::Down {
            feed(&mut simulation, &[OK]);
            most = most.max(simulation.state(&target).progress.0);
        }
        assert_eq!(most, 2, "the target waits with all its successes");
        simulation.now - down
    };
    let held: Vec<u64> = (0..7).map(|_| cycle(1000)).collect();
    assert_eq!(held, [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    assert_eq!(cycle(11 * 60_000), 10_000);
}

#[test]
fn without_hold_down_only_rise_counts() {
    let target = target(1, 1, &check(1000));
    let mut simulation = Simulation::new(vec![target.clone()]);
    feed(&mut simulation, &[OK, REFUSED, REFUSED, REFUSED]);
    let down = simulation.now;
    assert_eq!(simulation.state(&target).held_until_ms, None);
    feed(&mut simulation, &[OK, OK]);
    assert_eq!((simulation.health(&target), simulation.now - down), (Health::Up, 2000));
}

#[test]
fn a_recent_state_is_restored_and_an_old_one_is_assumed() {
    let target = target(1, 1, &check(1000));
    for (age, health, assumed) in [(2900, Health::Up, None), (3100, Health::Unknown, Some(Health::Up))] {
        let mut engine = Engine::new(16, 1);
        let since_ms = BEGIN - 1_000_000;
        let saved = Saved {
            key: target.key.clone(),
            health: Health::Up,
            since_ms,
            is_silent: false,
            weight_percent: Some(50),
            held_until_ms: None,
            flaps: 0,
            flaps_until_ms: None,
            at_ms: BEGIN - age,
        };
        engine.restore(vec![saved.clone()]);
        engine.plan(vec![target.clone()], at(0));
        let mut simulation = Simulation { engine, now: 0 };
        let state = simulation.state(&target);
        assert_eq!((state.health, state.assumed, state.effective()), (health, assumed, Health::Up));
        assert_eq!((state.since_ms, state.weight_percent), (since_ms, Some(50)));
        assert_eq!(Saved::of(&target.key, &state).map(|it| it.health), Some(Health::Up));
        feed(&mut simulation, &[REFUSED]);
        let is_down = simulation.health(&target) == Health::Down;
        assert_eq!(is_down, assumed.is_some(), "an assumed state ends with the first verdict");
    }
}

#[test]
fn a_new_definition_keeps_the_state_and_a_removed_target_loses_it() {
    let one = target(1, 1, &check(1000));
    let mut simulation = Simulation::new(vec![one.clone()]);
    feed(&mut simulation, &[OK, REFUSED, REFUSED]);
    let changed = Target { check: Arc::new(Check { port: Some(8080), ..check(1000) }), ..one.clone() };
    let now = at(simulation.now);
    let running = loop {
        simulation.now += 1;
        if let Some(probe) = simulation.engine.next(at(simulation.now)).start.pop() {
            break probe;
        }
    };
    simulation.engine.plan(vec![changed], now);
    assert_eq!((simulation.health(&one), simulation.state(&one).progress), (Health::Up, (0, 3)));
    simulation.engine.plan(vec![], now);
    simulation.engine.plan(vec![one.clone()], now);
    simulation.engine.ended(running.id, result(OK), None, now);
    assert_eq!(simulation.health(&one), Health::Unknown, "the result was that of an earlier target");
    assert_eq!(simulation.engine.in_flight(), 0);
}

#[test]
fn the_weight_of_a_command_is_published() {
    let target = target(1, 1, &check(1000));
    let mut engine = Engine::new(16, 1);
    engine.plan(vec![target.clone()], at(0));
    engine.take_changed();
    let probe = engine.next(at(1000)).start.pop().unwrap();
    engine.ended(probe.id, result(ResultCode::ProcessOk), Some(30), at(1000));
    assert!(engine.take_changed() && !engine.take_changed());
    assert_eq!(engine.state(&target.key, at(1000)).unwrap().weight_percent, Some(30));
}

#[test]
fn the_hold_down_survives_a_restart() {
    let mut target = target(1, 1, &check(1000));
    target.hold_down = Period::from_millis(10_000);
    let mut simulation = Simulation::new(vec![target.clone()]);
    feed(&mut simulation, &[OK, REFUSED, REFUSED, REFUSED]);
    let mut saved = Saved::of(&target.key, &simulation.state(&target)).unwrap();
    let held = saved.held_until_ms.unwrap() - BEGIN;
    saved.at_ms = BEGIN + simulation.now;
    let mut engine = Engine::new(16, 1);
    engine.restore(vec![saved]);
    engine.plan(vec![target.clone()], at(simulation.now));
    let mut simulation = Simulation { engine, now: simulation.now };
    while simulation.health(&target) == Health::Down {
        feed(&mut simulation, &[OK]);
    }
    assert_eq!(simulation.now, held);
}

#[test]
fn the_hold_down_and_its_doubling_survive_a_long_stop() {
    let mut target = target(1, 1, &check(1000));
    target.hold_down = Period::from_millis(10_000);
    let mut simulation = Simulation::new(vec![target.clone()]);
    let fall = |simulation: &mut Simulation| {
        while simulation.health(&target) != Health::Down {
            feed(simulation, &[REFUSED]);
        }
    };
    feed(&mut simulation, &[OK]);
    fall(&mut simulation);
    let saved = Saved::of(&target.key, &simulation.state(&target)).unwrap();
    let held = saved.held_until_ms.unwrap() - BEGIN;
    // Five seconds later, the state is older than three intervals.
    let restart = |saved: Saved, now: u64| {
        let mut engine = Engine::new(16, 1);
        engine.restore(vec![Saved { at_ms: BEGIN, ..saved }]);
        engine.plan(vec![target.clone()], at(now));
        Simulation { engine, now }
    };
    let mut simulation = restart(saved, simulation.now + 5000);
    while simulation.health(&target) == Health::Down {
        feed(&mut simulation, &[OK]);
    }
    assert!(simulation.now >= held, "{} {held}", simulation.now);
    let saved = Saved::of(&target.key, &simulation.state(&target)).unwrap();
    let mut simulation = restart(saved, simulation.now);
    fall(&mut simulation);
    let held = simulation.state(&target).held_until_ms.unwrap() - BEGIN - simulation.now;
    assert!((19_000..=20_000).contains(&held), "the second fall within ten minutes doubles: {held} ms");
}

#[test]
fn a_check_with_another_name_keeps_its_states() {
    let one = target(1, 1, &check(1000));
    let mut simulation = Simulation::new(vec![one.clone()]);
    feed(&mut simulation, &[OK, REFUSED]);
    let before = simulation.state(&one);
    let mut renamed = one.clone();
    renamed.key.name = "other".parse().unwrap();
    simulation.engine.plan(vec![renamed.clone()], at(simulation.now));
    assert_eq!(simulation.state(&renamed), before);
    let mut redefined = renamed.clone();
    redefined.key.name = "third".parse().unwrap();
    redefined.check = Arc::new(Check { port: Some(8080), ..check(1000) });
    simulation.engine.plan(vec![redefined.clone()], at(simulation.now));
    assert_eq!(simulation.health(&redefined), Health::Unknown);
}

#[test]
fn a_target_of_a_later_plan_has_no_state_from_before_the_restart() {
    let [one, other] = [1, 2].map(|number| target(number, 1, &check(1000)));
    let mut simulation = Simulation::new(vec![one.clone(), other.clone()]);
    simulation.run(5000, |_, _| OK);
    let saved = [&one, &other].map(|target| Saved::of(&target.key, &simulation.state(target)).unwrap());
    let mut engine = Engine::new(16, 1);
    engine.restore(saved.to_vec());
    engine.plan(vec![one.clone()], at(0));
    engine.plan(vec![one.clone(), other.clone()], at(0));
    let simulation = Simulation { engine, now: 0 };
    assert_eq!(simulation.state(&one).effective(), Health::Up);
    assert_eq!(simulation.state(&other).effective(), Health::Unknown);
}

#[test]
fn the_result_of_a_probe_of_an_old_definition_does_not_count() {
    let mut one = target(1, 1, &check(1000));
    let mut engine = Engine::new(16, 1);
    engine.plan(vec![one.clone()], at(0));
    let old = engine.next(at(1000)).start.remove(0);
    one.check = Check { path: Some("/new".to_owned()), ..check(1000) }.into();
    engine.plan(vec![one.clone()], at(1000));
    engine.ended(old.id, result(REFUSED), None, at(1001));
    assert_eq!(engine.state(&one.key, at(1001)).unwrap().health, Health::Unknown);
    let new = engine.next(at(2000)).start.remove(0);
    engine.ended(new.id, result(REFUSED), None, at(2001));
    assert_eq!(engine.state(&one.key, at(2001)).unwrap().health, Health::Down);
}
