// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that docs/forwarding.md agrees with the programs. Text after a `←` there is a comment for the
//! reader.

use std::net::SocketAddr;

use lb_model::{
    Forward::{self, Dr, Fnat, Nat, Tun},
    Real, Tunnel,
};
use lb_tests::packet::{
    CLIENT, DIP_END, Got, RealServer, SERVICE, TestPlane, judge, tcp, tcp_service, version::is_six,
    version::socket,
};

const DOC: &str = include_str!("../../../docs/forwarding.md");

/// Returns the block after `<!-- capture: NAME -->`, without the comments.
#[track_caller]
fn shown(name: &str) -> Vec<String> {
    let mark = format!("<!-- capture: {name} -->\n```text\n");
    let (_, text) = DOC.split_once(&mark).unwrap_or_else(|| panic!("docs/forwarding.md has no {mark}"));
    let lines = text.lines().take_while(|line| *line != "```");
    lines.map(|line| line.split('←').next().unwrap_or_default().trim_end().to_owned()).collect()
}

#[track_caller]
fn shows(name: &str, captured: &[(&str, &[u8])]) {
    let mut lines = Vec::new();
    for (way, frame) in captured {
        lines.push((*way).to_owned());
        lines.extend(judge::decode(frame).lines().map(|line| line.trim_end().to_owned()));
    }
    assert_eq!(
        shown(name),
        lines,
        "docs/forwarding.md, {name} (left) against the programs:\n{}",
        lines.join("\n")
    );
}

fn request(method: Forward) -> Got {
    let mut plane = TestPlane::new(&[tcp_service().real(method, RealServer::by(method, 1))]);
    plane.run(&tcp(CLIENT, SERVICE).syn())
}

#[test]
fn the_captures_are_what_the_programs_do() {
    if is_six() {
        return; // What is of IPv4 would be translated.
    }
    for (name, method) in [("dr", Dr), ("tun", Tun)] {
        let got = request(method);
        shows(name, &[("client to director", &got.sent), ("director to real", &got.frame)]);
    }

    for (name, method, to) in [("nat", Nat, CLIENT), ("fnat", Fnat, DIP_END)] {
        let real = RealServer::by(method, 1);
        let mut plane = TestPlane::new(&[tcp_service().real(method, real)]);
        let asked = plane.run(&tcp(CLIENT, SERVICE).syn());
        let answered = plane.run(&real.answers(tcp(real.0, to).syn_ack()));
        let both_ways: [(&str, &[u8]); 4] = [
            ("client to director", &asked.sent),
            ("director to real", &asked.frame),
            ("real to director", &answered.sent),
            ("director to client", &answered.frame),
        ];
        shows(name, &both_ways);
    }

    let (four, six) =
        ([CLIENT, SERVICE].map(SocketAddr::from), [CLIENT, SERVICE].map(|v4| socket(v4.into())));
    let rip = SocketAddr::from(RealServer::number(1).0);
    let rip6 = socket(rip);
    for (name, [client, service], rip, tunnel) in [
        ("tun, IPv6 within IPv4", six, rip, Tunnel::Ipip),
        ("tun, IPv4 within IPv6", four, rip6, Tunnel::Ipip),
        ("tun, IPv6 within IPv6", six, rip6, Tunnel::Ipip),
        ("tun, gre", four, rip, Tunnel::Gre { csum: false }),
        ("tun, gre:csum", four, rip, Tunnel::Gre { csum: true }),
        ("tun, gue", four, rip, Tunnel::Gue { port: 6080, csum: false }),
        ("tun, gue:csum within IPv6", six, rip6, Tunnel::Gue { port: 6080, csum: true }),
    ] {
        let pool = tcp_service().vip(service.ip()).with(|service| {
            service.reals.insert(rip, Real { tunnel, ..Real::new(Tun, 1) });
        });
        let got = TestPlane::new(&[pool]).run(&tcp(client, service).syn());
        shows(name, &[("client to director", &got.sent), ("director to real", &got.frame)]);
    }

    let mut plane = TestPlane::new(&[tcp_service().real(Tun, RealServer::number(1))]);
    let got = plane.run(&tcp(CLIENT, SERVICE).data([b'x'; 1460]));
    shows("too big", &[("client to director", &got.sent), ("director to client", &got.frame)]);
}
