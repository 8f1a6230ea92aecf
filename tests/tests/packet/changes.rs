// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of the daemon are effective from the next packet on, regardless of the CPUs' caches: also during a
//! change, and if the daemon dies in it.

use std::net::SocketAddrV4;

use lb_common::schema::{Service, ServiceKey, Source, SourceKey, cache};
use lb_model::Forward::{Dr, Nat};
use lb_tests::packet::{
    Action, CLIENT, Frame, PORT, RealServer, SERVICE, TestPlane, VIP, client_receives, tcp, tcp_service,
};
use rstest::rstest;

use crate::scene::{ask, services};

const REAL: RealServer = RealServer::at_port(1, 8080);

fn syn() -> Frame {
    tcp(CLIENT, SERVICE).syn()
}

fn reply() -> Frame {
    REAL.answers(tcp(REAL.0, CLIENT).syn_ack())
}

/// The service of TCP, as it is in the table.
fn service(plane: &mut TestPlane) -> (ServiceKey, Service) {
    let all = plane.tables().services().expect("it can be read");
    all.into_iter().find(|(key, _)| key.protocol == 6).expect("a service of TCP")
}

/// The source of TCP.
fn source(plane: &mut TestPlane) -> (SourceKey, Source) {
    let all = plane.tables().sources().expect("it can be read");
    all.into_iter().find(|(key, _)| key.protocol == 6).expect("a source of TCP")
}

#[test]
fn another_real_gets_the_next_connection() {
    let mut plane = TestPlane::new(&[tcp_service().real(Dr, RealServer::number(1))]);
    for number in [2, 3, 2, 1] {
        let real = RealServer::number(number);
        plane.set(&[tcp_service().real(Dr, real)]);
        assert_eq!(ask(&mut plane, &syn()), real);
    }
}

#[test]
fn a_service_that_is_gone_gets_nothing_and_one_that_is_back_does() {
    let mut plane = TestPlane::new(&services(Dr));
    for _ in 0..3 {
        ask(&mut plane, &syn());
        plane.set(&[]);
        plane.run(&syn()).is_untouched();
        plane.set(&services(Dr));
    }
}

#[test]
fn replies_follow_their_service() {
    let mut plane = TestPlane::new(&services(Nat));
    for _ in 0..3 {
        ask(&mut plane, &syn());
        plane.run(&reply()).reaches_the_client_as(&client_receives(&reply(), SERVICE));
        plane.set(&services(Dr));
        plane.run(&reply()).is_untouched();
        plane.set(&services(Nat));
    }
}

/// The daemon writes one entry after the other, and the packets in between see each.
#[test]
fn in_the_middle_of_a_change_each_packet_sees_what_was_written() {
    let mut plane = TestPlane::new(&services(Nat));
    let taken = plane.try_bytes(&syn().bytes()).1;
    plane.run(&reply()).reaches_the_client_as(&client_receives(&reply(), SERVICE));

    let (key, service) = service(&mut plane);
    let (from, source) = source(&mut plane);
    for _ in 0..2 {
        plane.tables().put_service(&key, &Service { slots: 0, ..service }).expect("it can be written");
        assert_eq!(plane.try_bytes(&syn().bytes()).0, Action::Tx, "it is refused");
        assert_ne!(plane.try_bytes(&syn().bytes()).1, taken, "and not sent to a real");
        plane.tables().put_service(&key, &service).expect("it can be written");
        ask(&mut plane, &syn());
        plane.tables().remove_service(&key).expect("it can be removed");
        plane.run(&syn()).is_untouched();
        plane.tables().put_service(&key, &service).expect("it can be written");

        plane.tables().remove_source(&from).expect("it can be removed");
        plane.run(&reply()).is_untouched();
        plane.tables().put_source(&from, &source).expect("it can be written");
        plane.run(&reply()).reaches_the_client_as(&client_receives(&reply(), SERVICE));
    }
    // The last daemon died during a change: its successor's writes are effective too.
    plane.tables().settle().expect("it can be written");
    ask(&mut plane, &syn());
    plane.tables().remove_service(&key).expect("it can be removed");
    plane.run(&syn()).is_untouched();
}

/// Endpoints whose ports differ by the number of entries share two adjacent ones: two endpoints fit, and with
/// three or more, one finds another in its entry, and looks into the tables again.
#[rstest]
#[case::one_beside_the_other(2)]
#[case::in_each_others_way(4)]
fn ends_that_share_places_are_told_apart(#[case] ends: u16) {
    // With the small limits of a test, a cache has this number of entries.
    let nth = |port: u16, nth: u16| port ^ (nth * cache::LEAST as u16);
    let ends: Vec<_> =
        (0..ends).map(|n| (nth(PORT, n), RealServer::at_port(1, nth(REAL.0.port(), n)))).collect();
    let services: Vec<_> =
        ends.iter().map(|(port, real)| tcp_service().port(*port).real(Nat, *real)).collect();
    let mut plane = TestPlane::new(&services);
    for _ in 0..3 {
        for &(port, real) in &ends {
            let service = SocketAddrV4::new(VIP, port);
            assert_eq!(ask(&mut plane, &tcp(CLIENT, service).syn()), real);
            let reply = real.answers(tcp(real.0, CLIENT).syn_ack());
            plane.run(&reply).reaches_the_client_as(&client_receives(&reply, service));
        }
    }
}
