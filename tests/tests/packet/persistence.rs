// SPDX-License-Identifier: MIT OR Apache-2.0
//! The connections of a client stay together.

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use lb_model::{Forward::Dr, Persistence, Scheduler};
use lb_tests::packet::{Frame, Pool, RealServer, SERVICE, TestPlane, VIP, tcp, tcp_service};
use rstest::rstest;

use crate::scene::ask;

fn persistent(seconds: u32, prefix: u8, weights: &[u32]) -> Pool {
    let pool = tcp_service().by(Scheduler::Rr);
    let pool = pool.with(|service| service.persistence = Some(Persistence { seconds, prefix }));
    (1..).zip(weights).fold(pool, |pool, (n, weight)| pool.weighted(Dr, RealServer::number(n), *weight))
}

fn syn(client: [u8; 4], port: u16) -> Frame {
    to(client, port, SERVICE.port())
}

fn to(client: [u8; 4], port: u16, service: u16) -> Frame {
    tcp(SocketAddrV4::new(client.into(), port), SocketAddrV4::new(VIP, service)).syn()
}

#[test]
fn a_client_stays_on_its_real() {
    let mut plane = TestPlane::new(&[persistent(300, 32, &[1, 1, 1])]);
    let first = ask(&mut plane, &syn([192, 0, 2, 1], 1));
    let other = ask(&mut plane, &syn([192, 0, 2, 2], 1));
    assert_ne!(first, other);
    for port in 2..20 {
        assert_eq!(ask(&mut plane, &syn([192, 0, 2, 1], port)), first);
        assert_eq!(ask(&mut plane, &syn([192, 0, 2, 2], port)), other);
    }
}

#[test]
fn a_new_service_knows_nothing_of_a_removed_one() {
    let service = || [persistent(300, 32, &[1, 1])];
    let mut plane = TestPlane::new(&service());
    let (one, other) = (syn([192, 0, 2, 1], 1), syn([192, 0, 2, 2], 1));
    let first = ask(&mut plane, &one);
    plane.set(&[]);
    // The new service gets the same ids.
    plane.set(&service());
    assert_eq!(ask(&mut plane, &other), first, "it begins with the same real");
    assert_ne!(ask(&mut plane, &one), first);
}

#[rstest]
#[case::within(24, [198, 51, 100, 200], true)]
#[case::beyond(24, [198, 51, 101, 1], false)]
#[case::all_are_one(0, [10, 1, 2, 3], true)]
fn a_netmask_makes_many_addresses_one_client(#[case] prefix: u8, #[case] other: [u8; 4], #[case] same: bool) {
    let mut plane = TestPlane::new(&[persistent(300, prefix, &[1, 1])]);
    let first = ask(&mut plane, &syn([198, 51, 100, 1], 1));
    assert_eq!(ask(&mut plane, &syn(other, 1)) == first, same);
}

#[test]
fn a_client_stays_across_the_ports_of_a_vip() {
    let mut plane = TestPlane::new(&[persistent(300, 32, &[1, 1]).port(0)]);
    let first = ask(&mut plane, &to([192, 0, 2, 1], 1, 80));
    assert_eq!(ask(&mut plane, &to([192, 0, 2, 1], 1, 443)), first);
    assert_eq!(ask(&mut plane, &to([192, 0, 2, 1], 2, 8080)), first);
}

#[test]
fn a_client_stays_across_the_ports_of_a_group() {
    let mut plane = TestPlane::new(&[persistent(300, 32, &[1, 1]).grouped_with(1, &[443])]);
    let first = ask(&mut plane, &to([192, 0, 2, 1], 1, 80));
    assert_eq!(ask(&mut plane, &to([192, 0, 2, 1], 1, 443)), first);
    assert_eq!(ask(&mut plane, &to([192, 0, 2, 1], 2, 443)), first);
}

/// As in IPVS, weight 0 does not drive clients away (`expire_quiescent_template` is off there by default).
#[test]
fn a_client_stays_on_a_real_that_drains_and_leaves_one_that_was_removed() {
    let mut plane = TestPlane::new(&[persistent(300, 32, &[1, 1])]);
    let first = ask(&mut plane, &syn([192, 0, 2, 1], 1));
    assert_eq!(first, RealServer::number(2));
    plane.set(&[persistent(300, 32, &[1, 0])]);
    assert_eq!(ask(&mut plane, &syn([192, 0, 2, 1], 2)), first);
    plane.set(&[persistent(300, 32, &[1, 1]).without(first)]);
    assert_eq!(ask(&mut plane, &syn([192, 0, 2, 1], 3)), RealServer::number(1));
}

#[test]
fn persistence_ends() {
    let mut plane = TestPlane::new(&[persistent(1, 32, &[1, 1])]);
    let first = ask(&mut plane, &syn([192, 0, 2, 1], 1));
    let begun = Instant::now();
    let mut port = 2;
    // Each new connection would renew it, so they come after it.
    std::thread::sleep(Duration::from_millis(1_100));
    while ask(&mut plane, &syn([192, 0, 2, 1], port)) == first {
        assert!(begun.elapsed() < Duration::from_secs(10), "never ends");
        port += 1;
        std::thread::sleep(Duration::from_millis(1_100));
    }
}
