// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fate of the connections of a removed real: each packet gets an answer or another real.

use lb_common::reason::Reason;
use lb_model::{
    Forward::{self, Dr, Nat, Tun},
    OnRemoval,
    Scheduler::{self, Mh, Rr, Wlc},
    Tracking,
};
use lb_tests::packet::{
    Action, CLIENT, Pool, RealServer, SERVICE, TestPlane, judge, tcp, tcp_service, udp, udp_service,
    version::is_six,
};
use rstest::rstest;

use crate::scene::ask;

fn pool(base: Pool, scheduler: Scheduler, method: Forward, policy: OnRemoval, tracking: Tracking) -> Pool {
    let base = base.by(scheduler).with(|service| {
        service.on_removal = policy;
        service.tracking = tracking;
    });
    (1..=3).fold(base, |pool, n| pool.real(method, RealServer::by(method, n)))
}

/// kubernetes #81775: packets of connections to a removed endpoint vanished.
#[rstest]
fn a_connection_of_a_removed_real_is_reset_at_once_kubernetes_81775(
    #[values(Dr, Tun, Nat)] method: Forward,
    #[values(Mh, Rr, Wlc)] scheduler: Scheduler,
    #[values(Tracking::Full, Tracking::Auto)] tracking: Tracking,
) {
    let service = || pool(tcp_service(), scheduler, method, OnRemoval::Reset, tracking);
    let mut plane = TestPlane::new(&[service()]);
    let real = ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    ask(&mut plane, &tcp(CLIENT, SERVICE).data("a question"));
    plane.set(&[service().without(real)]);

    let sent = tcp(CLIENT, SERVICE).data("another");
    let got = plane.run(&sent);

    assert_eq!(got.action, Action::Tx, "{got}");
    assert_eq!(got.reasons.keys().collect::<Vec<_>>(), [&Reason::RealRemoved], "{got}");
    assert!(judge::wrong_checksums(&got.frame).is_empty(), "{got}");
    let (asked, answer) = (sent.bytes(), &got.frame);
    assert_eq!((&answer[0..6], &answer[6..12]), (&asked[6..12], &asked[0..6]), "back by the way it came");
    let (addresses, length) = if is_six() { (22, 16) } else { (26, 4) };
    let (source, destination) = (addresses..addresses + length, addresses + length..addresses + 2 * length);
    let ends = |frame: &[u8]| (frame[source.clone()].to_vec(), frame[destination.clone()].to_vec());
    let (from, to) = ends(&asked);
    assert_eq!(ends(answer), (to, from), "from the VIP");
    let (asked, answer) = (&asked[destination.end..], &answer[destination.end..]);
    assert_eq!((&answer[0..2], &answer[2..4]), (&asked[2..4], &asked[0..2]), "from its port");
    assert_eq!(answer[4..8], asked[8..12], "the sequence number is what the client expects (RFC 9293)");
    assert_eq!((answer.len(), answer[13]), (20, 0x04), "RST and nothing else");

    // A reset is never answered (RFC 9293, section 3.10.7.1).
    plane.run(&tcp(CLIENT, SERVICE).rst()).is_dropped_without_an_answer(Reason::RealRemoved);

    // A new connection with the same ports goes to a real that is there.
    assert_ne!(ask(&mut plane, &tcp(CLIENT, SERVICE).syn()), real);
    assert_ne!(ask(&mut plane, &tcp(CLIENT, SERVICE).data("a question")), real);
}

#[rstest]
fn a_connection_of_a_removed_real_may_end_in_peace(
    #[values(Mh, Rr, Wlc)] scheduler: Scheduler,
    #[values(Tracking::Full, Tracking::Auto)] tracking: Tracking,
) {
    let service = || pool(tcp_service(), scheduler, Dr, OnRemoval::Drain, tracking);
    let mut plane = TestPlane::new(&[service()]);
    let real = ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    plane.set(&[service().without(real)]);
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE).data("a question")), real);
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE).fin()), real);
    assert_ne!(ask(&mut plane, &tcp(CLIENT, SERVICE).syn()), real);
}

/// kubernetes #76664: UDP clients continued to send to a removed endpoint.
#[rstest]
fn udp_leaves_a_removed_real_at_once_kubernetes_76664(
    #[values(Mh, Rr, Wlc)] scheduler: Scheduler,
    #[values(OnRemoval::Reset, OnRemoval::Reschedule, OnRemoval::Drain)] policy: OnRemoval,
    #[values(Tracking::Full, Tracking::Auto)] tracking: Tracking,
) {
    let service = || pool(udp_service(), scheduler, Dr, policy, tracking);
    let mut plane = TestPlane::new(&[service()]);
    let real = ask(&mut plane, &udp(CLIENT, SERVICE).data("a question"));
    plane.set(&[service().without(real)]);
    let other = ask(&mut plane, &udp(CLIENT, SERVICE).data("another"));
    assert_ne!(other, real);
    assert_eq!(ask(&mut plane, &udp(CLIENT, SERVICE).data("another")), other);
}
