// SPDX-License-Identifier: MIT OR Apache-2.0
//! An edit of a real's method: connections keep the method with which they began, as in IPVS.

use std::net::SocketAddrV4;

use lb_model::{
    Forward::{self, Dr, Fnat, Nat, Tun},
    Scheduler::{Mh, Rr},
};
use lb_tests::packet::{
    CLIENT, Frame, Pool, RealServer, SERVICE, TestPlane, client_receives, tcp, tcp_service, udp, udp_service,
};
use rstest::rstest;

/// All methods can have the service's own port.
fn real() -> RealServer {
    RealServer::number(1)
}

fn client(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(*CLIENT.ip(), port)
}

/// Returns the method by which a packet is forwarded: `fnat` chooses its own source.
#[track_caller]
fn goes_by(plane: &mut TestPlane, method: Forward, sent: &Frame) {
    let got = plane.run(sent);
    match method {
        Fnat => assert_ne!(got.source(), got.real().0.into()),
        _ => got.reaches_a_real_as(&real().receives(method, sent)),
    }
}

#[rstest]
fn a_connection_keeps_its_method(
    #[values(Dr, Tun, Nat, Fnat)] before: Forward,
    #[values(Dr, Tun, Nat, Fnat)] after: Forward,
    #[values(Rr, Mh)] scheduler: lb_model::Scheduler,
) {
    // The daemon refuses this edit if flows are not tracked: `fnat` tracks all of them.
    if before == after || scheduler == Mh && after == Fnat {
        return;
    }
    let pool = || -> Pool { tcp_service().by(scheduler) };
    let mut plane = TestPlane::new(&[pool().real(before, real())]);
    let old = client(1000);
    goes_by(&mut plane, before, &tcp(old, SERVICE).syn());
    goes_by(&mut plane, before, &tcp(old, SERVICE));

    plane.set(&[pool().real(before, real()).edited(real(), after)]);

    goes_by(&mut plane, before, &tcp(old, SERVICE));
    let new = client(2000);
    goes_by(&mut plane, after, &tcp(new, SERVICE).syn());
    goes_by(&mut plane, after, &tcp(new, SERVICE));
    if before == Nat {
        let answer = real().answers(tcp(real().0, old));
        plane.run(&answer).reaches_the_client_as(&client_receives(&answer, SERVICE));
    }
}

/// UDP flows leave a removed real; an edited one keeps them.
#[rstest]
fn datagrams_keep_their_method_too(#[values(Rr, Mh)] scheduler: lb_model::Scheduler) {
    let pool = || -> Pool { udp_service().by(scheduler) };
    let mut plane = TestPlane::new(&[pool().real(Dr, real())]);
    let old = udp(client(1000), SERVICE).data("?");
    goes_by(&mut plane, Dr, &old);
    plane.set(&[pool().real(Dr, real()).edited(real(), Tun)]);
    goes_by(&mut plane, Dr, &old);
}
