// SPDX-License-Identifier: MIT OR Apache-2.0
//! A persistent service at port 21 also gets the data connections of FTP, as in IPVS: those of clients to the
//! port of a passive server, and those that an active server opens from port 20, of which only the client's
//! answer passes the director.

use std::net::SocketAddrV4;

use lb_model::{
    Forward::{self, Dr, Nat, Tun},
    Persistence, Scheduler,
};
use lb_tests::packet::{CLIENT, Frame, Pool, RealServer, TestPlane, VIP, tcp, tcp_service, udp};
use rstest::rstest;

fn to(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(VIP, port)
}

fn real(number: u8) -> RealServer {
    RealServer::at_port(number, 21)
}

fn ftp(method: Forward, persistent: bool) -> Pool {
    let pool = tcp_service().port(21).by(Scheduler::Rr).with(|service| {
        let prefix = Persistence::WHOLE_ADDRESS;
        service.persistence = persistent.then_some(Persistence { seconds: 300, prefix });
    });
    (1..=3).fold(pool, |pool, number| pool.real(method, real(number)))
}

fn from(host: u8, port: u16) -> SocketAddrV4 {
    let [a, b, c, _] = CLIENT.ip().octets();
    SocketAddrV4::new([a, b, c, host].into(), port)
}

#[rstest]
fn data_goes_where_control_went(#[values(Dr, Tun)] method: Forward) {
    let mut plane = TestPlane::new(&[ftp(method, true)]);
    for host in 1..=9 {
        let control = plane.run(&tcp(from(host, 40_000), to(21)).syn()).real();
        let passive = tcp(from(host, 40_001), to(30_000 + u16::from(host))).syn();
        plane.run(&passive).reaches_a_real_as(&control.receives(method, &passive));
        let active = tcp(from(host, 40_002), to(20)).syn_ack();
        plane.run(&active).reaches_a_real_as(&control.receives(method, &active));
        let goes_on = tcp(from(host, 40_002), to(20));
        plane.run(&goes_on).reaches_a_real_as(&control.receives(method, &goes_on));
    }
}

#[rstest]
#[case::a_privileged_port(ftp(Dr, true), tcp(from(1, 40_000), to(22)).syn())]
#[case::another_protocol(ftp(Dr, true), udp(from(1, 40_000), to(30_000)))]
#[case::without_persistence(ftp(Dr, false), tcp(from(1, 40_000), to(30_000)).syn())]
#[case::by_nat_which_would_have_to_translate_addresses(
    ftp(Nat, true),
    tcp(from(1, 40_000), to(30_000)).syn()
)]
#[case::no_ftp(ftp(Dr, true).port(80), tcp(from(1, 40_000), to(30_000)).syn())]
fn anything_else_is_not_ftp(#[case] pool: Pool, #[case] sent: Frame) {
    TestPlane::new(&[pool]).run(&sent).is_untouched();
}

/// A data connection does not begin in the middle.
#[test]
fn an_unknown_connection_is_not_data() {
    let mut plane = TestPlane::new(&[ftp(Dr, true)]);
    plane.run(&tcp(from(1, 40_000), to(30_000))).is_passed(lb_common::reason::Reason::NoFlow);
}
