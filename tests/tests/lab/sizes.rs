// SPDX-License-Identifier: MIT OR Apache-2.0
//! The largest numbers of services and reals: 4,096 and 65,536, of which 1,024 are behind one service.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::{SocketAddrV4, TcpStream},
    thread,
    time::{Duration, Instant},
};

use lb_tests::lab::{Director, Lab, METRICS, RIPS, Server, VIP, eventually};

const SERVICES: u16 = 4096;
/// Services with sixteen reals; the next one has 1,024, and the rest have none.
const FULL: u16 = 4032;
const REALS: usize = 65_536;
/// First ports of services and of reals.
const FIRST_PORT: u16 = 10_000;
const FIRST_REAL_PORT: usize = 10_000;
/// Maximum duration of a change, on a busy machine too. The test prints the measured duration.
const PATIENCE: Duration = Duration::from_secs(30);

fn service(number: u16) -> SocketAddrV4 {
    SocketAddrV4::new(VIP, FIRST_PORT + number)
}

/// The config, in which no two reals are the same.
fn config() -> String {
    let mut text = String::new();
    let mut real = 0;
    for number in 0..SERVICES {
        let address = service(number);
        let _infallible =
            write!(text, "[[service]]\nprotocol = \"tcp\"\naddress = \"{address}\"\nscheduler = \"mh\"\n");
        let reals = match number {
            0..FULL => 16,
            FULL => 1024,
            _ => 0,
        };
        for _ in 0..reals {
            let (rip, port) = (RIPS[real % RIPS.len()], FIRST_REAL_PORT + real / RIPS.len());
            let _infallible =
                write!(text, "[[service.real]]\naddress = \"{rip}:{port}\"\nforward = \"nat\"\n");
            real += 1;
        }
    }
    assert_eq!(real, REALS);
    text
}

#[track_caller]
#[expect(clippy::print_stdout, reason = "it is here to show something")]
fn timed(what: &str, director: &Director, line: &str) {
    let began = Instant::now();
    director.xvs(line).succeeds();
    println!("{what}: {:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE, "{what} took {:?}", began.elapsed());
}

/// Returns the resident memory of the process, in kilobytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel has the line");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}

/// Opens twenty connections that request the metrics and read no byte of the page.
#[expect(clippy::print_stdout, reason = "it is here to show something")]
fn scrapers_that_never_read_take_little(director: &Director, pid: u32) {
    director.metrics();
    let before = resident(pid);
    let ask = |_| {
        let mut stream = TcpStream::connect(METRICS).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: xvs\r\n\r\n").expect("it takes a request");
        stream
    };
    let stuck: Vec<TcpStream> = director.run(|| (0..20).map(ask).collect());
    // The next client waits until one of the admitted ones has ended.
    director.metrics();
    timed("status, with twenty clients that never read the metrics", director, "status");
    let more = resident(pid).saturating_sub(before);
    println!("twenty clients that never read the metrics: {more} kB more");
    assert!(more < 100_000, "{more} kB");
    drop(stuck);
}

#[test]
fn the_largest_config_serves() {
    let lab = Lab::new();
    let director = &lab.director;
    let _greeters = lab.reals.each_ref().map(|real| Server::greeter_at_all(real, 10_000..=40_000));
    let sizes = director.path("sizes.toml");
    fs::write(&sizes, "[director]\nmax-services = 4096\nmax-reals = 65536\n").unwrap();
    let all = director.path("all.toml");
    fs::write(&all, config()).unwrap();
    let daemon = director.start_daemon_with(&format!("--config {}", sizes.display()));
    timed("apply 4,096 services with 65,536 reals", director, &format!("apply {}", all.display()));
    director.wait_for_next_hops();

    for number in [0, FULL - 1] {
        lab.client.spread(service(number), 200).is_complete(200);
    }
    lab.client.spread(service(FULL), 4000).is_complete(4000);
    let stats = director.stats();
    let large = stats.service("tcp", service(FULL).port());
    let asked = large.reals.iter().filter(|real| real.count.new_flows > 0).count();
    // With four connections for each, one in e^4 is left out, which is nineteen, with a deviation of four.
    assert!((975..=1024).contains(&asked), "{asked} of 1,024 reals got connections");

    scrapers_that_never_read_take_little(director, daemon.id());

    let edit = |number: u16, real: usize| {
        let (rip, port) = (RIPS[real % RIPS.len()], FIRST_REAL_PORT + real / RIPS.len());
        format!("real edit tcp {} {rip}:{port} --weight 50", service(number))
    };
    timed("change one weight of 16", director, &edit(0, 0));
    timed("change one weight of 1,024", director, &edit(FULL, usize::from(FULL) * 16));
    timed("list all services", director, "service list");
    lab.client.spread(service(FULL), 400).is_complete(400);
    timed("remove everything", director, "ipvsadm -C");
}

/// Returns the CPU time of the process, in seconds.
fn used(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, numbers) = stat.rsplit_once(')').expect("its name is in parentheses");
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    // In ticks of a hundredth of a second: fields 14 and 15 of proc_pid_stat(5).
    let ticks = |at: usize| numbers[at].parse::<u32>().expect("it is a number");
    f64::from(ticks(11) + ticks(12)) / 100.0
}

#[test]
fn as_many_addresses_as_reals_cost_little_at_rest() {
    let lab = Lab::new();
    let director = &lab.director;
    // All reals are behind one router, so that the test measures the daemon, not the kernel's neighbour
    // table.
    director.ip(&format!("route add 10.64.0.0/16 via {}", RIPS[0]));
    let sizes = director.path("sizes.toml");
    fs::write(&sizes, "[director]\nmax-services = 64\nmax-reals = 65536\n").unwrap();
    let mut text = String::new();
    for number in 0..16u8 {
        let address = service(number.into());
        let _infallible = write!(text, "[[service]]\nprotocol = \"tcp\"\naddress = \"{address}\"\n");
        for real in 0..1024u16 {
            let [high, low] = (u16::from(number) * 1024 + real).to_be_bytes();
            let _infallible = writeln!(text, "[[service.real]]\naddress = \"10.64.{high}.{low}\"");
        }
    }
    let all = director.path("all.toml");
    fs::write(&all, text).unwrap();
    let daemon = director.start_daemon_with(&format!("--config {}", sizes.display()));
    timed("apply 16,384 reals with as many addresses", director, &format!("apply {}", all.display()));
    timed("change one weight", director, &format!("real edit tcp {} 10.64.0.7 --weight 50", service(0)));

    let (before, began) = (used(daemon.id()), Instant::now());
    // Two intervals in which the daemon refreshes next hops.
    thread::sleep(Duration::from_secs(6));
    let share = (used(daemon.id()) - before) / began.elapsed().as_secs_f64();
    println!("at rest: {:.1} % of a processor", share * 100.0);
    assert!(share < 0.2, "{share}");

    // One event concerns all of them.
    let mac = "02:00:00:00:00:77";
    lab.reals[0].ip(&format!("link set eth0 address {mac}"));
    director.sh(&format!("ip neighbour replace {} lladdr {mac} dev eth0", RIPS[0])).succeeds();
    let began = Instant::now();
    eventually("every real is at the new address", || {
        let found = director.stats();
        let all = found.services.iter().flat_map(|service| &service.reals);
        let old = all.filter(|real| real.next_hop != mac).count();
        if old == 0 { Ok(()) } else { Err(format!("{old} are not")) }
    });
    println!("16,384 reals at another address: {:?}", began.elapsed());
}
