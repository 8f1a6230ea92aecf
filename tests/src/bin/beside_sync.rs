// SPDX-License-Identifier: MIT OR Apache-2.0
//! Open connections move from IPVS to xvs and from xvs to IPVS, by the synchronisation protocol of the kernel.
//!
//! `cargo xtask test-vm` runs it inside a virtual machine, since it needs a kernel with IPVS.
#![expect(clippy::print_stdout, reason = "it is here to show something")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    process::ExitCode,
    thread::sleep,
    time::Duration,
};

use lb_tests::lab::{Director, Lab, Method, Open, Options, Process, RIPS, Server, VIP, eventually};

/// The ports, each with the option of ipvsadm for its method.
const PORTS: [(u16, &str); 3] = [(80, "-g"), (81, "-i"), (82, "-m")];

/// Connections that were idle since before the announcements began.
const IDLE: u16 = 30;
/// Connections that have sent five lines since.
const BUSY: u16 = 30;

/// Attempts to reach a daemon that starts.
const STARTS: usize = 100;

/// How the connections are handed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// Not at all.
    Control,
    /// By announcements alone.
    Announced,
    /// By announcements and a snapshot.
    Imported,
}

/// Returns a lab with two directors and servers.
fn network() -> (Lab, Vec<Server>) {
    let lab = Lab::with(Options { second_director: true, ..Options::default() });
    let mut servers = Vec::new();
    for real in &lab.reals {
        real.set_up(Method::Tun);
        for (port, _) in PORTS {
            servers.push(Server::greeter(real, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)));
        }
    }
    (lab, servers)
}

/// Starts the daemon of a director. It takes long in an emulated machine.
fn start(director: &Director, options: &str) -> Process {
    let daemon = director.start_daemon_at_once(options);
    for _ in 0..STARTS {
        if director.xvs("status").is_success() {
            break;
        }
        sleep(Duration::from_secs(1));
    }
    daemon
}

/// Returns the rules of the services, as `ipvsadm -R` reads them.
fn rules() -> String {
    let service = |(port, method): (u16, &str)| {
        let real = |rip: Ipv4Addr| format!("-a -t {VIP}:{port} -r {rip}:{port} {method} -w 1\n");
        format!("-A -t {VIP}:{port} -s wrr\n") + &RIPS.map(real).concat()
    };
    PORTS.map(service).concat()
}

/// Gives a director the VIP and the services in the kernel's IPVS.
fn serve_by_ipvs(director: &Director, device: &str) {
    director.sh(&format!("ip address add {VIP}/32 dev {device}")).succeeds();
    director.feed(&["ipvsadm", "-R"], &rules());
}

/// Gives a director's xvs the services.
fn serve_by_xvs(director: &Director) {
    let file = director.path("rules");
    fs::write(&file, rules()).expect("the lab's folder is writable");
    for line in rules().lines() {
        director.xvs(&format!("ipvsadm {line}")).succeeds();
    }
    director.wait_for_next_hops();
}

fn open(lab: &Lab, number: u16, lines: usize) -> Vec<Open> {
    (0..number).map(|number| Open::new(lab, PORTS[usize::from(number) % 3].0, lines)).collect()
}

/// Moves connections from IPVS to xvs. Returns how many break.
fn to_xvs(way: Way) -> usize {
    let (lab, _servers) = network();
    let (ipvs, xvs) = (&lab.director, lab.second());
    let _daemon = start(xvs, "--no-manage-vips");
    xvs.sh(&format!("ip address add {VIP}/32 dev lo")).succeeds();
    serve_by_xvs(xvs);
    serve_by_ipvs(ipvs, "eth0");
    let mut connections = open(&lab, IDLE, 1);
    let daemon = "--mcast-interface eth0 --syncid 7";
    if way != Way::Control {
        xvs.xvs(&format!("ipvsadm --start-daemon backup {daemon}")).succeeds();
        ipvs.sh(&format!("ipvsadm --start-daemon master {daemon}")).succeeds();
    }
    connections.extend(open(&lab, BUSY, 5));
    if way != Way::Control {
        eventually("the kernel has announced the busy connections", || {
            let listed = xvs.xvs("ipvsadm -Lcn").succeeds().stdout;
            let number = listed.matches("ESTABLISHED").count();
            if number >= BUSY.into() { Ok(()) } else { Err(format!("{number}\n{}", xvs.xvs("sync status"))) }
        });
    }
    if way == Way::Imported {
        let snapshot = ipvs.sh("cat /proc/net/ip_vs_conn").succeeds().stdout;
        let file = xvs.path("snapshot");
        fs::write(&file, snapshot).expect("the lab's folder is writable");
        println!("{}", xvs.xvs(&format!("sync import ipvs {}", file.display())).succeeds().stdout);
    }
    lab.move_to_second();
    let broken = Open::broken(&mut connections);
    println!("{}", xvs.xvs("sync status").succeeds().stdout);
    broken
}

/// Moves connections from xvs to IPVS. Returns how many break.
fn to_ipvs(way: Way) -> usize {
    let (lab, _servers) = network();
    let (xvs, ipvs) = (&lab.director, lab.second());
    let _daemon = start(xvs, "");
    serve_by_xvs(xvs);
    serve_by_ipvs(ipvs, "lo");
    let mut connections = open(&lab, IDLE + BUSY, 1);
    let daemon = "--mcast-interface eth0 --syncid 7";
    if way != Way::Control {
        ipvs.sh(&format!("ipvsadm --start-daemon backup {daemon}")).succeeds();
        xvs.xvs(&format!("ipvsadm --start-daemon master {daemon}")).succeeds();
        eventually("xvs has announced the connections", || {
            let listed = ipvs.sh("ipvsadm -Lcn").succeeds().stdout;
            let number = listed.matches("ESTABLISHED").count();
            if number >= connections.len() {
                Ok(())
            } else {
                Err(format!("{number}\n{}", xvs.xvs("sync status")))
            }
        });
    }
    lab.move_to_second();
    Open::broken(&mut connections)
}

fn main() -> ExitCode {
    let mut is_good = true;
    let mut judge = |what: &str, broken: usize, good: bool| {
        println!(
            "{what}: {broken} of {} connections broken{}",
            IDLE + BUSY,
            if good { "" } else { ": WRONG" }
        );
        is_good &= good;
    };
    for way in [Way::Control, Way::Announced, Way::Imported] {
        let broken = to_xvs(way);
        let good = match way {
            Way::Control => broken > 20,
            // The kernel announces no idle connection.
            Way::Announced => broken <= IDLE.into(),
            Way::Imported => broken == 0,
        };
        judge(&format!("from IPVS to xvs, {way:?}"), broken, good);
    }
    for way in [Way::Control, Way::Announced] {
        let broken = to_ipvs(way);
        let good = if way == Way::Control { broken > 20 } else { broken == 0 };
        judge(&format!("from xvs to IPVS, {way:?}"), broken, good);
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
