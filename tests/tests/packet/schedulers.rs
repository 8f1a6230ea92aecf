// SPDX-License-Identifier: MIT OR Apache-2.0
//! Selection of the real of a new connection, by each rule of IPVS, while connections come and go.

use std::{collections::BTreeMap, net::SocketAddrV4};

use lb_common::reason::Reason;
use lb_model::{
    Forward::{Dr, Nat},
    Real,
    Scheduler::{self, Dh, Fo, Lblc, Lblcr, Lc, Mh, Nq, Ovf, Rr, Sed, Sh, Twos, Wlc},
    SchedulerFlag::{self, MhFallback, MhPort, ShFallback, ShPort},
};
use lb_tests::packet::{
    CLIENT, Frame, Pool, RealServer, SERVICE, TestPlane, VIP, client_receives, tcp, tcp_service, udp,
    udp_service,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rstest::rstest;

use crate::scene::ask;

const WEIGHTS: [u32; 4] = [3, 1, 0, 7];

fn pool(scheduler: Scheduler, weights: &[u32]) -> Pool {
    (1..).zip(weights).fold(tcp_service().by(scheduler), |pool, (n, weight)| {
        pool.weighted(Dr, RealServer::number(n), *weight)
    })
}

fn flagged(pool: Pool, flags: &[SchedulerFlag]) -> Pool {
    pool.with(|service| service.flags = flags.iter().copied().collect())
}

fn from_port(port: u16) -> Frame {
    tcp(SocketAddrV4::new(*CLIENT.ip(), port), SERVICE)
}

fn from_client(number: u8, port: u16) -> Frame {
    tcp(SocketAddrV4::new([198, 51, 100, number].into(), port), SERVICE)
}

fn number(real: RealServer) -> usize {
    usize::from(real.ip().octets()[3] - 10)
}

/// The load of a real, as its scheduler sees it.
#[derive(Clone, Copy, Default)]
struct Has {
    active: u32,
    inactive: u32,
}

/// Returns the real by the plain rule of the man pages of ipvsadm and the comments of `net/netfilter/ipvs`;
/// among equals the one that was added last. `None` if no real takes connections.
fn rule(scheduler: Scheduler, reals: &[(u32, Has)]) -> Option<usize> {
    let usable = || (0..reals.len()).rev().filter(|i| reals[*i].0 > 0);
    let least = |cost: &dyn Fn(u32, Has) -> f64| {
        usable().fold(None, |best: Option<(usize, f64)>, i| {
            let cost = cost(reals[i].0, reals[i].1);
            if best.is_none_or(|(_, least)| cost < least) { Some((i, cost)) } else { best }
        })
    };
    let overhead = |has: Has| f64::from(has.active * 256 + has.inactive);
    let found = match scheduler {
        Lc => least(&|_, has| overhead(has)),
        Wlc => least(&|weight, has| overhead(has) / f64::from(weight)),
        Sed => least(&|weight, has| f64::from(has.active + 1) / f64::from(weight)),
        Nq => match usable().find(|i| reals[*i].1.active == 0) {
            Some(idle) => return Some(idle),
            None => least(&|weight, has| f64::from(has.active + 1) / f64::from(weight)),
        },
        Fo => least(&|weight, _| -f64::from(weight)),
        Ovf => least(&|weight, has| if has.active <= weight { -f64::from(weight) } else { 0.0 })
            .filter(|(_, cost)| *cost < 0.0),
        _ => unreachable!("not a rule over counts"),
    };
    found.map(|(i, _)| i)
}

/// 400 random connections that open and close, each new one judged against the plain rule.
#[rstest]
fn connections_go_where_the_rule_says(
    #[values(Lc, Wlc, Sed, Nq, Fo, Ovf)] scheduler: Scheduler,
    #[values(1, 2, 3)] seed: u64,
) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut plane = TestPlane::new(&[pool(scheduler, &WEIGHTS)]);
    let mut has = [Has::default(); WEIGHTS.len()];
    let mut open: BTreeMap<u16, usize> = BTreeMap::new();
    for port in 1..400 {
        if random.random_range(0..100) < 45
            && let Some((port, real)) = open.pop_first()
        {
            ask(&mut plane, &from_port(port).fin());
            has[real].active -= 1;
            has[real].inactive += 1;
        }
        let reals: Vec<_> = WEIGHTS.into_iter().zip(has).collect();
        let got = plane.run(&from_port(port).syn());
        let Some(expected) = rule(scheduler, &reals) else {
            assert!(got.reasons.contains_key(&Reason::NoReal), "{got}");
            continue;
        };
        assert_eq!(number(got.real()), expected + 1, "{scheduler}, seed {seed}, connection {port}");
        has[expected].active += 1;
        open.insert(port, expected);
    }
}

#[test]
fn ovf_refuses_when_everybody_is_full() {
    let mut plane = TestPlane::new(&[pool(Ovf, &[2, 1])]);
    let taken: Vec<usize> = (1..=5).map(|port| number(ask(&mut plane, &from_port(port).syn()))).collect();
    assert_eq!(taken, [1, 1, 1, 2, 2], "a real is full when it has more connections than weight");
    assert!(plane.run(&from_port(6).syn()).reasons.contains_key(&Reason::NoReal));
}

#[test]
fn twos_balances_and_leaves_nobody_out() {
    let mut plane = TestPlane::new(&[pool(Twos, &[1, 1, 0])]);
    let mut taken = [0i32; 4];
    for port in 1..400 {
        taken[number(ask(&mut plane, &from_port(port).syn()))] += 1;
    }
    assert_eq!((taken[1] + taken[2], taken[3]), (399, 0));
    // Both draws fall on the fuller one a quarter of the time; the rest evens out.
    assert!((taken[1] - taken[2]).abs() < 60, "{taken:?}");
}

#[rstest]
#[case::sh(pool(Sh, &[1, 1, 1]), false)]
#[case::sh_port(flagged(pool(Sh, &[1, 1, 1]), &[ShPort]), true)]
#[case::mh(flagged(pool(Mh, &[1, 1, 1]), &[]), false)]
#[case::mh_port(flagged(pool(Mh, &[1, 1, 1]), &[MhPort]), true)]
fn by_hash_a_clients_port_counts_only_if_asked(#[case] pool: Pool, #[case] spreads: bool) {
    let mut plane = TestPlane::new(&[pool]);
    let of_one: Vec<_> = (1..40).map(|port| ask(&mut plane, &from_port(port).syn())).collect();
    assert_eq!(of_one.iter().any(|real| *real != of_one[0]), spreads);
    let of_many: Vec<_> = (1..40).map(|client| ask(&mut plane, &from_client(client, 1).syn())).collect();
    assert!((1..=3).all(|n| of_many.contains(&RealServer::number(n))));
}

#[test]
fn dh_looks_at_the_destination_alone() {
    let vips: Vec<_> = (1..20).map(|n| std::net::Ipv4Addr::new(192, 0, 2, 100 + n)).collect();
    let pools: Vec<_> = vips.iter().map(|vip| pool(Dh, &[1, 1, 1]).vip(*vip)).take(8).collect();
    let mut plane = TestPlane::new(&pools);
    let mut all = Vec::new();
    for vip in &vips[..8] {
        let to = |port| tcp(SocketAddrV4::new(*CLIENT.ip(), port), SocketAddrV4::new(*vip, 80)).syn();
        let real = number(ask(&mut plane, &to(1)));
        assert!((2..20).all(|port| number(ask(&mut plane, &to(port))) == real), "{vip}");
        all.push(real);
    }
    assert!((1..=3).all(|n| all.contains(&n)), "{all:?}");
}

#[rstest]
#[case::sh(flagged(pool(Sh, &[1]), &[]), false)]
#[case::sh_fallback(flagged(pool(Sh, &[1]), &[ShFallback]), true)]
#[case::mh(flagged(pool(Mh, &[1]), &[]), false)]
#[case::mh_fallback(flagged(pool(Mh, &[1]), &[MhFallback]), true)]
fn by_hash_an_overloaded_real_refuses_or_another_one_helps(#[case] pool: Pool, #[case] helps: bool) {
    let limited = Real { upper: 1, ..Real::new(Dr, 1) };
    let two = pool.having(RealServer::number(1), limited.clone()).having(RealServer::number(2), limited);
    let mut plane = TestPlane::new(&[two]);
    let first = ask(&mut plane, &from_port(1).syn());
    let other = (2..60).find_map(|port| {
        let got = plane.run(&from_port(port).syn());
        if !got.reals.is_empty() {
            return Some(got.real());
        }
        assert!(got.reasons.contains_key(&Reason::Overloaded), "{got}");
        assert!(!helps, "the next real has room");
        None
    });
    // Without a fallback, sh refuses every connection of a client; mh accepts those that hash to the other
    // real.
    assert!(other.is_none_or(|other| other != first));
    assert!(other.is_some() || !helps);
}

#[test]
fn thresholds_close_a_real_and_open_it_again() {
    let limited = Real { upper: 4, lower: 2, ..Real::new(Dr, 1) };
    let mut plane = TestPlane::new(&[tcp_service()
        .by(Rr)
        .having(RealServer::number(1), limited)
        .having(RealServer::number(2), Real::new(Dr, 1))]);
    let taken = |plane: &mut TestPlane, ports: std::ops::Range<u16>| {
        ports.filter(|port| number(ask(plane, &from_port(*port).syn())) == 1).collect::<Vec<_>>()
    };
    let first = taken(&mut plane, 1..20);
    assert_eq!(first.len(), 4);
    // Closed connections count too, as in IPVS; only when they have gone there is room.
    let forget = |plane: &mut TestPlane, port: u16| {
        let record = plane.tables().flows().unwrap().into_iter().find(|r| r.key.source_port.get() == port);
        let record = record.expect("the flow has an entry");
        assert!(plane.tables().remove_flow(&record.key, &record.flow).unwrap());
    };
    for port in &first[..2] {
        forget(&mut plane, *port);
    }
    assert!(taken(&mut plane, 100..110).is_empty(), "2 is not below the lower threshold");
    forget(&mut plane, first[2]);
    assert_eq!(taken(&mut plane, 200..230).len(), 3);
}

#[test]
fn lblc_keeps_a_destination_until_its_real_is_full_and_another_has_room() {
    let mut plane = TestPlane::new(&[pool(Lblc, &[4, 4])]);
    let taken: Vec<usize> = (1..=9).map(|port| number(ask(&mut plane, &from_port(port).syn()))).collect();
    assert_eq!(taken, [2, 2, 2, 2, 2, 1, 1, 1, 1]);
}

#[test]
fn lblcr_gives_a_destination_more_reals_as_it_needs_them() {
    let mut plane = TestPlane::new(&[pool(Lblcr, &[4, 4])]);
    let taken: Vec<usize> = (1..=9).map(|port| number(ask(&mut plane, &from_port(port).syn()))).collect();
    assert_eq!(taken[..5], [2, 2, 2, 2, 2]);
    // From then on, the less loaded real of the set.
    assert_eq!(taken[5..], [1, 1, 1, 1]);
}

#[rstest]
#[case::direct(Dr)]
#[case::nat(Nat)]
fn one_packet_schedules_each_datagram(#[case] method: lb_model::Forward) {
    let reals = [RealServer::by(method, 1), RealServer::by(method, 2)];
    let service = udp_service().by(Rr).with(|service| service.one_packet = true);
    let mut plane = TestPlane::new(&[service.real(method, reals[0]).real(method, reals[1])]);
    let taken: Vec<usize> =
        (0..6).map(|_| number(ask(&mut plane, &udp(CLIENT, SERVICE).data("a question")))).collect();
    assert_eq!(taken, [2, 1, 2, 1, 2, 1]);
    assert_eq!(plane.flows(), 0);
    if method == Nat {
        // The answers of both get the service's address, in any order of requests (kubernetes #110814).
        for real in reals {
            let answer = real.answers(udp(real.0, CLIENT).data("an answer"));
            plane.run(&answer).reaches_the_client_as(&client_receives(&answer, SERVICE));
        }
    }
}

/// The largest weights of IPVS.
#[rstest]
#[case(Wlc)]
#[case(Sed)]
fn the_heaviest_reals_have_their_shares(#[case] scheduler: Scheduler) {
    let heaviest = i32::MAX as u32;
    let mut plane = TestPlane::new(&[pool(scheduler, &[heaviest, heaviest / 2, 0])]);
    let taken: Vec<usize> = (1..=300).map(|port| number(ask(&mut plane, &from_port(port).syn()))).collect();
    let first = taken.iter().filter(|number| **number == 1).count();
    assert!((199..=201).contains(&first) && !taken.contains(&3), "{first} of 300");
}

#[test]
fn a_group_takes_turns_over_all_its_ports() {
    let mut plane = TestPlane::new(&[pool(Rr, &[1, 1, 1]).grouped_with(7, &[443, 8080])]);
    let to = |port| tcp(CLIENT, SocketAddrV4::new(VIP, port)).syn();
    let taken: Vec<usize> =
        [80, 443, 8080].into_iter().map(|port| number(ask(&mut plane, &to(port)))).collect();
    assert_eq!(taken, [3, 2, 1]);
    plane.run(&to(81)).is_untouched();
}
