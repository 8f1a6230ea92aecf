// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model of the rules (`tests/src/model`) and the loaded programs agree on what becomes of a million packets: verdict,
//! reason and every byte; and at the end of each scene on flows, connections and counters.
//!
//! `XVS_SEED` repeats a run, `XVS_PACKETS` makes it shorter or longer.

use std::{
    env,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use lb_common::schema::Settings;
use lb_tests::{
    differential::{
        random::Random,
        scene::{Devices, SETTINGS, Scene},
        shrink::shrink,
        traffic::Traffic,
        trial::{Bench, Event},
    },
    packet::{device::with_another_device, judge},
};

/// Packets of a run, and of a scene: a scene takes much less than the ten seconds after which a closed flow is forgotten.
const PACKETS: usize = 1_050_000;
const SCENE: usize = 5_000;
/// One packet in so many is followed by a change of what the operator wants.
const CHANGES: usize = 1_500;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[test]
fn the_model_and_the_programs_agree() {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970").as_nanos() as u64;
    let seed = number("XVS_SEED").unwrap_or_else(clock);
    let packets = number("XVS_PACKETS").map_or(PACKETS, |packets| packets as usize);
    println!("XVS_SEED={seed}");
    with_another_device(|other| {
        let closed = nix::net::if_::if_nametoindex("end").expect("the other end of the pair");
        let devices = Devices { other, closed };
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
    });
}

/// Scene after scene.
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
            eprintln!("as it was first seen:\n{difference}");
            let shrunk = shrink(bench, &scene, history, difference);
            let before: String = shrunk.events.iter().map(show).collect();
            panic!("{}\n{} events:\n{before}\n{}", shrunk.scene, shrunk.events.len(), shrunk.difference);
        }
    }
}

fn show(event: &Event) -> String {
    match event {
        Event::Frame(frame, device) => format!("by device {device}:\n{}", judge::decode(frame)),
        Event::Age => "all changes were long ago\n".to_owned(),
        Event::Change(desired) => format!("the operator wants {desired:?}\n"),
    }
}
