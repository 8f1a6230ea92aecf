// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames that leave by another device than the one on which they arrived.

use lb_common::{
    ids::{IfIndex, RealId},
    reason::Reason,
};
use lb_control::neighbours::NextHop;
use lb_model::Forward::{self, Dr, Fnat, Nat, Tun};
use lb_tests::packet::{
    CLIENT, RealServer, SERVICE, TestPlane, client_receives, device::with_another_device, net::INGRESS, tcp,
};
use rstest::rstest;

use crate::scene::{ask, services};

#[rstest]
fn a_real_behind_another_device_is_redirected_to(#[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    with_another_device(|ifindex| {
        let real = RealServer::by(method, 1);
        let mut plane = TestPlane::new(&[]);
        plane.route(real, Some(NextHop { ifindex, ..real.next_hop() }));
        plane.set(&services(method));
        for sent in [tcp(CLIENT, SERVICE).syn(), tcp(CLIENT, SERVICE).data("data")] {
            plane.run(&sent).is_redirected_as(&real.receives(method, &sent));
        }
    });
}

#[rstest]
fn what_no_device_takes_is_dropped(#[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    const NOWHERE: IfIndex = IfIndex(4711);
    let mut plane = TestPlane::new(&services(method));
    let ids: Vec<RealId> = plane.image().reals.keys().copied().collect();
    for id in ids {
        let lost = lb_common::schema::Real { ifindex: NOWHERE, ..plane.image().reals[&id] };
        plane.tables().put_real(id, &lost).unwrap();
    }
    plane.run(&tcp(CLIENT, SERVICE).syn()).is_dropped(Reason::RedirectFailed);
}

/// Two arms: the client is behind one device, the real behind the other.
#[test]
fn a_reply_leaves_by_the_device_that_the_request_came_by() {
    with_another_device(|front| {
        let real = RealServer::by(Nat, 1);
        let mut plane = TestPlane::new(&services(Nat));
        let sent = tcp(CLIENT, SERVICE).syn();
        plane.run_from(front, &sent).is_redirected_as(&real.receives(Nat, &sent));

        let reply = real.answers(tcp(real.0, CLIENT).syn_ack());
        plane.run(&reply).is_dropped(Reason::RedirectFailed);
        plane.tables().put_device(IfIndex(front)).unwrap();
        let expected = client_receives(&reply, SERVICE);
        plane.run_from(INGRESS, &reply).is_redirected_back_as(&expected);

        // The client moves to the other device, and its replies follow.
        plane.run_from(front, &tcp(CLIENT, SERVICE));
        ask(&mut plane, &tcp(CLIENT, SERVICE).data("data"));
        plane.run(&reply).reaches_the_client_as(&expected);
    });
}
