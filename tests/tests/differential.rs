// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model of the rules (`tests/src/model`) and the loaded programs agree on the fate of a million packets
//! (verdict, reason and every byte), and at the end of each scene on flows, connections and counters.
//!
//! `XVS_SEED` repeats a run, `XVS_PACKETS` makes it shorter or longer.

#![expect(clippy::print_stdout, reason = "a seed, to repeat a run by, and what the run came by")]

use std::{
    env,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use lb_common::schema::Settings;
use lb_tests::{
    differential::{
        parser,
        random::Random,
        scene::{SETTINGS, Scene},
        shrink::shrink,
        traffic::Traffic,
        trial::{Bench, Event},
    },
    packet::device::{Devices, enter_another},
};

/// Packets of a run, and of a scene: a scene takes much less than the ten seconds after which a closed flow
/// is forgotten.
const PACKETS: usize = 1_050_000;
const SCENE: usize = 5_000;
/// One packet in this number is followed by a change of the operator.
const CHANGES: usize = 1_500;

fn seed() -> u64 {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970").as_nanos() as u64;
    let seed = number("XVS_SEED").unwrap_or_else(clock);
    println!("XVS_SEED={seed}");
    seed
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[test]
fn the_model_and_the_programs_agree() {
    let seed = seed();
    let packets = number("XVS_PACKETS").map_or(PACKETS, |packets| packets as usize);
    // The thread of a test ends with it, and so does its network namespace.
    let devices = enter_another();
    let started = Instant::now();
    let mut random = Random(seed);
    // ICMP errors may be sent, and, for one packet in eight, must not.
    let mut bench = Bench::new(SETTINGS, devices);
    run(&mut bench, devices, &mut random, packets / 8 * 7);
    let tally = std::mem::take(&mut bench.tally);
    drop(bench);
    let mut bench = Bench::new(Settings { icmp_per_second: 0, ..SETTINGS }, devices);
    bench.tally = tally;
    run(&mut bench, devices, &mut random, packets / 8);
    println!("{}in {:?}", bench.tally, started.elapsed());
    if packets >= 1_000_000 {
        bench.tally.is_complete();
    }
}

/// Compares the facts that both parsers find in a packet, and in the quote of an error, whether or not it is
/// for a service.
#[test]
fn the_parsers_agree() {
    let mut random = Random(seed());
    let devices = Devices { other: 2, closed: 3 };
    for number in 0..20 {
        let scene = Scene::random(number, &mut random, devices);
        let mut traffic = Traffic::new(Random(random.number()), &scene.desired, devices);
        for _ in 0..SCENE {
            let (mut frame, _) = traffic.frame();
            // As after the removal of its tags, with any content behind them.
            while matches!(frame[12..14], [0x81, 0x00] | [0x88, 0xa8]) && frame.len() >= 18 {
                frame.drain(12..16);
            }
            parser::agree(&frame).unwrap_or_else(|difference| panic!("{difference}"));
        }
    }
}

/// Runs one scene after another.
fn run(bench: &mut Bench, devices: Devices, random: &mut Random, packets: usize) {
    for number in 0..packets.div_ceil(SCENE) {
        let scene_seed = random.number();
        let mut random = Random(scene_seed);
        let scene = Scene::random(number, &mut random, devices);
        let mut traffic = Traffic::new(Random(random.number()), &scene.desired, devices);
        let mut desired = scene.desired.clone();
        let mut history = Vec::new();
        let mut trial = bench.begin(&scene);
        let difference = (0..SCENE).find_map(|_| {
            let event = if random.one_in(4 * CHANGES) {
                Event::Age
            } else if random.one_in(CHANGES) {
                desired = Scene::changed(&mut random, &desired);
                Event::Change(Box::new(desired.clone()))
            } else {
                let (frame, device) = traffic.frame();
                Event::Frame(frame, device)
            };
            history.push(event);
            match (trial.step(history.last().expect("it was pushed")), history.last()) {
                (Ok(Some(outcome)), Some(Event::Frame(sent, _))) => {
                    traffic.notice(sent, &outcome);
                    None
                }
                (Ok(_), _) => None,
                (Err(difference), _) => Some(difference),
            }
        });
        if let Some(difference) = difference.or_else(|| trial.end().err()) {
            eprintln!("after {} packets:\n{difference}", bench.tally.packets);
            panic!("{}", shrink(bench, &scene, history, difference));
        }
    }
}
