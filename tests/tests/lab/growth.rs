// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flow table grows and shrinks by itself, while connections of every method go on.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    thread,
    time::{Duration, Instant},
};

use lb_tests::{
    artifacts::is_full,
    lab::{Lab, Method, Real, Server, Stage, VIP, eventually},
};

use crate::million::{ACK, FIN, Flood, flows, places};

/// The service of the flood.
const PORT: u16 = 7000;
const SERVICE: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);
/// Places with which a table begins.
const FIRST: u32 = 1 << 17;
/// More flows than a table of twice that size takes without another growth.
const FLOWS: u32 = 150_000;

/// Connections to services of every method, whose reals return each line.
struct Talks(Vec<(TcpStream, BufReader<TcpStream>)>);

impl Talks {
    fn begin(lab: &Lab) -> Self {
        let connect = |method: Method| {
            let stream = lab.client.connect(method.service()).expect("the service answers");
            stream.set_read_timeout(Some(Duration::from_secs(5))).expect("it is not zero");
            let reader = BufReader::new(stream.try_clone().expect("a file handle more"));
            (stream, reader)
        };
        Self(Method::ALL.into_iter().flat_map(|method| [method; 6]).map(connect).collect())
    }

    /// Sends a line by each connection, and reads it back.
    #[track_caller]
    fn go_on(&mut self, words: &str) {
        for (stream, reader) in &mut self.0 {
            stream.write_all(words.as_bytes()).expect("it is open");
            let mut line = String::new();
            while line != words {
                line.clear();
                assert_ne!(reader.read_line(&mut line).expect("it is open"), 0, "closed before {words}");
            }
        }
    }
}

fn greeters(stage: &Stage) -> Vec<Server> {
    let at = |real: &Real, port| Server::greeter(real, (Ipv4Addr::UNSPECIFIED, port));
    let reals = stage.lab.reals.iter();
    reals.flat_map(|real| Method::real_ports().map(|port| at(real, port))).collect()
}

/// Waits until the table has a number of places that is `right`, and the memory of the one before is free.
fn has_places(stage: &Stage, talks: &mut Talks, right: impl Fn(u32) -> bool, patience: Duration) {
    let (director, began) = (&stage.lab.director, Instant::now());
    let is_there = || {
        let is_alone = ["maps/FLOWS_BEFORE", "new"].iter().all(|name| !director.bpffs().join(name).exists());
        is_alone && right(places(director))
    };
    while !is_there() {
        talks.go_on("meanwhile\n");
        assert!(began.elapsed() < patience, "{} places", places(director));
    }
}

#[test]
fn a_table_grows_while_connections_of_every_method_go_on() {
    let stage = Stage::new();
    let _greeters = greeters(&stage);
    stage.serve_all_methods("tcp", "wrr");
    let director = &stage.lab.director;
    director.serve("tcp", PORT, "wlc", Method::Dr, PORT);
    let mut talks = Talks::begin(&stage.lab);
    talks.go_on("small\n");
    assert_eq!(places(director), FIRST);

    let mut flood = Flood::new(director, SERVICE);
    for flows in (0..=FLOWS).step_by(10_000) {
        flood.establish(director, flows.saturating_sub(10_000), flows);
        talks.go_on("growing\n");
    }
    has_places(&stage, &mut talks, |places| places >= FIRST * 4, Duration::from_secs(30));
    talks.go_on("large\n");
    let tracked = u64::from(FLOWS) + talks.0.len() as u64;
    assert_eq!(flows(director), tracked, "no flow was evicted or lost");
    let stats = director.stats();
    let counted: u64 = stats.service("tcp", PORT).reals.iter().map(|real| real.count.active_flows).sum();
    assert_eq!(counted, u64::from(FLOWS));
    // A flow that has moved is known: its packets are no new flows.
    for flow in (0..FLOWS).step_by(100) {
        flood.send(flow, ACK);
    }
    assert_eq!(director.stats().service("tcp", PORT).count.new_flows, u64::from(FLOWS));
    if is_full() {
        // The quiet time is five minutes.
        shrinks(&stage, &mut talks, &mut flood);
    }
}

/// Ends the flows of the flood, and waits for a small table.
fn shrinks(stage: &Stage, talks: &mut Talks, flood: &mut Flood) {
    let director = &stage.lab.director;
    for flow in 0..FLOWS {
        flood.send(flow, FIN | ACK);
    }
    director.xvs("timeouts --tcp-fin 3s").succeeds();
    eventually("the flows of the flood have ended", || {
        let left = flows(director);
        if left == talks.0.len() as u64 { Ok(()) } else { Err(format!("{left} flows are left")) }
    });
    has_places(stage, talks, |places| places == FIRST, Duration::from_mins(7));
    talks.go_on("small\n");
    assert_eq!(flows(director), talks.0.len() as u64);
}

#[test]
fn a_daemon_that_is_killed_while_the_table_grows_costs_no_connection() {
    let mut stage = Stage::new();
    let _greeters = greeters(&stage);
    stage.serve_all_methods("tcp", "wrr");
    stage.lab.director.serve("tcp", PORT, "wlc", Method::Dr, PORT);
    let mut talks = Talks::begin(&stage.lab);
    let mut flood = Flood::new(&stage.lab.director, SERVICE);
    flood.establish(&stage.lab.director, 0, FLOWS / 2);
    // In the middle of the load of the new programs, then around the moment at which they replace the others.
    for name in ["new", "maps/FLOWS_BEFORE"] {
        let path = stage.lab.director.bpffs().join(name);
        let began = Instant::now();
        while !path.exists() && began.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(1));
        }
        stage.daemon.kill();
        talks.go_on("killed\n");
        stage.daemon = stage.lab.director.start_daemon();
        talks.go_on("again\n");
    }
    has_places(&stage, &mut talks, |places| places >= FIRST * 2, Duration::from_secs(30));
    talks.go_on("large\n");
    assert_eq!(flows(&stage.lab.director), u64::from(FLOWS / 2) + talks.0.len() as u64);
}
