// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tracking only where a pool change could hurt: living connections stay on their reals, and without a change
//! there are no flow table entries.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
};

use lb_tests::lab::{Director, Lab, Method, Server, Stage, VIP, eventually};

const PORT: u16 = 7000;
const SERVICE: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);

/// A connection, and the real that greeted it.
struct Talk {
    stream: BufReader<TcpStream>,
    real: String,
}

impl Talk {
    fn open(lab: &Lab) -> Self {
        let mut stream = BufReader::new(lab.client.connect(SERVICE).expect("the service answers"));
        let mut real = String::new();
        stream.read_line(&mut real).expect("a greeting");
        Self { stream, real: real.trim().to_owned() }
    }

    /// Checks that the connection is still on the real that greeted: any other real would reset it.
    fn goes_on(&mut self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("the connection to {}: {error}", self.real);
        self.stream.get_mut().write_all(b"still there\n").map_err(failed)?;
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(failed)?;
        if line == "still there\n" { Ok(()) } else { Err(format!("{} said {line:?}", self.real)) }
    }
}

fn greeters(lab: &Lab) -> [Server; 3] {
    lab.reals.each_ref().map(|real| Server::greeter(real, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT)))
}

/// Returns the numbers of tracked flows and of slots in transition, as `xvs service show` prints them.
fn written_and_moved(director: &Director) -> (u64, u64) {
    let status = director.xvs("--output json status").succeeds().json();
    let show = director.xvs(&format!("--output json service show tcp {SERVICE}")).succeeds().json();
    (status["flows"].as_u64().expect("a number"), show["slots_in_transition"].as_u64().expect("a number"))
}

#[test]
fn connections_stay_on_their_reals_through_changes_of_the_pool_and_of_the_daemon() {
    let mut stage = Stage::new();
    let _greeters = greeters(&stage.lab);
    let add = format!("service add tcp {SERVICE} --scheduler mh --tracking auto");
    stage.lab.director.xvs(&add).succeeds();
    let rips = stage.lab.reals.each_ref().map(|real| real.rip);
    for (rip, method) in rips.into_iter().zip(Method::ALL) {
        stage.lab.director.add_real("tcp", PORT, rip, PORT, method, 100);
    }
    let mut talks: Vec<Talk> = (0..200).map(|_| Talk::open(&stage.lab)).collect();

    // A small random generator, the same in every run.
    let mut seed = 0x2545_f491_u32;
    let mut choose = |among: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as usize % among
    };
    for step in 0..30 {
        let rip = rips[choose(3)];
        let weight = [0, 1, 50, 100, 300][choose(5)];
        stage.lab.director.xvs(&format!("real edit tcp {SERVICE} {rip} --weight {weight}")).succeeds();
        if step % 3 == 0 {
            let pool = stage.lab.director.xvs("--output json real list").succeeds().stdout;
            if pool.contains("\"weight\": 0") && pool.matches("\"weight\": 0").count() == 3 {
                continue;
            }
            talks.extend((0..5).map(|_| Talk::open(&stage.lab)));
        }
        if step == 15 {
            stage.daemon.kill();
            stage.daemon = stage.lab.director.start_daemon();
        }
        for talk in &mut talks {
            talk.goes_on().unwrap_or_else(|why| panic!("after step {step}: {why}"));
        }
    }
    assert!(written_and_moved(&stage.lab.director).1 > 0, "slots are in transition");
}

#[test]
fn slots_settle_and_nothing_is_written_down_in_peace() {
    let lab = Lab::new();
    let config = lab.director.path("config.toml");
    fs::write(&config, "[director]\ntcp-timeout = \"2s\"\ntcp-fin-timeout = \"2s\"\n").unwrap();
    for real in &lab.reals {
        real.set_up(Method::Dr);
    }
    let director = &lab.director;
    let _daemon = director.start_daemon_with(&format!("--config {}", config.display()));
    let _greeters = greeters(&lab);
    director.xvs(&format!("service add tcp {SERVICE} --scheduler mh --tracking auto")).succeeds();
    let add = |real: usize| director.add_real("tcp", PORT, lab.reals[real].rip, PORT, Method::Dr, 100);
    add(0);
    let mut talks: Vec<Talk> = (0..25).map(|_| Talk::open(&lab)).collect();
    assert_eq!(written_and_moved(director), (0, 0), "nothing changed yet");
    // Half of the slots move.
    add(1);
    talks.extend((0..25).map(|_| Talk::open(&lab)));
    talks.iter_mut().try_for_each(Talk::goes_on).unwrap();
    assert!(written_and_moved(director).0 > 0, "flows of moved slots have entries");
    // While they live, those on the real that their slot had before hold it in transition.
    talks.drain(..25);

    eventually("every slot has settled, and no flow has an entry", || {
        // The connections continue, so their flows live longer than the timeout.
        talks.iter_mut().try_for_each(Talk::goes_on)?;
        match written_and_moved(director) {
            (0, 0) => Ok(()),
            (flows, slots) => Err(format!("{flows} flows, {slots} slots")),
        }
    });

    talks.extend((0..50).map(|_| Talk::open(&lab)));
    for talk in &mut talks {
        talk.goes_on().unwrap();
    }
    assert_eq!(written_and_moved(director), (0, 0));
    let stats = director.stats();
    assert_eq!(stats.service("tcp", PORT).count.new_flows, 100, "flows are counted by their SYNs");
}

#[test]
fn another_scheduler_takes_effect_at_once_or_by_force() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let _greeters = greeters(lab);
    lab.director.xvs(&format!("service add tcp {SERVICE} --scheduler mh --tracking auto")).succeeds();
    for real in &lab.reals {
        lab.director.add_real("tcp", PORT, real.rip, PORT, Method::Dr, 1);
    }
    let mut talks: Vec<Talk> = (0..30).map(|_| Talk::open(lab)).collect();

    // The table of mh alone has the reals of these connections.
    let edit = |options: &str| lab.director.xvs(&format!("service edit tcp {SERVICE} {options}"));
    let refused = edit("--scheduler wrr").fails(2);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    talks.iter_mut().try_for_each(Talk::goes_on).unwrap();

    let forced = edit("--scheduler wrr --force").succeeds();
    let said = format!("{}{}", forced.stdout, forced.stderr);
    assert!(said.contains("go to other reals and end; 0 connections with an entry stay"), "{said}");
    let ended = talks.iter_mut().filter_map(|talk| talk.goes_on().err()).count();
    assert!(ended > 0, "turns of wrr are not those of mh");

    // Their entries have the reals of these: nothing has to be forced.
    let mut talks: Vec<Talk> = (0..30).map(|_| Talk::open(lab)).collect();
    for real in &lab.reals {
        assert_eq!(talks.iter().filter(|talk| talk.real == real.name()).count(), 10, "wrr takes turns");
    }
    edit("--scheduler lc").succeeds();
    talks.iter_mut().try_for_each(Talk::goes_on).unwrap();
    edit("--scheduler mh").succeeds();
    talks.iter_mut().try_for_each(Talk::goes_on).unwrap();
}
