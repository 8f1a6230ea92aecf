// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the times of probes.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, time::Instant};

use super::*;

const OK: ResultCode = ResultCode::L4Ok;

/// Returns the times between the starts of the probes of the only target.
fn gaps(simulation: &mut Simulation, milliseconds: u64, code: ResultCode) -> Vec<u64> {
    let mut starts = Vec::new();
    simulation.run(milliseconds, |_, now| {
        starts.push(now);
        code
    });
    starts.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn a_new_target_is_probed_within_a_second_and_then_at_its_phase() {
    let targets: Vec<_> = (0..1000).map(|real| target(real, 1, &check(4000))).collect();
    let mut simulation = Simulation::new(targets);
    let mut starts: BTreeMap<TargetKey, Vec<u64>> = BTreeMap::new();
    simulation.run(20_000, |target, now| {
        starts.entry(target.key.clone()).or_default().push(now);
        OK
    });
    assert_eq!(starts.len(), 1000);
    let mut by_second = [0; 4];
    for times in starts.values() {
        assert!(times[0] < 1000, "{times:?}");
        assert!((2000..6000).contains(&(times[1] - times[0])), "{times:?}");
        assert!(times[1..].windows(2).all(|pair| pair[1] - pair[0] == 4000), "{times:?}");
        by_second[(times[2] % 4000 / 1000) as usize] += 1;
    }
    assert!(by_second.iter().all(|number| (150..350).contains(number)), "{by_second:?}");
}

#[test]
fn each_state_has_its_interval() {
    let mut check = check(2000);
    check.timing.timeout = Period::from_millis(500);
    check.timing.fast_interval = Some(Period::from_millis(500));
    check.timing.down_interval = Some(Period::from_millis(5000));
    let mut simulation = Simulation::new(vec![target(1, 1, &check)]);
    simulation.run(10_000, |_, _| OK);
    assert!(gaps(&mut simulation, 10_000, OK).iter().all(|gap| *gap == 2000));
    let falling = gaps(&mut simulation, 20_000, ResultCode::L4Timeout);
    assert_eq!(falling[..3], [500, 500, 5000]);
    let rising = gaps(&mut simulation, 20_000, OK);
    assert_eq!(rising[..3], [500, 2000, 2000]);
    let errors = gaps(&mut simulation, 5000, ResultCode::SocketError);
    assert!(errors[..3].iter().all(|gap| *gap == 500), "{errors:?}");
}

/// A short interval of reals that are down brings them back soon, although checks are rare.
#[test]
fn the_success_after_the_first_one_comes_as_soon() {
    let mut check = check(30_000);
    check.timing.timeout = Period::from_millis(500);
    check.timing.down_interval = Some(Period::from_millis(1000));
    let mut simulation = Simulation::new(vec![target(1, 1, &check)]);
    simulation.run(10_000, |_, _| ResultCode::L4Timeout);
    let rising = gaps(&mut simulation, 40_000, OK);
    assert_eq!(rising[0], 1000, "{rising:?}");
}

#[test]
fn jitter_varies_the_interval_within_its_bounds() {
    let mut check = check(1000);
    check.timing.jitter = 20;
    let mut simulation = Simulation::new(vec![target(1, 1, &check)]);
    simulation.run(5000, |_, _| OK);
    let gaps = gaps(&mut simulation, 1_000_000, OK);
    assert!(gaps.iter().all(|gap| (800..=1200).contains(gap)));
    assert!(gaps.iter().any(|gap| *gap < 850) && gaps.iter().any(|gap| *gap > 1150));
}

#[test]
fn a_hint_brings_the_next_probe_forward_but_a_storm_of_hints_does_not_flood() {
    let mut check = check(10_000);
    check.timing.timeout = Period::from_millis(500);
    check.timing.fast_interval = Some(Period::from_millis(1000));
    let target = target(1, 1, &check);
    let mut simulation = Simulation::new(vec![target.clone()]);
    simulation.run(30_000, |_, _| OK);
    let mut last = 0;
    simulation.run(10_001, |_, now| {
        last = now;
        OK
    });
    simulation.run(last + 5000 - simulation.now.min(last + 5000) + 1, |_, _| OK);
    let hinted = simulation.now;
    simulation.engine.hint(Suspect::Host(target.key.host()), at(hinted));
    let mut starts = Vec::new();
    simulation.run(5000, |_, now| {
        starts.push(now - hinted);
        if starts.len() < 3 { ResultCode::SocketError } else { OK }
    });
    assert_eq!(starts, [0, 1000, 2000], "fast until a success");
    // After 0.5 s, 1, 2, 4 and 8 s, then at the interval: each success makes the next hint wait longer.
    let starts = storm(&mut simulation, Suspect::Real(target.key.real), 60_000, OK);
    assert!((8..=11).contains(&starts.len()), "{starts:?}");
    simulation.run(20_000, |_, _| OK);
    let starts = storm(&mut simulation, Suspect::Host(target.key.host()), 1000, OK);
    assert!((1..=3).contains(&starts.len()), "{starts:?}");
    simulation.engine.hint(Suspect::Host("203.0.113.9".parse().unwrap()), at(simulation.now));
}

/// Gives a hint each millisecond, and returns the starts of the probes since the first one.
fn storm(simulation: &mut Simulation, suspect: Suspect, milliseconds: u64, code: ResultCode) -> Vec<u64> {
    let begin = simulation.now;
    let mut starts = Vec::new();
    for _ in 0..milliseconds {
        simulation.engine.hint(suspect, at(simulation.now));
        simulation.run(1, |_, now| {
            starts.push(now - begin);
            code
        });
    }
    starts
}

/// A server that starts again within two seconds stays up, and a dead one is out long before the third interval.
#[test]
fn hints_of_a_failing_target_bring_probes_forward_by_a_bounded_rate() {
    for (fast, step) in [(None, 1000), (Some(400), 400), (Some(50), 250)] {
        let mut check = check(30_000);
        check.timing.timeout = Period::from_millis(50);
        check.timing.fast_interval = fast.map(Period::from_millis);
        let target = target(1, 1, &check);
        let mut simulation = Simulation::new(vec![target.clone()]);
        simulation.run(40_000, |_, _| OK);
        let suspect = Suspect::Real(target.key.real);
        let starts = storm(&mut simulation, suspect, 2 * step + 10, ResultCode::L4Connection);
        let gaps: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let expected = if fast == Some(50) { vec![50; gaps.len()] } else { vec![step; 2] };
        assert_eq!((starts[0], &gaps), (0, &expected), "{fast:?}");
        assert_eq!(simulation.health(&target), Health::Down);
        let starts = storm(&mut simulation, suspect, 29_000, ResultCode::L4Connection);
        assert!(starts.len() <= 1, "a hint tells nothing new of a target that is down: {starts:?}");
    }
}

#[test]
fn a_hint_of_a_real_concerns_its_port_only() {
    let target = target(1, 1, &check(30_000));
    let mut simulation = Simulation::new(vec![target.clone()]);
    simulation.run(40_000, |_, _| OK);
    let mut other = target.key.real;
    other.set_port(81);
    assert!(storm(&mut simulation, Suspect::Real(other), 1000, OK).is_empty());
    assert_eq!(storm(&mut simulation, Suspect::Real(target.key.real), 100, OK), [0]);
}

#[test]
fn a_hint_during_a_probe_causes_another_one() {
    let target = target(1, 1, &check(10_000));
    let mut engine = Engine::new(16, 1);
    engine.plan(vec![target.clone()], at(0));
    let probe = engine.next(at(1000)).start.pop().unwrap();
    engine.hint(Suspect::Host(target.key.host()), at(1100));
    assert!(engine.next(at(1100)).start.is_empty());
    engine.ended(probe.id, result(OK), None, at(1400));
    assert!(engine.next(at(1400)).start.is_empty());
    assert_eq!(engine.next(at(1500)).start.len(), 1);
}

#[test]
fn the_bound_delays_starts_and_they_are_counted() {
    let targets: Vec<_> = (0..10).map(|real| target(real, 1, &check(1000))).collect();
    let mut engine = Engine::new(4, 1);
    engine.plan(targets, at(0));
    let first = engine.next(at(1000));
    assert_eq!((first.start.len(), first.at), (4, None));
    for probe in first.start {
        engine.ended(probe.id, result(OK), None, at(3500));
    }
    assert_eq!(engine.next(at(3500)).start.len(), 4);
    assert_eq!((engine.in_flight(), engine.totals().missed), (4, 4));
    assert!(engine.totals().late >= 4);
}

#[test]
fn ten_thousand_targets_cost_little() {
    let targets: Vec<_> = (0..10_000).map(|real| target(real, real % 50, &check(1000))).collect();
    let begin = Instant::now();
    let mut simulation = Simulation::new(targets);
    let mut probes = 0_u32;
    simulation.run(10_000, |_, _| {
        probes += 1;
        OK
    });
    let each = begin.elapsed() / probes;
    println!("{probes} probes, {each:?} each");
    assert!((95_000..=110_000).contains(&probes), "{probes}");
    assert_eq!(simulation.engine.totals().late, 0);
    // Without optimisation, on a busy machine: far more than it takes.
    assert!(each.as_micros() < 50, "{each:?}");
}
