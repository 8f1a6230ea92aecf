// SPDX-License-Identifier: MIT OR Apache-2.0
//! 2,000 connections through 50 changes of the pool: connections of living reals stay there, and those of
//! removed reals are reset at once.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    time::{Duration, Instant},
};

use lb_tests::lab::{Director, Lab, Method, Server, Stage, VIP};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rstest::rstest;

const PORT: u16 = 7000;
const SERVICE: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);
const CONNECTIONS: usize = 2000;
const STEPS: usize = 50;
/// Maximum time until a client learns that its real was removed.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A connection, and the real that greeted it.
struct Talk {
    stream: TcpStream,
    real: String,
}

impl Talk {
    fn open(lab: &Lab) -> Self {
        let mut stream = lab.client.connect(SERVICE).expect("the service answers");
        let mut greeting = [0; 6];
        stream.read_exact(&mut greeting).expect("a greeting");
        Self { stream, real: String::from_utf8_lossy(&greeting[..5]).into_owned() }
    }

    fn says(&mut self, words: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(words)
    }

    fn hears(&mut self, words: &[u8]) -> std::io::Result<()> {
        let mut echo = vec![0; words.len()];
        self.stream.read_exact(&mut echo)?;
        assert_eq!(echo, words, "{}", self.real);
        Ok(())
    }
}

/// Random choices that are the same in every run.
struct Dice(u32);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % sides
    }
}

/// The pool as the test has changed it: weights by the index of the real in the lab.
struct Pool<'a> {
    director: &'a Director,
    rips: [Ipv4Addr; 3],
    weights: BTreeMap<usize, u32>,
}

impl Pool<'_> {
    fn xvs(&self, verb: &str, real: usize, options: &str) {
        self.director.xvs(&format!("real {verb} tcp {SERVICE} {} {options}", self.rips[real])).succeeds();
    }

    fn add(&mut self, real: usize) {
        let method = Method::ALL[real];
        self.director.add_real("tcp", PORT, self.rips[real], PORT, method, 100);
        self.weights.insert(real, 100);
    }

    /// Returns whether any real accepts new connections.
    fn is_open(&self) -> bool {
        self.weights.values().any(|weight| *weight > 0)
    }

    /// Makes one random change. Returns the removed real, if the change removed one.
    fn change(&mut self, dice: &mut Dice) -> Option<usize> {
        let real = dice.roll(3);
        if !self.weights.contains_key(&real) {
            self.add(real);
            return None;
        }
        // A real does not learn that its clients were reset, and keeps its ends of the connections: not too
        // many.
        match dice.roll(10) {
            0 if self.weights.len() > 1 => {
                self.xvs("remove", real, "");
                self.weights.remove(&real);
                return Some(real);
            }
            1 => {
                self.xvs("drain", real, "");
                self.weights.insert(real, 0);
            }
            _ => {
                let weight = [1, 50, 100, 300][dice.roll(4)];
                self.xvs("edit", real, &format!("--weight {weight}"));
                self.weights.insert(real, weight);
            }
        }
        None
    }
}

#[rstest]
fn two_thousand_connections_stay_through_fifty_changes(#[values("mh", "wlc")] scheduler: &str) {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let stage = Stage::new();
    let lab = &stage.lab;
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT);
    let _greeters = lab.reals.each_ref().map(|real| Server::greeter(real, any));
    lab.director.xvs(&format!("service add tcp {SERVICE} --scheduler {scheduler}")).succeeds();
    let rips = lab.reals.each_ref().map(|real| real.rip);
    let mut pool = Pool { director: &lab.director, rips, weights: BTreeMap::new() };
    (0..3).for_each(|real| pool.add(real));
    let mut talks: Vec<Talk> = (0..CONNECTIONS).map(|_| Talk::open(lab)).collect();
    let mut dice = Dice(0x2545_f491);
    let mut reset = 0;
    for step in 0..STEPS {
        if let Some(removed) = pool.change(&mut dice) {
            let name = format!("real{}", removed + 1);
            let (gone, stay): (Vec<_>, Vec<_>) = talks.into_iter().partition(|talk| talk.real == name);
            talks = stay;
            let since = Instant::now();
            for mut talk in gone {
                // The reset comes in answer to the first data.
                let told = talk.says(b"hello?").and_then(|()| talk.hears(b"hello?")).unwrap_err();
                assert_eq!(told.kind(), std::io::ErrorKind::ConnectionReset, "step {step}: {told}");
                reset += 1;
            }
            assert!(since.elapsed() < AT_ONCE, "step {step}: {:?} to tell them", since.elapsed());
        }
        let words = format!("after step {step}\n");
        for talk in &mut talks {
            talk.says(words.as_bytes()).unwrap();
        }
        for talk in &mut talks {
            let real = talk.real.clone();
            talk.hears(words.as_bytes())
                .unwrap_or_else(|why| panic!("step {step}, on {real}, pool {:?}: {why}", pool.weights));
        }
        while pool.is_open() && talks.len() < CONNECTIONS {
            talks.push(Talk::open(lab));
        }
    }
    assert!(reset > 0, "some real was removed");
}
