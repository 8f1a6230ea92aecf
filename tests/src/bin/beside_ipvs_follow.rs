// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs run --follow-ipvs` beside the kernel's IPVS, which keepalived, ldirectord and ipvsadm control: no connection
//! breaks when xvs begins to forward, and none when it stops.
//!
//! `cargo xtask test-vm --only beside_ipvs_follow [PART…]` runs it inside a virtual machine, since it needs a kernel with
//! IPVS.
#![expect(clippy::print_stdout, reason = "it is here to show something")]

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    process::{Command, ExitCode},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lb_tests::lab::{Client, Director, Lab, Method, Process, RIPS, Server, VIP, eventually};

/// Methods as ipvsadm names them, with the port of the reals if it differs from that of the service.
const METHODS: [(&str, Option<u16>); 3] = [("-g", None), ("-i", None), ("-m", Some(NAT_PORT))];
/// Schedulers as ipvsadm names them.
const SCHEDULERS: [&str; 5] = ["wrr", "wlc", "mh -b mh-port", "sh -b sh-port", "wlc -p 300"];
/// The port of the first service.
const FIRST: u16 = 8100;
/// The port of `nat` reals.
const NAT_PORT: u16 = 7000;
/// Connections to each service that are silent from before xvs starts to the end: 60 in all.
const SILENT: usize = 4;
/// Connections to each service that talk: 150 in all.
const TALKING: usize = 10;
/// New connections per second.
const RATE: u32 = 50;
/// Longest time between a change in the kernel and the same one in xvs.
const DELAY: Duration = Duration::from_secs(1);
/// Longest time until xvs is ready.
const START: Duration = Duration::from_mins(4);

/// Longest time from the signal to the end of xvs: it hands its connections over in 4 s, and the rest is the machine.
const STOP: Duration = Duration::from_secs(15);
/// Parts of log lines about the handover.
const HANDED: [&str; 4] = ["stopped: ", "did not take", "without time to look", "cannot"];

/// An open connection to a greeter.
struct Open {
    service: SocketAddrV4,
    stream: BufReader<TcpStream>,
    real: String,
}

impl Open {
    fn new(client: &Client, service: SocketAddrV4) -> Result<Self, String> {
        let mut stream = BufReader::new(client.connect(service)?);
        let mut real = String::new();
        let length = stream.read_line(&mut real).map_err(|error| error.to_string())?;
        if length == 0 {
            Err("closed without a greeting".to_owned())
        } else {
            Ok(Self { service, stream, real })
        }
    }

    /// Sends a line and reads its echo.
    fn echo(&mut self) -> Result<(), String> {
        let words = b"still here\n";
        self.stream.get_mut().write_all(words).map_err(|error| error.to_string())?;
        let mut answer = String::new();
        match self.stream.read_line(&mut answer) {
            Ok(0) => Err("closed".to_owned()),
            Ok(_) if answer.as_bytes() == words => Ok(()),
            Ok(_) => Err(format!("answered {answer:?}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Lets all connections echo. Returns the failures.
fn echo_all(open: &mut [Open]) -> Vec<String> {
    let failure = |open: &mut Open| {
        let failed = open.echo().err()?;
        Some(format!("{} on {}: {failed}", open.service, open.real.trim()))
    };
    open.iter_mut().filter_map(failure).collect()
}

/// Runs a line of the shell.
fn shell(director: &Director, line: &str) {
    director.exec(["sh", "-c", line]).succeeds();
}

/// Runs ipvsadm on the rules in a file.
fn restore(director: &Director, rules: &str) {
    let file = director.path("rules");
    fs::write(&file, rules).expect("the lab's folder is writable");
    shell(director, &format!("ipvsadm -R < {}", file.display()));
}

/// Returns the services of all methods and schedulers, and their rules.
fn rules() -> (Vec<SocketAddrV4>, String) {
    let mut rules = String::new();
    let mut services = Vec::new();
    for (number, (method, port)) in METHODS.iter().flat_map(|method| SCHEDULERS.map(|_| *method)).enumerate()
    {
        let service = SocketAddrV4::new(VIP, FIRST + number as u16);
        let _infallible = writeln!(rules, "-A -t {service} -s {}", SCHEDULERS[number % SCHEDULERS.len()]);
        for (weight, rip) in (1..).zip(RIPS) {
            // With one port of the reals for all services, connections of a client's port to two of them would be one
            // at the real.
            let real = SocketAddrV4::new(rip, port.map_or(service.port(), |port| port + number as u16));
            let _infallible = writeln!(rules, "-a -t {service} -r {real} {method} -w {weight}");
        }
        services.push(service);
    }
    (services, rules)
}

/// New connections in the background.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    made: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Load {
    fn run(&self, client: &Client, services: &[SocketAddrV4]) {
        let began = Instant::now();
        let mut due = 0;
        while !self.stop.load(Ordering::Relaxed) {
            if Duration::from_secs(1) / RATE * due > began.elapsed() {
                thread::sleep(Duration::from_millis(5));
                continue;
            }
            let service = services[due as usize % services.len()];
            due += 1;
            let done = Open::new(client, service).and_then(|mut open| open.echo());
            self.made.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = done {
                self.failures.lock().expect("no thread panics").push(format!("{service}: {error}"));
            }
        }
    }
}

/// Starts xvs, and waits until every real has a next hop. An emulated machine verifies the programs slowly.
fn start(director: &Director) -> Process {
    let daemon = director.start_daemon_at_once("--follow-ipvs");
    let began = Instant::now();
    while !stats(director).is_some_and(|stats| all_reachable(&stats)) {
        assert!(began.elapsed() < START, "xvs is not ready:\n{}", daemon.log());
        thread::sleep(Duration::from_millis(200));
    }
    println!("xvs is ready after {} s", began.elapsed().as_secs());
    daemon
}

/// Stops xvs, and shows how long the kernel took to get its connections. Returns the failure if it took too long.
fn stop(daemon: &mut Process) -> Vec<String> {
    let began = Instant::now();
    let code = daemon.stop();
    let took = began.elapsed();
    println!("xvs has ended after {} ms", took.as_millis());
    let log = daemon.log();
    for line in log.lines().filter(|line| HANDED.iter().any(|words| line.contains(words))) {
        println!("  {line}");
    }
    let mut failures = Vec::new();
    if took > STOP {
        failures.push(format!("xvs took {took:?} to end"));
    }
    if code != Some(0) {
        failures.push(format!("xvs ended with {code:?}"));
    }
    failures
}

/// Returns whether every real has the MAC address of its next hop.
fn all_reachable(stats: &serde_json::Value) -> bool {
    let services = stats["services"].as_array().into_iter().flatten();
    let mut reals = services.filter_map(|one| one["reals"].as_array()).flatten();
    reals.all(|real| real["next_hop"].as_str().is_some_and(|hop| hop.split(':').count() == 6))
}

/// Opens connections, starts and stops xvs twice, and looks after each step whether all live.
fn keep(lab: &Lab) -> Vec<String> {
    let (director, client) = (&lab.director, &lab.client);
    let (services, rules) = rules();
    restore(director, &rules);
    let open = |count: usize| -> Vec<Open> {
        let wanted = services.iter().flat_map(|service| vec![*service; count]);
        wanted.map(|service| Open::new(client, service).expect("IPVS forwards")).collect()
    };
    let (mut silent, mut talking) = (open(SILENT), open(TALKING));
    let load = Load::default();
    let (mut failures, mut stops) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(|| load.run(client, &services))).collect();
        let mut look = |what: &str, talking: &mut Vec<Open>| {
            let failed = echo_all(talking);
            println!("{what}: {} of {} connections live", talking.len() - failed.len(), talking.len());
            for failure in &failed {
                println!("  {failure}");
            }
            failures.extend(failed.into_iter().map(|failure| format!("{what}: {failure}")));
        };
        look("IPVS", &mut talking);
        for round in 1..=2 {
            let mut daemon = start(director);
            look(&format!("xvs, round {round}"), &mut talking);
            thread::sleep(Duration::from_secs(3));
            look(&format!("xvs, round {round}, later"), &mut talking);
            let stats = director.stats();
            let packets: u64 = stats.services.iter().map(|one| one.count.packets_in).sum();
            let new: u64 = stats.services.iter().map(|one| one.count.new_flows).sum();
            println!("xvs has forwarded {packets} packets and begun {new} connections");
            assert!(packets > 0 && new > 0, "xvs forwards");
            director.xvs("status").succeeds().says("every service of the kernel's IPVS");
            let began_here = open(1);
            stops.extend(stop(&mut daemon));
            talking.extend(began_here);
            look(&format!("IPVS again, round {round}"), &mut talking);
            thread::sleep(Duration::from_secs(1));
        }
        let mut daemon = start(director);
        look("silent ones, xvs", &mut silent);
        stops.extend(stop(&mut daemon));
        look("silent ones, IPVS", &mut silent);
        load.stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("it returns its failures");
        }
    });
    let failed = load.failures.into_inner().expect("no thread panics");
    println!("{} new connections, {} failed", load.made.into_inner(), failed.len());
    failures.extend(failed);
    failures.extend(stops);
    director.sh("ipvsadm -C").succeeds();
    failures
}

/// `xvs detach` hands the connections of a daemon that was killed to the kernel.
fn killed(lab: &Lab) -> Vec<String> {
    const PORT: u16 = 8401;
    const EACH: usize = 10;
    let (director, service) = (&lab.director, SocketAddrV4::new(VIP, PORT));
    let _greeters: Vec<Server> =
        lab.reals.iter().map(|real| Server::greeter(real, (Ipv4Addr::UNSPECIFIED, PORT))).collect();
    let real = |rip: &_| format!("-a -t {service} -r {rip} -g -w 1\n");
    let reals = RIPS.iter().map(real).collect::<Vec<_>>().concat();
    restore(director, &format!("-A -t {service} -s wrr\n{reals}"));
    let open = || (0..EACH).map(|_| Open::new(&lab.client, service)).collect::<Result<Vec<_>, _>>();
    let mut all = open().expect("IPVS forwards");
    let mut daemon = start(director);
    all.extend(open().expect("xvs forwards"));
    daemon.kill();
    all.extend(open().expect("the programs forward without the daemon"));
    let mut failures = echo_all(&mut all);
    println!("without the daemon: {} of {} connections live", all.len() - failures.len(), all.len());
    let (bpffs, state) = (director.bpffs(), director.state());
    let detach = format!("detach --bpffs {} --state {}", bpffs.display(), state.display());
    let began = Instant::now();
    let detached = director.xvs(&detach).succeeds();
    println!("xvs detach has ended after {} ms: {}", began.elapsed().as_millis(), detached.stdout.trim());
    detached.says("connections to the kernel's IPVS");
    let failed = echo_all(&mut all);
    println!("IPVS again: {} of {} connections live", all.len() - failed.len(), all.len());
    failures.extend(failed);
    shell(director, "ipvsadm -C");
    failures
}

/// Asks the daemon for its services without starting a program, which takes long in an emulated machine.
fn stats(director: &Director) -> Option<serde_json::Value> {
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(director.socket())?;
        stream.write_all(b"GET /v1/stats HTTP/1.1\r\nhost: xvs\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    // The body may come in chunks, each with its length before it.
    let body: String = body.split("\r\n").filter(|part| !part.is_empty() && !is_length(part)).collect();
    serde_json::from_str(&body).ok()
}

/// Returns whether a line is the length of a chunk.
fn is_length(line: &str) -> bool {
    line.len() <= 8 && line.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Waits until the kernel and xvs have a change. Returns the failure if xvs has it too late.
fn follows(
    director: &Director,
    what: &str,
    kernel: impl Fn(&str) -> bool,
    xvs: impl Fn(&serde_json::Value) -> bool,
) -> Vec<String> {
    let table = || director.run(|| fs::read_to_string("/proc/thread-self/net/ip_vs").unwrap_or_default());
    eventually(&format!("{what}, in the kernel"), || {
        let table = table();
        if kernel(&table) { Ok(()) } else { Err(table) }
    });
    let began = Instant::now();
    eventually(&format!("{what}, in xvs"), || match stats(director) {
        Some(stats) if xvs(&stats) => Ok(()),
        _ => Err("xvs has not".to_owned()),
    });
    let took = began.elapsed();
    println!("{what}: in xvs {} ms after the kernel", took.as_millis());
    if took > DELAY { vec![format!("{what}: took {took:?}")] } else { Vec::new() }
}

/// Returns the reals of the service at a port of the VIP, with their weights.
fn reals(stats: &serde_json::Value, port: u16) -> Vec<(String, u64)> {
    let address = SocketAddrV4::new(VIP, port).to_string();
    let services = stats["services"].as_array().into_iter().flatten();
    let reals =
        services.filter(|one| one["address"] == address.as_str()).filter_map(|one| one["reals"].as_array());
    reals
        .flatten()
        .filter_map(|real| Some((real["address"].as_str()?.to_owned(), real["weight"].as_u64()?)))
        .collect()
}

/// Returns a RIP as `/proc/net/ip_vs` has it.
fn hex(rip: Ipv4Addr) -> String {
    format!("{:08X}:", rip.to_bits())
}

/// keepalived removes a dead real, and adds it again.
fn keepalived(lab: &Lab) -> Vec<String> {
    const PORT: u16 = 8201;
    let director = &lab.director;
    let mut config = format!(
        "virtual_server {VIP} {PORT} {{\n delay_loop 1\n lvs_sched wrr\n lvs_method DR\n protocol TCP\n"
    );
    for rip in RIPS {
        let _infallible = write!(
            config,
            " real_server {rip} {PORT} {{\n  weight 1\n  TCP_CHECK {{\n   connect_timeout 1\n   retry 0\n   delay_before_retry 1\n  }}\n }}\n"
        );
    }
    config += "}\n";
    let file = director.path("keepalived.conf");
    fs::write(&file, config).expect("the lab's folder is writable");
    let mut servers: Vec<Option<Server>> =
        lab.reals.iter().map(|real| Some(Server::greeter(real, (Ipv4Addr::UNSPECIFIED, PORT)))).collect();
    let _daemon = start(director);
    let mut command = Command::new("keepalived");
    command.args(["--check", "--dont-fork", "--log-console", "--use-file"]).arg(&file);
    command.arg("--pid").arg(director.path("keepalived.pid"));
    command.arg("--checkers_pid").arg(director.path("checkers.pid"));
    let _keepalived = director.start("keepalived", &mut command);
    let all = |table: &str| RIPS.iter().all(|rip| table.contains(&hex(*rip)));
    let mut failures =
        follows(director, "keepalived adds a service", all, |stats| reals(stats, PORT).len() == RIPS.len());
    servers[1] = None;
    let without = |table: &str| !table.contains(&hex(RIPS[1])) && table.contains(&hex(RIPS[0]));
    failures.extend(follows(director, "keepalived removes a dead real", without, |stats| {
        reals(stats, PORT).len() == RIPS.len() - 1
    }));
    servers[1] = Some(Server::greeter(&lab.reals[1], (Ipv4Addr::UNSPECIFIED, PORT)));
    failures.extend(follows(director, "keepalived adds the real again", all, |stats| {
        reals(stats, PORT).len() == RIPS.len()
    }));
    failures
}

/// ldirectord quiesces a dead real.
fn ldirectord(lab: &Lab) -> Vec<String> {
    const PORT: u16 = 8202;
    let director = &lab.director;
    let mut config =
        format!("checktimeout = 1\ncheckinterval = 1\nquiescent = yes\nvirtual = {VIP}:{PORT}\n");
    for rip in RIPS {
        let _infallible = writeln!(config, "\treal = {rip}:{PORT} gate 5");
    }
    config += "\tscheduler = wlc\n\tprotocol = tcp\n\tchecktype = connect\n";
    let file = director.path("ldirectord.cf");
    fs::write(&file, config).expect("the lab's folder is writable");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our own file");
    let mut servers: Vec<Option<Server>> =
        lab.reals.iter().map(|real| Some(Server::greeter(real, (Ipv4Addr::UNSPECIFIED, PORT)))).collect();
    let _daemon = start(director);
    let script = format!("mount -t tmpfs tmpfs /run && exec ldirectord -d {} start", file.display());
    let _ldirectord =
        director.start("ldirectord", Command::new("unshare").args(["--mount", "sh", "-c", &script]));
    let of = |table: &str, rip: Ipv4Addr, weight: &str| {
        let line = table.lines().find(|line| line.contains(&hex(rip)));
        line.is_some_and(|line| line.split_whitespace().nth(3) == Some(weight))
    };
    let all = |table: &str| RIPS.iter().all(|rip| of(table, *rip, "5"));
    let weights =
        |stats: &serde_json::Value| reals(stats, PORT).iter().map(|(_, weight)| *weight).sum::<u64>();
    let mut failures = follows(director, "ldirectord adds a service", all, |stats| weights(stats) == 15);
    servers[2] = None;
    failures.extend(follows(
        director,
        "ldirectord quiesces a dead real",
        |table| of(table, RIPS[2], "0"),
        |stats| weights(stats) == 10 && reals(stats, PORT).len() == RIPS.len(),
    ));
    failures
}

/// ipvsadm adds, edits, flushes and restores 500 services, while connections are open.
fn ipvsadm(lab: &Lab) -> Vec<String> {
    const SERVICES: u16 = 500;
    const PORT: u16 = 20_000;
    let director = &lab.director;
    let _greeters: Vec<Server> =
        lab.reals.iter().map(|real| Server::greeter(real, (Ipv4Addr::UNSPECIFIED, NAT_PORT))).collect();
    let mut rules = String::new();
    for port in PORT..PORT + SERVICES {
        let _infallible = writeln!(rules, "-A -t {VIP}:{port} -s wrr");
        for rip in RIPS {
            let _infallible = writeln!(rules, "-a -t {VIP}:{port} -r {rip}:{NAT_PORT} -m -w 1");
        }
    }
    let _daemon = start(director);
    restore(director, &rules);
    let last = PORT + SERVICES - 1;
    let is_whole = |stats: &serde_json::Value| {
        stats["services"].as_array().is_some_and(|all| all.len() == usize::from(SERVICES))
            && reals(stats, last).len() == RIPS.len()
    };
    let count = |table: &str| table.matches("TCP ").count() == usize::from(SERVICES);
    let mut failures = follows(director, "ipvsadm adds 500 services", count, is_whole);
    let mut open: Vec<Open> = (PORT..PORT + 50)
        .map(|port| Open::new(&lab.client, SocketAddrV4::new(VIP, port)).expect("xvs forwards"))
        .collect();
    director
        .sh(&format!("ipvsadm -e -t {VIP}:{last} -r {}:{NAT_PORT} -m -w 7 -x 100 -y 50", RIPS[0]))
        .succeeds();
    failures.extend(follows(
        director,
        "ipvsadm edits a real",
        |_| true,
        |stats| reals(stats, last).iter().any(|(_, weight)| *weight == 7),
    ));
    director
        .sh(&format!("ipvsadm -e -t {VIP}:{last} -r {}:{NAT_PORT} -m -w 7 -x 200 -y 50", RIPS[0]))
        .succeeds();
    failures.extend(follows(
        director,
        "ipvsadm edits a threshold",
        |_| true,
        |stats| stats.to_string().contains("\"upper\":200"),
    ));
    let began = Instant::now();
    let saved = director.path("saved");
    let saved = saved.display();
    shell(director, &format!("ipvsadm -S -n > {saved}; ipvsadm -C; ipvsadm -R < {saved}"));
    println!("ipvsadm has flushed and restored 500 services in {} ms", began.elapsed().as_millis());
    failures.extend(follows(director, "ipvsadm restores 500 services", count, is_whole));
    let failed = echo_all(&mut open);
    println!("{} of {} connections live after it", open.len() - failed.len(), open.len());
    failures.extend(failed);
    thread::sleep(Duration::from_secs(3));
    failures.extend(echo_all(&mut open));
    director.sh("ipvsadm -C").succeeds();
    // A service that vanishes stays in force for a moment: only its end counts here.
    let _later = follows(
        director,
        "ipvsadm removes 500 services",
        |_| true,
        |stats| stats["services"].as_array().is_some_and(Vec::is_empty),
    );
    failures
}

/// Services that xvs cannot take over are named, and work as before.
fn left(lab: &Lab) -> Vec<String> {
    const PORT: u16 = 8301;
    let director = &lab.director;
    let _greeters: Vec<Server> =
        lab.reals.iter().map(|real| Server::greeter(real, (Ipv4Addr::UNSPECIFIED, PORT))).collect();
    let marked =
        format!("iptables -t mangle -A PREROUTING -d {VIP} -p tcp --dport {PORT} -j MARK --set-mark 7");
    shell(director, &format!("{marked} && ipvsadm -A -f 7 -s rr && ipvsadm -a -f 7 -r {} -g", RIPS[0]));
    let mut daemon = start(director);
    director.xvs("status").succeeds().says("all but 1 service").says("left to IPVS   fwmark 7");
    director.xvs("service list").succeeds().says("fwmark 7");
    director.xvs(&format!("service add tcp {VIP}:1")).fails(2).says("this daemon follows");
    let answers: Vec<_> = (0..6).map(|_| lab.client.greeting(SocketAddrV4::new(VIP, PORT))).collect();
    let mut failures = stop(&mut daemon);
    shell(director, "ipvsadm -C; iptables -t mangle -F");
    let failed = answers.into_iter().filter_map(Result::err);
    failures.extend(failed.map(|error| format!("the service by mark: {error}")));
    failures
}

type Part = fn(&Lab) -> Vec<String>;

const PARTS: [(&str, Part); 6] = [
    ("keep", keep),
    ("left", left),
    ("killed", killed),
    ("keepalived", keepalived),
    ("ldirectord", ldirectord),
    ("ipvsadm", ipvsadm),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let lab = Lab::new();
    for real in &lab.reals {
        real.set_up(Method::Tun);
    }
    lab.director.ip(&format!("address add {VIP}/32 dev eth0"));
    lab.director.sysctl("ipv4/vs/conntrack", "0");
    let services = METHODS.len() * SCHEDULERS.len();
    let ports = (FIRST..).take(services).chain((NAT_PORT..).take(services));
    let greeters: Vec<Server> = ports
        .flat_map(|port| {
            lab.reals.iter().map(move |real| Server::greeter(real, (Ipv4Addr::UNSPECIFIED, port)))
        })
        .collect();
    let mut failures = Vec::new();
    let mut greeters = Some(greeters);
    for (name, part) in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|one| one == name) {
            continue;
        }
        if name != "keep" {
            greeters = None;
        }
        println!("== {name}");
        let failed = part(&lab);
        for failure in failed.iter().take(20) {
            println!("failed: {failure}");
        }
        failures.extend(failed);
    }
    drop(greeters);
    println!("{} failures", failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
