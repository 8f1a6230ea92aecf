// SPDX-License-Identifier: MIT OR Apache-2.0
//! The daemon dies and comes back.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddrV4},
    process::Command,
};

use aya::maps::{Array, MapData};
use lb_tests::lab::{Lab, Method, Process, Server, Stage, VIP, eventually};

const MEGABYTES: usize = 100;

/// A connection that stays open beside the downloads.
const IDLE_PORT: u16 = 7000;

#[test]
fn downloads_and_connections_survive_the_daemon() {
    let mut stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "wrr");
    let original = stage.lab.big_file("big", MEGABYTES);
    stage.lab.director.serve("tcp", IDLE_PORT, "wrr", Method::Dr, IDLE_PORT);
    let _greeters = stage
        .lab
        .reals
        .each_ref()
        .map(|real| Server::greeter(real, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, IDLE_PORT)));
    let mut idle = stage.lab.client.connect(SocketAddrV4::new(VIP, IDLE_PORT)).unwrap();
    let mut idle_reader = BufReader::new(idle.try_clone().unwrap());
    let mut line = String::new();
    idle_reader.read_line(&mut line).unwrap();

    let downloads = Method::ALL.map(|method| start_download(&stage.lab, method));
    for method in Method::ALL {
        let file = stage.lab.client.path(method.as_str());
        eventually("the download is on its way", || match fs::metadata(&file).map_or(0, |file| file.len()) {
            enough if enough > 5_000_000 => Ok(()),
            few => Err(format!("{few} bytes")),
        });
    }
    let services = stage.lab.director.xvs("export").succeeds().stdout;
    stage.daemon.kill();
    for mut download in downloads {
        assert_eq!(download.ends(), Some(0), "{}", download.log());
    }

    stage.daemon = stage.lab.director.start_daemon();
    let director = &stage.lab.director;

    for method in Method::ALL {
        let downloaded = fs::read(stage.lab.client.path(method.as_str())).unwrap();
        assert!(downloaded == fs::read(&original).unwrap(), "{method:?}: another file arrived");
    }
    assert_eq!(director.xvs("export").succeeds().stdout, services);
    // The programs counted without the daemon: all packets to the director were for one of the services.
    eventually("the counters hold what the switch saw", || {
        let counts = director.stats().services.into_iter().map(|service| service.count);
        let counted: u64 = counts.map(|count| count.packets_in + count.packets_out).sum();
        let seen = stage.lab.crossing().reached_director();
        if counted == seen { Ok(()) } else { Err(format!("counted {counted}, seen {seen}")) }
    });
    let client = idle.local_addr().unwrap().to_string();
    director.xvs("--output json connections").succeeds().says(&client);
    idle.write_all(b"still there\n").unwrap();
    line.clear();
    idle_reader.read_line(&mut line).unwrap();
    assert_eq!(line, "still there\n");
    for method in Method::ALL {
        stage.lab.client.requests(method.service(), 10).is_complete(10);
    }
}

#[test]
fn a_stopped_daemon_leaves_forwarding_on_unless_told_otherwise() {
    let mut stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");

    assert_eq!(stage.daemon.stop(), Some(0));
    for method in Method::ALL {
        stage.lab.client.requests(method.service(), 5).is_complete(5);
    }

    stage.daemon = stage.lab.director.start_daemon_with("--detach-on-exit");
    stage.lab.client.requests(Method::Nat.service(), 5).is_complete(5);
    assert_eq!(stage.daemon.stop(), Some(0));
    stage.lab.director.sh("ip link show eth0").succeeds().does_not_say("xdp");
}

#[test]
fn changes_of_a_pool_do_not_move_living_connections() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let address = SocketAddrV4::new(VIP, IDLE_PORT);
    lab.director.xvs(&format!("service add tcp {address} --scheduler mh")).succeeds();
    let [first, second, _] = &lab.reals;
    lab.director.add_real("tcp", IDLE_PORT, first.rip, IDLE_PORT, Method::Dr, 100);
    let _greeters = lab
        .reals
        .each_ref()
        .map(|real| Server::greeter(real, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, IDLE_PORT)));
    let streams: Vec<_> = (0..40).map(|_| lab.client.connect(address).unwrap()).collect();

    lab.director.add_real("tcp", IDLE_PORT, second.rip, IDLE_PORT, Method::Tun, 100);

    for mut stream in streams {
        stream.write_all(b"who are you\n").unwrap();
        let lines: Vec<_> = BufReader::new(stream).lines().take(2).map(Result::unwrap).collect();
        assert_eq!(lines, ["real1", "who are you"]);
    }
    let later = lab.client.spread(address, 100);
    assert!(later.is_complete(100).by("real2") > 20, "{later:?}");
}

/// The daemon leaves the pins of another schema alone, and the programs behind them continue to forward.
#[test]
fn pins_of_another_schema_are_refused_and_forwarding_goes_on() {
    let mut stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");
    let director = &stage.lab.director;
    stage.daemon.stop();
    let schema = director.bpffs().join("maps/SCHEMA");
    fs::remove_file(&schema).unwrap();
    let mut other = Array::<MapData, u32>::create(1, 0).unwrap();
    other.set(0, 4711, 0).unwrap();
    other.pin(&schema).unwrap();

    director.refused_daemon().fails(1).says("schema 4711").says("hint: ");

    for method in Method::ALL {
        stage.lab.client.requests(method.service(), 5).is_complete(5);
    }
}

/// Starts a download that takes some seconds.
fn start_download(lab: &Lab, method: Method) -> Process {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--limit-rate", "30M", "--output"]);
    curl.arg(lab.client.path(method.as_str())).arg(format!("http://{VIP}:{}/files/big", method.port()));
    lab.client.start(method.as_str(), &mut curl)
}

#[test]
fn connections_of_every_method_survive_larger_tables_and_a_daemon_that_is_killed_while_it_makes_them() {
    let mut stage = Stage::new();
    let _greeters: Vec<_> = stage
        .lab
        .reals
        .iter()
        .flat_map(|real| {
            Method::real_ports().map(|port| Server::greeter(real, (Ipv4Addr::UNSPECIFIED, port)))
        })
        .collect();
    stage.serve_all_methods("tcp", "wrr");
    let mut connections: Vec<_> = Method::ALL
        .into_iter()
        .flat_map(|method| [method; 3])
        .map(|method| stage.lab.client.connect(method.service()).expect("all is well"))
        .collect();
    let mut readers: Vec<_> =
        connections.iter().map(|stream| BufReader::new(stream.try_clone().expect("ours"))).collect();
    let mut answers = |words: &str| {
        for (stream, reader) in connections.iter_mut().zip(&mut readers) {
            stream.write_all(words.as_bytes()).expect("it is open");
            let mut line = String::new();
            while line != words {
                line.clear();
                assert_ne!(reader.read_line(&mut line).expect("it is open"), 0, "closed before {words}");
            }
        }
    };
    answers("before\n");
    let director = &stage.lab.director;
    director
        .xvs("resize --max-flows 2000000 --max-flows6 300000")
        .succeeds()
        .says("the tables hold 2000000 IPv4 flows");
    answers("larger\n");
    director.xvs("resize --max-flows 1000").fails(2);

    let line = format!("--socket {} resize --max-flows 4000000", director.socket().display());
    let mut resize = Command::new(lb_tests::artifacts::xvs());
    let _resize = director.start("resize", resize.args(line.split_whitespace()));
    eventually("it has begun", || {
        let aside = director.bpffs().join("aside");
        if aside.exists() { Ok(()) } else { Err("the maps are where they were".to_owned()) }
    });
    stage.daemon.kill();
    answers("killed\n");
    stage.daemon = stage.lab.director.start_daemon();
    answers("after\n");
    assert!(!stage.lab.director.bpffs().join("aside").exists());
}
