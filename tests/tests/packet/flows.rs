// SPDX-License-Identifier: MIT OR Apache-2.0
//! Selection of the real of a new connection, which stays on that real.

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use lb_common::{
    reason::Reason,
    schema::{Settings, Timeouts},
    ticks::Ticks,
};
use lb_model::{
    Forward::{Dr, Local, Nat, Tun},
    Scheduler::{self, Mh, Rr, Wrr},
};
use lb_tests::packet::{
    CLIENT, Frame, Pool, RealServer, SERVICE, TestPlane, tcp, tcp_service, udp, udp_service,
};
use rstest::rstest;

use crate::scene::ask;

/// Reals 1, 2, … with these weights.
fn pool(scheduler: Scheduler, weights: &[u32]) -> Pool {
    let pool = tcp_service().by(scheduler);
    (1..)
        .zip(weights)
        .fold(pool, |pool, (number, weight)| pool.weighted(Dr, RealServer::number(number), *weight))
}

fn client(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(*CLIENT.ip(), port)
}

fn syn(port: u16) -> Frame {
    tcp(client(port), SERVICE).syn()
}

/// Returns the reals of new connections from ports 1, 2, ….
fn turns(plane: &mut TestPlane, ports: std::ops::Range<u16>) -> Vec<u8> {
    ports.map(|port| ask(plane, &syn(port)).ip().octets()[3] - 10).collect()
}

/// The real that was added last comes first, as in IPVS.
#[rstest]
#[case::round_robin(Rr, &[1, 5, 1], &[3, 2, 1, 3, 2, 1, 3])]
#[case::round_robin_without_those_of_no_weight(Rr, &[1, 0, 1], &[3, 1, 3, 1])]
#[case::by_weight(Wrr, &[4, 3, 2], &[1, 2, 1, 3, 2, 1, 3, 2, 1, 1, 2, 1])]
#[case::by_reduced_weight(Wrr, &[200, 100, 0], &[1, 2, 1, 1, 2, 1])]
fn turns_are_taken_in_order(#[case] scheduler: Scheduler, #[case] weights: &[u32], #[case] order: &[u8]) {
    let mut plane = TestPlane::new(&[pool(scheduler, weights)]);
    let ports = 1..u16::try_from(order.len()).unwrap() + 1;
    assert_eq!(turns(&mut plane, ports), order);
}

/// The flood fills the table more than three times.
#[rstest]
#[case::that_is_open(&[])]
#[case::that_is_closing(&[tcp(CLIENT, SERVICE).fin()])]
fn a_connection_outlives_a_flood_of_syns(#[case] more: &[Frame]) {
    let mut plane = TestPlane::new(&[pool(Wrr, &[1, 1, 1])]);
    let real = ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    for frame in [&[tcp(CLIENT, SERVICE).data("data")], more].concat() {
        assert_eq!(ask(&mut plane, &frame), real);
    }
    for port in (1..60_000).filter(|port| *port != CLIENT.port()) {
        plane.try_bytes(&syn(port).bytes());
    }
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE).data("data")), real);
}

/// The next connection from the same port is another one, in whichever table the first one has an entry.
#[rstest]
fn a_port_that_comes_again_begins_anew(#[values(Rr, Wrr)] scheduler: Scheduler) {
    let mut plane = TestPlane::new(&[pool(scheduler, &[1, 1, 1])]);
    let data = || tcp(CLIENT, SERVICE).data("data");
    let mut reals = Vec::new();
    for _ in 0..6 {
        let real = ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
        for frame in [tcp(CLIENT, SERVICE).syn(), data(), data(), tcp(CLIENT, SERVICE).fin(), data()] {
            assert_eq!(ask(&mut plane, &frame), real);
        }
        assert_eq!(plane.flows(), 1);
        reals.push(real);
    }
    assert_eq!(reals[..3], reals[3..], "they take turns");
    assert_ne!(reals[0], reals[1]);
}

#[rstest]
fn a_flow_stays_where_it_began(#[values(Mh, Rr, Wrr)] scheduler: Scheduler) {
    let mut plane = TestPlane::new(&[pool(scheduler, &[1, 1, 1])]);
    let reals = turns(&mut plane, 1..10);
    for port in (1..10).rev() {
        let got = plane.run(&tcp(client(port), SERVICE).data("data"));
        assert_eq!((got.real(), got.new_flows()), (RealServer::number(reals[usize::from(port) - 1]), 0));
    }
    // A repeated SYN is the same connection.
    assert_eq!(turns(&mut plane, 1..10), reals);
    assert_eq!(plane.flows(), if scheduler == Mh { 0 } else { 9 }, "a hashing scheduler adds no entry");
}

#[rstest]
#[case::reals_come(&[1, 1, 1, 1, 1, 1, 1, 1])]
#[case::reals_drain(&[0, 0, 1])]
#[case::all_drain(&[0, 0, 0])]
fn a_flow_stays_when_the_pool_changes(#[case] weights: &[u32], #[values(Mh, Rr, Wrr)] scheduler: Scheduler) {
    let mut plane = TestPlane::new(&[pool(scheduler, &[1, 1, 1])]);
    let reals = turns(&mut plane, 1..30);

    plane.set(&[pool(scheduler, weights)]);

    for (port, real) in (1..30).zip(reals) {
        assert_eq!(ask(&mut plane, &tcp(client(port), SERVICE)), RealServer::number(real));
    }
}

/// A service without packets has no flows, so no change of its pool endangers any.
#[test]
fn a_pool_that_is_put_together_real_by_real_stands_still() {
    let mut plane = TestPlane::new(&[pool(Mh, &[1]), udp_service()]);
    let udp_pool = |count| (1..=count).fold(udp_service(), |pool, n| pool.real(Dr, RealServer::number(n)));
    for count in 1..=3 {
        plane.set(&[pool(Mh, &vec![1; count.into()]), udp_pool(count)]);
    }
    let by_udp: Vec<u8> = (1..60)
        .map(|port| ask(&mut plane, &udp(client(port), SERVICE).data("a question")).ip().octets()[3] - 10)
        .collect();
    let by_tcp = turns(&mut plane, 1..60);
    assert!((1..=3).all(|real| by_udp.contains(&real) && by_tcp.contains(&real)), "{by_udp:?} {by_tcp:?}");
    assert_eq!(plane.flows(), 0);
}

/// With more than 32 reals a table has more slots: each earlier slot becomes a run of slots.
#[test]
fn a_pool_that_outgrows_its_table_moves_no_flow() {
    let of = |count| pool(Mh, &vec![1; count]);
    let slots = |plane: &TestPlane| plane.image().services.values().map(|service| service.slots).max();
    let mut plane = TestPlane::new(&[of(32)]);
    let mut flows: Vec<u8> = turns(&mut plane, 1..200);
    assert_eq!((slots(&plane), plane.flows()), (Some(4096), 0));
    for (count, grown) in [(33, 8192), (50, 8192), (32, 8192), (40, 8192)] {
        plane.set(&[of(count)]);
        assert_eq!(slots(&plane), Some(grown), "{count} reals");
        for (port, real) in (1..).zip(&mut flows) {
            let now = ask(&mut plane, &tcp(client(port), SERVICE)).ip().octets()[3] - 10;
            if usize::from(*real) <= count {
                assert_eq!(now, *real, "port {port} with {count} reals");
            }
            *real = now;
        }
        let next = flows.len() as u16 + 1;
        flows.extend(turns(&mut plane, next..next + 50));
    }
    assert!(flows.iter().any(|real| *real > 32), "new connections went to new reals: {flows:?}");
}

#[test]
fn flows_of_reals_that_stay_do_so_when_another_goes() {
    let mut plane = TestPlane::new(&[pool(Mh, &[1, 1, 1])]);
    let before = turns(&mut plane, 1..60);

    plane.set(&[pool(Mh, &[1, 1])]);

    let after: Vec<u8> =
        (1..60).map(|port| ask(&mut plane, &tcp(client(port), SERVICE)).ip().octets()[3] - 10).collect();
    for (before, after) in before.into_iter().zip(after) {
        assert!(if before == 3 { after != 3 } else { after == before });
    }
}

/// Directors with the same config and seed choose alike: the packet alone decides.
#[test]
fn by_hash_every_director_chooses_alike() {
    let mut one = TestPlane::new(&[pool(Mh, &[1, 2, 3])]);
    let mut other = TestPlane::new(&[udp_service(), pool(Mh, &[1, 2, 3])]);
    let reals = turns(&mut one, 1..200);
    assert_eq!(turns(&mut other, 1..200), reals);
    assert!((1..=3).all(|real| reals.contains(&real)));

    let reseeded = Settings { seed: 42, ..Settings::DEFAULT };
    let mut reseeded = TestPlane::with_settings(reseeded, &[pool(Mh, &[1, 2, 3])]);
    assert_ne!(turns(&mut reseeded, 1..200), reals, "the seed keys the hash");
}

#[rstest]
#[case::ack(tcp(CLIENT, SERVICE).data("data"))]
#[case::fin(tcp(CLIENT, SERVICE).fin())]
#[case::rst(tcp(CLIENT, SERVICE).rst())]
#[case::syn_ack(tcp(CLIENT, SERVICE).syn_ack())]
fn who_takes_turns_knows_nothing_of_an_unknown_flow(
    #[case] sent: Frame,
    #[values(Rr, Wrr)] scheduler: Scheduler,
) {
    let mut plane = TestPlane::new(&[pool(scheduler, &[1, 1])]);
    plane.run(&sent).is_passed(Reason::NoFlow);
    assert_eq!(plane.flows(), 0);
    assert_eq!(turns(&mut plane, 1..3), [2, 1], "no turn was taken");
}

/// A director that takes over from another sees connections from their middle.
#[rstest]
#[case::ack(tcp(CLIENT, SERVICE).data("data"), 1)]
#[case::fin(tcp(CLIENT, SERVICE).fin(), 1)]
#[case::rst(tcp(CLIENT, SERVICE).rst(), 0)]
fn by_hash_a_flow_is_taken_up_from_its_middle(#[case] sent: Frame, #[case] flows: u64) {
    let mut plane = TestPlane::new(&[pool(Mh, &[1, 1, 1]).tracked()]);
    let got = plane.run(&sent);
    assert_eq!((got.new_flows(), plane.flows() as u64), (flows, flows));
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE).syn()), got.real());
}

/// kubernetes #70747: a balancer that sends the new connection's SYN to the old one's real stalls the client.
#[rstest]
#[case::after_fin(tcp(CLIENT, SERVICE).fin())]
#[case::after_rst(tcp(CLIENT, SERVICE).rst())]
fn a_syn_with_the_ports_of_a_closing_flow_is_a_new_one(#[case] end: Frame) {
    let mut plane = TestPlane::new(&[pool(Rr, &[1, 1])]);
    let first = ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    assert_eq!(ask(&mut plane, &end), first);
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE)), first, "the last acknowledgement");

    let got = plane.run(&tcp(CLIENT, SERVICE).syn());

    assert_ne!(got.real(), first);
    assert_eq!(got.new_flows(), 1);
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE)), got.real());
}

#[test]
fn a_syn_within_a_connection_changes_nothing() {
    let mut plane = TestPlane::new(&[pool(Rr, &[1, 1])]);
    let real = ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    ask(&mut plane, &tcp(CLIENT, SERVICE));
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE).syn()), real);
    assert_eq!(plane.flows(), 1);
}

#[test]
fn a_silent_flow_ends_and_begins_anew() {
    let reals = [RealServer::number(1), RealServer::number(2)];
    let service = reals.into_iter().fold(udp_service().by(Rr), |pool, real| pool.real(Dr, real));
    let mut plane = TestPlane::new(&[service]);
    plane.set_timeouts(Timeouts { udp: Ticks::ZERO, ..Timeouts::DEFAULT });
    let first = ask(&mut plane, &udp(CLIENT, SERVICE));
    let deadline = Instant::now() + Duration::from_secs(5);
    while ask(&mut plane, &udp(CLIENT, SERVICE)) == first {
        assert!(Instant::now() < deadline, "silent for more than no time at all, and yet it goes on");
    }
}

#[test]
fn more_flows_than_fit_push_out_the_oldest_and_are_all_served() {
    let mut plane = TestPlane::new(&[pool(Mh, &[1, 1, 1]).tracked()]);
    for port in 1..60_000 {
        let (action, _) = plane.try_bytes(&syn(port).bytes());
        assert_eq!(action, lb_tests::packet::Action::Tx);
    }
    let places = plane.tables().flow_places() as usize;
    assert!(
        places < 20_000 && plane.flows() <= places && plane.flows() > places * 9 / 10,
        "{}",
        plane.flows()
    );
}

/// Untracked flows cannot fill a table: neither by many clients nor by clients that send only SYNs.
#[rstest]
fn in_peace_a_flood_writes_nothing_down(
    #[values(Dr, Tun, Nat)] method: lb_model::Forward,
    #[values(tcp(CLIENT, SERVICE).syn(), tcp(CLIENT, SERVICE), tcp(CLIENT, SERVICE).rst(), udp(CLIENT, SERVICE))]
    sent: Frame,
) {
    let reals = |pool: Pool| (1..=3).fold(pool, |pool, n| pool.real(method, RealServer::by(method, n)));
    let mut plane = TestPlane::new(&[reals(tcp_service()), reals(udp_service())]);
    for n in 0..20_000u32 {
        let client = SocketAddrV4::new((0xc612_0000 + n).into(), 1024 + (n % 60_000) as u16);
        let (action, _) = plane.try_bytes(&sent.clone().from(client).bytes());
        assert_eq!(action, lb_tests::packet::Action::Tx);
    }
    assert_eq!(plane.flows(), 0);
}

#[test]
fn services_and_protocols_have_flows_of_their_own() {
    let mut plane = TestPlane::new(&[
        pool(Rr, &[1, 1]),
        udp_service().by(Rr).real(Dr, RealServer::number(5)),
        pool(Rr, &[0, 0, 1]).port(81),
    ]);
    let other = SocketAddrV4::new(*SERVICE.ip(), 81);
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE).syn()), RealServer::number(2));
    assert_eq!(ask(&mut plane, &udp(CLIENT, SERVICE)), RealServer::number(5));
    assert_eq!(ask(&mut plane, &tcp(CLIENT, other).syn()), RealServer::number(3));
    assert_eq!(ask(&mut plane, &tcp(client(2), SERVICE).syn()), RealServer::number(1));
    assert_eq!(plane.flows(), 4);
}

#[test]
fn one_service_has_reals_of_every_method() {
    let reals = [Dr, Tun, Nat].map(|method| (method, RealServer::by(method, 1 + method as u8)));
    let local = RealServer::by(Local, 9);
    let pool = reals.iter().fold(tcp_service().by(Rr), |pool, (method, real)| pool.real(*method, *real));
    let mut plane = TestPlane::new(&[pool.real(Local, local)]);
    plane.run(&syn(4)).is_passed(Reason::Local);
    for (port, (method, real)) in (1..).zip(reals.into_iter().rev()) {
        let sent = syn(port);
        plane.run(&sent).reaches_a_real_as(&real.receives(method, &sent));
    }
    for (port, (method, real)) in (1..).zip(reals.into_iter().rev()) {
        let sent = tcp(client(port), SERVICE).data("data");
        plane.run(&sent).reaches_a_real_as(&real.receives(method, &sent));
    }
    plane.run(&tcp(client(4), SERVICE).data("data")).is_passed(Reason::Local);
}
