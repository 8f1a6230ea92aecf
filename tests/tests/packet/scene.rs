// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services that many tests use.

use lb_tests::packet::{Pool, RealServer, tcp_service, udp_service};
use lb_userspace::control::model::Forward;

/// TCP and UDP at [`lb_tests::packet::SERVICE`], each with real 1.
pub fn services(method: Forward) -> [Pool; 2] {
    let real = RealServer::by(method, 1);
    [tcp_service().real(method, real), udp_service().real(method, real)]
}
