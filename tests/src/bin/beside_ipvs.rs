// SPDX-License-Identifier: MIT OR Apache-2.0
//! Comparison of xvs with IPVS: with the same rules and connections, both choose the same reals and print the
//! same pages.
//!
//! `cargo xtask test-vm` runs it inside a virtual machine, since it needs a kernel with IPVS. Both are
//! controlled by the same words: those of Debian's ipvsadm.
#![expect(clippy::print_stdout, reason = "it is here to show something")]

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    process::ExitCode,
};

use lb_tests::lab::{Director, Lab, Outcome, RIPS, Server, VIP, eventually};

/// A step of a test.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A client connects and stays.
    Open,
    /// The connection that was opened as the n-th of those that are left ends.
    Close(usize),
    /// A change of the rules, as ipvsadm's arguments; `V` is the service, `R1` to `R3` are reals.
    Rules(&'static str),
}
use Step::{Close, Open, Rules};

/// A scheduler, how its pool is put together, and what happens then.
struct Case {
    name: &'static str,
    rules: &'static [&'static str],
    steps: &'static [Step],
}

const UNEVEN: &[&str] = &["-a -t V -r R1 -m -w 3", "-a -t V -r R2 -m -w 2", "-a -t V -r R3 -m -w 1"];
const RISING: &[&str] = &["-a -t V -r R1 -m -w 1", "-a -t V -r R2 -m -w 2", "-a -t V -r R3 -m -w 4"];
const COMMON: &[&str] = &["-a -t V -r R1 -m -w 300", "-a -t V -r R2 -m -w 100", "-a -t V -r R3 -m -w 200"];

/// Connections that come and go.
const TRAFFIC: &[Step] = &[
    Open,
    Open,
    Open,
    Open,
    Open,
    Open,
    Open,
    Close(0),
    Close(3),
    Open,
    Open,
    Open,
    Close(1),
    Close(1),
    Close(1),
    Open,
    Open,
    Open,
    Open,
    Close(5),
    Close(4),
    Close(3),
    Close(2),
    Open,
    Open,
    Open,
    Open,
    Open,
];

/// Connections with changes of the pool between them.
const CHANGES: &[Step] = &[
    Open,
    Open,
    Open,
    Open,
    Rules("-e -t V -r R2 -m -w 5"),
    Open,
    Open,
    Open,
    Open,
    Open,
    Open,
    Open,
    Rules("-e -t V -r R1 -m -w 0"),
    Open,
    Open,
    Open,
    Close(0),
    Close(0),
    Open,
    Open,
    Rules("-e -t V -r R1 -m -w 4"),
    Open,
    Open,
    Open,
    Open,
    Open,
    Rules("-a -t V -r R4 -m -w 2"),
    Open,
    Open,
    Open,
    Open,
    Open,
    Open,
    Open,
    Open,
];

const CASES: &[Case] = &[
    Case { name: "rr", rules: UNEVEN, steps: TRAFFIC },
    Case { name: "rr", rules: UNEVEN, steps: CHANGES },
    Case { name: "wrr", rules: UNEVEN, steps: TRAFFIC },
    Case { name: "wrr", rules: RISING, steps: TRAFFIC },
    Case { name: "wrr", rules: COMMON, steps: CHANGES },
    Case { name: "wrr", rules: RISING, steps: CHANGES },
    Case { name: "lc", rules: UNEVEN, steps: TRAFFIC },
    Case { name: "wlc", rules: UNEVEN, steps: TRAFFIC },
    Case { name: "wlc", rules: RISING, steps: CHANGES },
    Case { name: "sed", rules: UNEVEN, steps: TRAFFIC },
    Case { name: "sed", rules: COMMON, steps: CHANGES },
    Case { name: "nq", rules: UNEVEN, steps: TRAFFIC },
    Case { name: "nq", rules: RISING, steps: CHANGES },
    Case { name: "fo", rules: UNEVEN, steps: CHANGES },
    Case { name: "wlc -p 300", rules: UNEVEN, steps: TRAFFIC },
    Case { name: "rr -p 300 -M 255.255.255.0", rules: RISING, steps: TRAFFIC },
    Case { name: "ovf", rules: UNEVEN, steps: TRAFFIC },
    Case { name: "ovf", rules: COMMON, steps: CHANGES },
];

/// The port of the reals.
const PORT: u16 = 7000;

/// The balancer under test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Balancer {
    Ipvs,
    Xvs,
}

impl Balancer {
    fn ipvsadm(self, director: &Director, words: &str) -> Outcome {
        match self {
            Self::Ipvs => director.sh(&format!("ipvsadm {words}")),
            Self::Xvs => director.xvs(&format!("ipvsadm {words}")),
        }
    }
}

/// The results of a balancer: the real of each connection, and the printed pages.
#[derive(Debug, Default, Eq, PartialEq)]
struct Story {
    choices: String,
    pages: String,
}

/// Words with the names of addresses replaced. R4 is a second port of the first real.
fn words(template: &str, service: SocketAddrV4) -> String {
    let mut words = template.replace('V', &service.to_string());
    for (number, rip) in (1..).zip(RIPS) {
        words = words.replace(&format!("R{number}"), &format!("{rip}:{PORT}"));
    }
    words.replace("R4", &format!("{}:{}", RIPS[0], PORT + 1))
}

fn tell(case: &Case, balancer: Balancer, lab: &Lab, service: SocketAddrV4) -> Story {
    let director = &lab.director;
    let run = |line: &str| balancer.ipvsadm(director, &words(line, service)).succeeds();
    run(&format!("-A -t V -s {}", case.name));
    case.rules.iter().for_each(|line| drop(run(line)));
    if balancer == Balancer::Xvs {
        director.wait_for_next_hops();
    }
    let mut story = Story::default();
    let mut open: Vec<TcpStream> = Vec::new();
    for step in case.steps {
        match step {
            Open => {
                let stream = lab.client.connect(service);
                let who = stream.and_then(|stream| {
                    let mut name = String::new();
                    let read =
                        BufReader::new(&stream).read_line(&mut name).map_err(|error| error.to_string());
                    let port = local_port(&name);
                    open.push(stream);
                    read.map(|_| port)
                });
                let _infallible =
                    write!(story.choices, "{} ", who.unwrap_or_else(|error| format!("({error})")));
            }
            Close(which) => {
                let mut stream = open.remove(*which);
                let _infallible = write!(story.choices, "- ");
                stream.shutdown(std::net::Shutdown::Write).expect("it is open");
                let _ended = stream.read_to_end(&mut Vec::new());
            }
            Rules(line) => {
                run(line);
                if balancer == Balancer::Xvs {
                    director.wait_for_next_hops();
                }
                let _infallible = write!(story.choices, "| ");
            }
        }
        eventually("connections are counted", || {
            let page = run("-Ln").stdout;
            let active: usize = page
                .lines()
                .filter_map(|line| line.split_whitespace().rev().nth(1)?.parse::<usize>().ok())
                .sum();
            if active == open.len() {
                Ok(())
            } else {
                Err(format!("{active} active, not {}:\n{page}", open.len()))
            }
        });
        if matches!(step, Rules(_)) {
            let _infallible = writeln!(story.pages, "{}", run("-Ln").stdout);
        }
    }
    for page in
        ["-Ln", "-ln", "-Sn", "-Ln --thresholds", "-Ln --exact", "-Ln -t V", "-Ln --timeout", "-Ln --nosort"]
    {
        let _infallible = writeln!(story.pages, "$ ipvsadm {page}\n{}", run(page).stdout);
    }
    let connections = run("-Lnc").stdout;
    let _infallible = writeln!(story.pages, "$ ipvsadm -Lnc\n{}", without_times(&connections, service));
    drop(open);
    run("-C");
    story
}

/// Returns the number of the real in a greeting.
fn local_port(name: &str) -> String {
    name.trim().strip_prefix("real").unwrap_or("?").to_owned()
}

/// Returns a service's established connections and persistence templates, without the parts that differ
/// between runs: times, and the ports of clients. IPVS has more states for the end of a connection.
fn without_times(page: &str, of: SocketAddrV4) -> String {
    let of = of.to_string();
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [protocol, _, state @ ("ASSURED" | "ESTABLISHED"), client, service, real] = words[..] else {
            return None;
        };
        if service != of {
            return None;
        }
        let client = if state == "ASSURED" { client } else { client.split(':').next()? };
        Some(format!("{protocol} {state} {client} {service} {real}"))
    };
    let mut lines: Vec<String> = page.lines().filter_map(line).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Returns a page without its head, which has the balancer's version and the size of its table.
fn without_head(pages: &str) -> String {
    pages
        .lines()
        .filter(|line| !line.starts_with("IP Virtual Server version"))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// Returns whether the arguments name a scheduler, or are empty.
fn wanted(name: &str) -> bool {
    let mut names = std::env::args().skip(1).peekable();
    names.peek().is_none() || names.any(|one| one == name)
}

fn main() -> ExitCode {
    let lab = Lab::new();
    let any = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    let _greeters: Vec<_> = lab
        .reals
        .iter()
        .flat_map(|real| [PORT, PORT + 1].map(|port| Server::greeter(real, any(port))))
        .collect();
    lab.director.ip(&format!("address add {VIP}/32 dev eth0"));
    lab.director.sysctl("ipv4/vs/conntrack", "0");
    // A separate service for each: IPVS remembers the connections of a removed service.
    let services = (8000..).map(|port| SocketAddrV4::new(VIP, port));
    let cases: Vec<(&Case, SocketAddrV4)> =
        CASES.iter().filter(|case| case.name.split(' ').next().is_some_and(wanted)).zip(services).collect();
    let of_ipvs: Vec<Story> =
        cases.iter().map(|(case, service)| tell(case, Balancer::Ipvs, &lab, *service)).collect();
    lab.director.ip(&format!("address delete {VIP}/32 dev eth0"));
    let _daemon = lab.director.start_daemon();
    let mut alike = true;
    for ((case, service), ipvs) in cases.into_iter().zip(of_ipvs) {
        let xvs = tell(case, Balancer::Xvs, &lab, service);
        let same = xvs.choices == ipvs.choices;
        println!("{:<26} {} {}", case.name, if same { "alike    " } else { "different" }, ipvs.choices);
        if !same {
            println!("{:<26} xvs:      {}", "", xvs.choices);
        }
        let (left, right) = (without_head(&ipvs.pages), without_head(&xvs.pages));
        if same && left != right {
            println!("the pages differ; IPVS:\n{left}xvs:\n{right}");
        }
        alike &= same && left == right;
    }
    if alike { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
