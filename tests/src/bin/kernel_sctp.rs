// SPDX-License-Identifier: MIT OR Apache-2.0
//! SCTP with the kernel's own ends: associations to a VIP by every method that carries them.
//!
//! Run by `cargo xtask test-vm` inside a virtual machine, since it needs a kernel with SCTP.
#![expect(clippy::print_stdout, reason = "it is here to show something")]

use std::{
    collections::BTreeSet,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use lb_tests::lab::{CLIENT, CLIENT6, Lab, Method, Server, VIP, VIP6, Way, sctp_connect};

/// Associations to each service.
const ASSOCIATIONS: u16 = 6;
/// Lengths of the echoed messages in bytes: less than a packet holds, as much, and a message in several
/// packets.
const MESSAGES: [usize; 4] = [1, 1000, 1400, 20_000];

fn main() -> ExitCode {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    for real in &lab.reals {
        real.xvs_host(&format!("setup --vip {VIP} --vip {VIP6} --forward tun --interface eth0")).succeeds();
    }
    let mut servers = Vec::new();
    let ways: Vec<Way> = Way::all().filter(|way| way.method != Method::Fnat).collect();
    for way in &ways {
        let (service, method) = (way.service(), way.method.as_str());
        lab.director.xvs(&format!("service add sctp {service} --scheduler rr")).succeeds();
        for (real, mut rip) in lab.reals.iter().zip(way.reals()) {
            // The checksum covers the ports.
            rip.set_port(service.port());
            lab.director.xvs(&format!("real add sctp {service} {rip} --forward {method}")).succeeds();
            servers.push(Server::sctp_greeter(real, if way.method == Method::Nat { rip } else { service }));
        }
    }
    lab.director.wait_for_next_hops();

    let mut failed = false;
    for way in ways {
        let outcomes: Vec<io::Result<String>> =
            (0..ASSOCIATIONS).map(|number| talk(&lab, way, number)).collect();
        let names: BTreeSet<&str> = outcomes.iter().flatten().map(String::as_str).collect();
        let whole = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        println!("SCTP by {}: {whole} of {ASSOCIATIONS} associations, by {} reals", way.name(), names.len());
        if whole != usize::from(ASSOCIATIONS) || names.len() != lab.reals.len() {
            failed = true;
            eprintln!("error: SCTP by {}: {outcomes:?}\n{:?}", way.name(), lab.director.stats());
        }
    }
    let listed = lab.director.xvs("connections").succeeds().stdout;
    let tracked = listed.lines().filter(|line| line.contains("sctp")).count();
    println!("SCTP: {tracked} associations are in the table of flows");
    if failed || tracked == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Opens one association, and returns the name of the real if all messages came back.
fn talk(lab: &Lab, way: Way, number: u16) -> io::Result<String> {
    let port = 30_000 + number + if way.six { 100 } else { 0 };
    let from = if way.six { SocketAddr::from((CLIENT6, port)) } else { (CLIENT, port).into() };
    let stream = sctp_connect(&lab.client, from, way.service())?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(&stream);
    let mut name = String::new();
    reader.read_line(&mut name)?;
    for length in MESSAGES {
        let sent: Vec<u8> = (0..length).map(|at| at as u8).collect();
        (&stream).write_all(&sent)?;
        let mut back = vec![0; length];
        reader.read_exact(&mut back)?;
        if back != sent {
            return Err(io::Error::other(format!("{length} bytes came back changed")));
        }
    }
    Ok(name.trim().to_owned())
}
