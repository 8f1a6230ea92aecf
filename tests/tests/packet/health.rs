// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reals that are down: new connections avoid them, and the policy decides about existing ones.

use std::net::SocketAddrV4;

use lb_common::reason::Reason;
use lb_control::pool::{HealthTable, RealHealth};
use lb_model::{
    Forward::Dr,
    Persistence,
    Scheduler::{self, Mh, Rr, Wlc},
    Tracking,
    health::{Health, OnAllDown, OnDown},
};
use lb_tests::packet::{
    Action, CLIENT, Pool, RealServer, SERVICE, TestPlane, tcp, tcp_service, udp, udp_service,
};
use rstest::rstest;

use crate::scene::ask;

/// A pool of three reals with a check.
fn pool(base: Pool, scheduler: Scheduler, tracking: Tracking, on_down: OnDown) -> Pool {
    let base = base.by(scheduler).with(|service| {
        service.tracking = tracking;
        service.health.checks = vec!["web".parse().expect("a name")];
        service.health.on_down = on_down;
    });
    (1..=3).fold(base, |pool, n| pool.real(Dr, RealServer::number(n)))
}

/// Returns the health of the reals of a pool: up, but for those that `down` contains.
fn health(pool: &Pool, down: &[RealServer]) -> HealthTable {
    let desired = Pool::desired(std::slice::from_ref(pool));
    let mut table = HealthTable::default();
    for (id, service) in &desired.services {
        // The reals are in the order of their numbers.
        for (number, address) in (1..).zip(service.reals.keys()) {
            let is_down = down.contains(&RealServer::number(number));
            let health = if is_down { Health::Down } else { Health::Up };
            table.reals.insert((*id, *address), RealHealth { health, ..RealHealth::UP });
        }
    }
    table
}

/// A plane whose reals are all up.
fn plane(pool: &Pool) -> TestPlane {
    let mut plane = TestPlane::new(&[]);
    turn(&mut plane, pool, &[]);
    plane
}

/// Makes these reals of the pool go down, and the others come up.
fn turn(plane: &mut TestPlane, pool: &Pool, down: &[RealServer]) {
    plane.has_health(health(pool, down));
    plane.set(std::slice::from_ref(pool));
}

#[rstest]
fn new_connections_avoid_a_real_that_is_down_and_old_ones_may_stay(
    #[values(Mh, Rr, Wlc)] scheduler: Scheduler,
    #[values(Tracking::Full, Tracking::Auto)] tracking: Tracking,
) {
    let pool = pool(tcp_service(), scheduler, tracking, OnDown::Keep);
    let mut plane = plane(&pool);
    let real = ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    ask(&mut plane, &tcp(CLIENT, SERVICE).data("a question"));
    turn(&mut plane, &pool, &[real]);
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE).data("another")), real, "the connection stays");
    let other = ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    assert_ne!(other, real, "a new connection with the same ports goes elsewhere");
    turn(&mut plane, &pool, &[]);
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE).data("a question")), other, "and stays there");
}

#[rstest]
fn connections_of_a_real_that_is_down_are_reset(
    #[values(Mh, Rr, Wlc)] scheduler: Scheduler,
    #[values(Tracking::Full)] tracking: Tracking,
) {
    let pool = pool(tcp_service(), scheduler, tracking, OnDown::Reset);
    let mut plane = plane(&pool);
    let real = ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    turn(&mut plane, &pool, &[real]);
    let got = plane.run(&tcp(CLIENT, SERVICE).data("another"));
    assert_eq!(got.action, Action::Tx, "{got}");
    assert_eq!(got.reasons.keys().collect::<Vec<_>>(), [&Reason::RealRemoved], "{got}");
}

#[rstest]
fn untracked_connections_leave_a_real_that_is_down_at_once(
    #[values(OnDown::Reset, OnDown::Reschedule)] on_down: OnDown,
) {
    let pool = pool(tcp_service(), Mh, Tracking::Auto, on_down);
    let mut plane = plane(&pool);
    let real = ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    turn(&mut plane, &pool, &[real]);
    assert_ne!(ask(&mut plane, &tcp(CLIENT, SERVICE).data("another")), real);
}

#[rstest]
fn datagrams_leave_a_real_that_is_down_at_once(
    #[values(Mh, Rr, Wlc)] scheduler: Scheduler,
    #[values(OnDown::Keep, OnDown::Reset, OnDown::Reschedule)] on_down: OnDown,
) {
    let pool = pool(udp_service(), scheduler, Tracking::Auto, on_down);
    let mut plane = plane(&pool);
    let real = ask(&mut plane, &udp(CLIENT, SERVICE));
    turn(&mut plane, &pool, &[real]);
    assert_ne!(ask(&mut plane, &udp(CLIENT, SERVICE)), real);
}

#[rstest]
fn a_pool_that_is_all_down_answers_or_drops(#[values(Mh, Rr, Wlc)] scheduler: Scheduler) {
    for (policy, reason, action) in
        [(OnAllDown::Reject, Reason::NoReal, Action::Tx), (OnAllDown::Drop, Reason::AllDown, Action::Drop)]
    {
        let pool = pool(tcp_service(), scheduler, Tracking::Auto, OnDown::Auto)
            .with(|service| service.health.on_all_down = policy);
        let mut plane = plane(&pool);
        let all = [1, 2, 3].map(RealServer::number);
        turn(&mut plane, &pool, &all);
        let got = plane.run(&tcp(CLIENT, SERVICE).syn());
        assert_eq!((got.action, got.reasons.keys().collect::<Vec<_>>()), (action, vec![&reason]), "{got}");
        turn(&mut plane, &pool, &all[..2]);
        assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE).syn()), all[2]);
    }
}

#[rstest]
fn persistence_leads_to_no_real_of_a_pool_that_is_all_down(#[values(Mh, Rr, Wlc)] scheduler: Scheduler) {
    let pool = pool(tcp_service(), scheduler, Tracking::Auto, OnDown::Auto).with(|service| {
        service.persistence = Some(Persistence { seconds: 300, prefix: Persistence::WHOLE_ADDRESS });
        service.health.on_all_down = OnAllDown::Reject;
    });
    let mut plane = plane(&pool);
    let real = ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    ask(&mut plane, &tcp(CLIENT, SERVICE).data("a question"));
    let all = [1, 2, 3].map(RealServer::number);
    turn(&mut plane, &pool, &all);
    let other = SocketAddrV4::new(*CLIENT.ip(), CLIENT.port() + 1);
    let got = plane.run(&tcp(other, SERVICE).syn());
    assert_eq!(got.reasons.keys().collect::<Vec<_>>(), [&Reason::NoReal], "{got}");
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE).data("another")), real, "its connection stays");
    turn(&mut plane, &pool, &[]);
    assert_eq!(ask(&mut plane, &tcp(other, SERVICE).syn()), real, "and so does its persistence");
}
