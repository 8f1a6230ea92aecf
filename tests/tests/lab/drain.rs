// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs real drain`: no new connections; existing ones continue, and the exit code tells whether any is left.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddrV4},
};

use lb_tests::lab::{Lab, Method, Server, VIP};
use rstest::rstest;

const PORT: u16 = 7000;
const SERVICE: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);

/// With a hashing scheduler, a connection has no entry until its first packet after the change; drain waits
/// for it.
#[rstest]
fn a_drained_real_keeps_its_connections_until_the_last_is_closed(#[values("rr", "mh")] scheduler: &str) {
    let lab = Lab::new();
    let config = lab.director.path("config.toml");
    fs::write(&config, "[director]\ntcp-timeout = \"4s\"\ntcp-fin-timeout = \"2s\"\n").unwrap();
    for real in &lab.reals {
        real.set_up(Method::Dr);
    }
    let _daemon = lab.director.start_daemon_with(&format!("--config {}", config.display()));
    let _greeters = lab
        .reals
        .each_ref()
        .map(|real| Server::greeter(real, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT)));
    lab.director.xvs(&format!("service add tcp {SERVICE} --scheduler {scheduler}")).succeeds();
    let [first, second, _] = &lab.reals;
    lab.director.add_real("tcp", PORT, first.rip, PORT, Method::Dr, 100);
    let mut stream = BufReader::new(lab.client.connect(SERVICE).unwrap());
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    lab.director.add_real("tcp", PORT, second.rip, PORT, Method::Dr, 100);
    let drain = format!("real drain tcp {SERVICE} {} --wait --deadline", first.rip);

    lab.director.xvs(&format!("{drain} 1s")).fails(1).says(if scheduler == "rr" {
        "1 connection is left"
    } else {
        "slots that have not spoken"
    });

    let spread = lab.client.spread(SERVICE, 10);
    assert_eq!((spread.by("real1"), spread.by("real2")), (0, 10), "{spread:?}");
    stream.get_mut().write_all(b"still there\n").unwrap();
    line.clear();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, "still there\n");

    drop(stream);
    lab.director.xvs(&format!("{drain} 20s")).succeeds().says("0 connections are left");
}
