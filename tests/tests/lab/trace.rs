// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs trace`: packets with their verdicts.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use lb_tests::lab::{CLIENT, Director, Method, Process, RIPS, Server, Stage, VIP, eventually, icmp};
use serde_json::Value;

/// A service without reals.
const EMPTY: u16 = 8100;
/// A service whose datagrams are fragmented.
const UDP: u16 = 8200;

/// Returns id and tag of the program that is attached to eth0.
#[track_caller]
fn attached(director: &Director) -> (String, String) {
    let shown = director.sh("ip -details link show eth0").succeeds().stdout;
    let words: Vec<&str> = shown.split_whitespace().collect();
    let after = |what: &str| {
        let program = words.iter().position(|word| word.starts_with("prog/xdp"))?;
        let at = words[program..].iter().position(|word| *word == what)?;
        words.get(program + at + 1).map(|word| (*word).to_owned())
    };
    let found = after("id").zip(after("tag"));
    found.unwrap_or_else(|| panic!("no program with id and tag: {shown}"))
}

/// Waits until another program than `ordinary` is attached.
#[track_caller]
fn is_tracing(director: &Director, ordinary: &(String, String)) {
    eventually("the tracing build is attached", || match attached(director) {
        (id, tag) if id != ordinary.0 && tag != ordinary.1 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Waits until the very program `ordinary` is attached again.
#[track_caller]
fn is_ordinary(director: &Director, ordinary: &(String, String)) {
    eventually("the ordinary program is attached", || match attached(director) {
        now if now == *ordinary => Ok(()),
        other => Err(format!("{other:?} instead of {ordinary:?}")),
    });
}

/// Starts a trace in the background, and waits until it runs. Its packets are in the log of the process.
#[track_caller]
fn start(director: &Director, name: &str, options: &str) -> Process {
    let ordinary = attached(director);
    let words = director.xvs_words(&format!("trace {options}"));
    let process = director.start(name, Command::new(&words[0]).args(&words[1..]));
    is_tracing(director, &ordinary);
    process
}

/// Returns the packets that a trace has printed as JSON.
fn packets(trace: &Process) -> Vec<Value> {
    let log = trace.log();
    log.lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

/// Returns the packets by reason, as the director counts them.
fn counted(director: &Director) -> BTreeMap<String, u64> {
    let stats = director.stats();
    let forwarded = stats.services.iter().map(|service| service.count.packets_in + service.count.packets_out);
    let mut counted: BTreeMap<String, u64> =
        stats.reasons.iter().map(|one| (one.reason.clone(), one.packets)).collect();
    counted.insert("forwarded".to_owned(), forwarded.sum());
    counted.retain(|_, packets| *packets > 0);
    counted
}

#[test]
fn comments_of_a_capture_have_the_reasons_that_are_counted() {
    let mut stage = Stage::new();
    let (lab, director) = (&stage.lab, &stage.lab.director);
    let _greeters: Vec<_> = lab
        .reals
        .iter()
        .flat_map(|real| {
            Method::real_ports().map(|port| Server::greeter(real, (Ipv4Addr::UNSPECIFIED, port)))
        })
        .collect();
    stage.serve_all_methods("tcp", "rr");
    director.xvs(&format!("service add tcp {VIP}:{EMPTY}")).succeeds();
    director.serve("udp", UDP, "rr", Method::Dr, UDP);
    let ordinary = attached(director);
    let tshark = format!(
        "{} | tshark -l -r - -T fields -e frame.comment",
        director
            .xvs_words("trace --rate 10000 -w -")
            .iter()
            .map(|word| word.display().to_string())
            .collect::<Vec<_>>()
            .join(" ")
    );
    let mut trace = director.start("tshark", Command::new("sh").args(["-c", &tshark]));
    is_tracing(director, &ordinary);
    let before = counted(director);

    for method in Method::ALL {
        // A connection, and an error about it.
        let stream = lab.client.connect(method.service()).unwrap();
        let mut name = String::new();
        BufReader::new(&stream).read_line(&mut name).unwrap();
        let SocketAddr::V4(client) = stream.local_addr().unwrap() else { panic!("IPv4 only") };
        icmp::send_frag_needed(&lab.client, method.service(), client, 1200);
    }
    lab.client.connect(SocketAddrV4::new(VIP, EMPTY)).unwrap_err();
    lab.client.sh(&format!("ping -c 3 -i 0.2 {VIP}")).succeeds();
    // Three fragments.
    lab.client.exec(["bash", "-c", &format!("head -c 4000 /dev/zero > /dev/udp/{VIP}/{UDP}")]).succeeds();

    eventually("the comments have the reasons that are counted", || {
        let mut expected = counted(director);
        for (reason, packets) in &before {
            *expected.entry(reason.clone()).or_default() -= packets;
        }
        expected.retain(|_, packets| *packets > 0);
        let mut traced: BTreeMap<String, u64> = BTreeMap::new();
        for line in trace.log().lines() {
            if let Some((reason, _)) = line.split_once(": ")
                && expected.contains_key(reason)
            {
                *traced.entry(reason.to_owned()).or_default() += 1;
            }
        }
        let enough =
            ["forwarded", "no_real", "icmp_echo"].iter().all(|reason| expected.contains_key(*reason));
        if enough && traced == expected { Ok(()) } else { Err(format!("{traced:?}, counted {expected:?}")) }
    });
    let log = trace.log();
    for method in Method::ALL {
        let to = format!(":{} by {method}", method.real_port(), method = method.as_str());
        assert!(log.contains(&to), "no packet {to}");
    }
    assert!(log.contains("forwarded: sent as reply of real 10.0.0."), "{log}");
    assert!(log.contains(&format!("no_real: answered out of eth0, service tcp {VIP}:{EMPTY}")), "{log}");
    // The pipe ends with the trace.
    assert_eq!(stage.daemon.stop(), Some(0));
    trace.ends();
}

#[test]
fn a_trace_shows_the_packets_that_its_options_select() {
    let stage = Stage::new();
    let (lab, director) = (&stage.lab, &stage.lab.director);
    let _greeters: Vec<_> = lab
        .reals
        .iter()
        .flat_map(|real| {
            Method::real_ports().map(|port| Server::greeter(real, (Ipv4Addr::UNSPECIFIED, port)))
        })
        .collect();
    stage.serve_all_methods("tcp", "rr");
    director.xvs(&format!("service add tcp {VIP}:{EMPTY}")).succeeds();
    let (nat, port) = (Method::Nat.service(), 20_000);
    let flow = format!("--json trace --flow tcp {CLIENT}:{port} {nat}");
    let words = |line: &str| director.xvs_words(line);
    let begin = |name: &str, line: &str| {
        let words = words(line);
        director.start(name, Command::new(&words[0]).args(&words[1..]))
    };
    let ordinary = attached(director);
    let by_flow = begin("flow", &flow);
    let by_service = begin("service", &format!("--json trace --service tcp {nat}"));
    let by_real = begin("real", &format!("--json trace --real {}:{}", RIPS[0], Method::Fnat.real_port()));
    let by_reason = begin("reason", "--json trace --reason no_real");
    is_tracing(director, &ordinary);
    // The fifth is refused.
    eventually("four traces run", || {
        let page = director.metrics();
        if page.contains("\nxvs_traces 4\n") { Ok(()) } else { Err(page) }
    });
    director.xvs("trace -c 1").fails(1).says("4 traces run");

    lab.client.greeting_from(port, nat).unwrap();
    for method in Method::ALL {
        for _ in 0..3 {
            lab.client.greeting(method.service()).unwrap();
        }
    }
    lab.client.connect(SocketAddrV4::new(VIP, EMPTY)).unwrap_err();

    let text = |packet: &Value, field: &str| packet[field].as_str().unwrap_or_default().to_owned();
    let has = |trace: &Process, least: usize, check: &dyn Fn(&Value) -> bool| {
        let found = eventually("the packets are there", || match packets(trace) {
            packets if packets.len() >= least => Ok(packets),
            packets => Err(format!("{} packets: {}", packets.len(), trace.log())),
        });
        for packet in &found {
            assert!(check(packet), "{packet:#}");
        }
        found
    };
    let client = format!("{CLIENT}:{port}");
    let found = has(&by_flow, 6, &|packet| text(packet, "client") == client);
    for direction in ["request", "reply"] {
        assert!(found.iter().any(|packet| packet["direction"] == direction), "{direction}");
    }
    has(&by_service, 20, &|packet| text(packet, "service") == format!("tcp {nat}"));
    let real = format!("{}:{}", RIPS[0], Method::Fnat.real_port());
    let found = has(&by_real, 4, &|packet| text(packet, "real") == real && packet["method"] == "fnat");
    // The client of a reply to the director's own address.
    let reply = found.iter().find(|packet| packet["direction"] == "reply").expect("replies of fnat reals");
    assert!(text(reply, "client").starts_with(&CLIENT.to_string()), "{reply:#}");
    assert_eq!(reply["verdict"], "sent");
    let found =
        has(&by_reason, 1, &|packet| packet["reason"] == "no_real" && packet["verdict"] == "answered");
    // Headers, and no data.
    let first = &found[0];
    assert!(text(first, "frame").len() / 2 >= 54, "{first:#}");

    drop((by_flow, by_service, by_real, by_reason));
    is_ordinary(director, &ordinary);

    // In words; data of applications only with --snaplen.
    // `real`, in hexadecimal digits.
    let data = "7265616c";
    for (name, options, is_there) in [("headers", "", false), ("data", "--snaplen 200", true)] {
        let trace = start(director, name, &format!("--json --service tcp {nat} {options}"));
        for _ in 0..3 {
            lab.client.greeting(nat).unwrap();
        }
        // Headers with time stamps, and the name of the real with a line feed.
        let has_data = eventually("the greeting was traced", || {
            let all = packets(&trace);
            let greetings: Vec<&Value> = all.iter().filter(|packet| packet["length"] == 66 + 6).collect();
            if greetings.len() < 3 {
                return Err(format!("{} greetings", greetings.len()));
            }
            Ok(greetings.iter().any(|packet| text(packet, "frame").contains(data)))
        });
        assert_eq!(has_data, is_there, "{options}");
        drop(trace);
        is_ordinary(director, &ordinary);
    }
    let trace = start(director, "text", &format!("--client {CLIENT}/24 -c 2"));
    lab.client.greeting(nat).unwrap();
    eventually("two lines", || {
        let log = trace.log();
        if log.contains("2 packets traced") { Ok(()) } else { Err(log) }
    });
    let log = trace.log();
    let first = log.lines().next().unwrap();
    assert!(first.contains(&format!(" > {nat} 74 B  forwarded: sent to real 10.0.0.1")), "{first}");
    assert!(first.ends_with(&format!(" by nat out of eth0, service tcp {nat}")), "{first}");
}

#[test]
fn a_trace_follows_its_service_to_another_id() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    let (lab, director) = (&stage.lab, &stage.lab.director);
    let (nat, other) = (Method::Nat.service(), Method::Fnat.service());
    stage.serve_all_methods("tcp", "rr");
    let trace = start(director, "follows", &format!("--json --rate 10000 --service tcp {nat}"));
    let more_than = |least: usize| {
        eventually("packets of the service", || {
            lab.client.requests(nat, 10).is_complete(10);
            let number = packets(&trace).len();
            if number > least { Ok(number) } else { Err(format!("{number} packets, not {least}")) }
        })
    };
    let before = more_than(50);
    // Its id goes to another service, whose packets nobody asked for; then it comes back.
    for address in [nat, other] {
        director.xvs(&format!("service remove tcp {address}")).succeeds();
    }
    director.serve("tcp", other.port(), "rr", Method::Fnat, Method::Fnat.real_port());
    lab.client.requests(other, 10).is_complete(10);
    director.serve("tcp", nat.port(), "rr", Method::Nat, Method::Nat.real_port());
    more_than(before + 50);
    for packet in packets(&trace) {
        assert_eq!(packet["service"], format!("tcp {nat}"), "{packet:#}");
    }
}

#[test]
fn the_rate_bounds_a_trace_and_the_rest_is_counted() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    let director = &stage.lab.director;
    stage.serve_all_methods("tcp", "rr");
    let nat = Method::Nat.service();
    let ordinary = attached(director);
    let mut trace = start(director, "rate", "--json --rate 10 --for 3s");
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                stage.lab.client.requests(nat, 20).is_complete(20);
            }
        });
        assert_eq!(trace.ends(), Some(0));
        end.store(true, Ordering::Relaxed);
    });
    let number = packets(&trace).len();
    // Ten at once, and ten a second for three seconds, and the moments until the daemon looks.
    assert!((10..=45).contains(&number), "{number}");
    let log = trace.log();
    assert!(log.contains("the daemon has ended the trace: its time is over"), "{log}");
    assert!(
        log.contains(&format!("{number} packets traced; ")) && log.contains(" were beyond --rate"),
        "{log}"
    );
    assert!(!log.contains("lost"), "{log}");
    is_ordinary(director, &ordinary);
}

#[test]
fn the_ordinary_programs_return_when_the_client_or_the_daemon_is_killed() {
    let mut stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "rr");
    let ordinary = attached(&stage.lab.director);

    let mut trace = start(&stage.lab.director, "killed", "");
    trace.kill();
    is_ordinary(&stage.lab.director, &ordinary);

    let trace = start(&stage.lab.director, "orphan", "");
    stage.daemon.kill();
    drop(trace);
    // The programs still forward, and take no samples when the lease is over.
    stage.lab.client.requests(Method::Nat.service(), 10).is_complete(10);
    stage.daemon = stage.lab.director.start_daemon();
    let again = attached(&stage.lab.director);
    assert_eq!(again.1, ordinary.1, "the new daemon attaches the ordinary program");

    // Larger tables have programs of their own.
    let trace = start(&stage.lab.director, "resized", "");
    stage.lab.director.xvs("resize --max-flows 1100000").succeeds();
    let larger = attached(&stage.lab.director);
    assert!(larger.0 != again.0 && larger.1 == ordinary.1, "{larger:?}");
    eventually("the command says why it ends", || {
        let log = trace.log();
        if log.contains("the tables are resized") { Ok(()) } else { Err(log) }
    });

    // The daemon ends.
    let trace = start(&stage.lab.director, "ended", "");
    assert_eq!(stage.daemon.stop(), Some(0));
    assert_eq!(attached(&stage.lab.director), larger);
    eventually("the command says so", || {
        let log = trace.log();
        if log.contains("the daemon has ended the trace") { Ok(()) } else { Err(log) }
    });
    stage.lab.client.requests(Method::Nat.service(), 10).is_complete(10);
    stage.daemon = stage.lab.director.start_daemon();
}

#[test]
fn no_packet_is_lost_while_traces_begin_and_end() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    let director = &stage.lab.director;
    stage.serve_all_methods("tcp", "rr");
    let ordinary = attached(director);
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        for method in Method::ALL {
            let (client, end) = (&stage.lab.client, &end);
            scope.spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    client.requests(method.service(), 20).is_complete(20);
                }
            });
        }
        for number in 0..5 {
            let trace = start(director, &format!("trace{number}"), "--rate 1000");
            thread::sleep(Duration::from_millis(300));
            if number == 1 {
                // The tracing build is attached again.
                director.xvs("attach eth0 --xdp-mode native").succeeds();
                assert_ne!(attached(director).1, ordinary.1);
            }
            drop(trace);
            is_ordinary(director, &ordinary);
        }
        end.store(true, Ordering::Relaxed);
    });
    eventually("the counters hold what the switch saw", || {
        let counts = director.stats().services.into_iter().map(|service| service.count);
        let counted: u64 = counts.map(|count| count.packets_in + count.packets_out).sum();
        let seen = stage.lab.crossing().reached_director();
        if counted == seen { Ok(()) } else { Err(format!("counted {counted}, seen {seen}")) }
    });
}
