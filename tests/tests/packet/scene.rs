// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services that many tests use.

use lb_tests::packet::{Action, Frame, Pool, RealServer, TestPlane, tcp_service, udp_service};
use lb_userspace::control::model::Forward;

/// TCP and UDP at [`lb_tests::packet::SERVICE`], each with real 1.
pub fn services(method: Forward) -> [Pool; 2] {
    let real = RealServer::by(method, 1);
    [tcp_service().real(method, real), udp_service().real(method, real)]
}

/// A client's packet that goes to a real, whichever.
#[track_caller]
pub fn ask(plane: &mut TestPlane, sent: &Frame) -> RealServer {
    let got = plane.run(sent);
    assert_eq!(got.action, Action::Tx, "{got}");
    got.real()
}
