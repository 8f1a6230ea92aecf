// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tracing build forwards as the ordinary one does, and its samples say what it did. With `XVS_TEST_TRACING=1`, every
//! packet test is one of these.

use std::net::SocketAddrV4;

use lb_model::Forward::{self, Dr, Fnat, Local, Nat, Tun};
use lb_tests::packet::{CLIENT, Frame, TestPlane, VIP, one_port, plane::LIMITS, tcp, tcp_service};
use rstest::rstest;

use crate::scene::{frames_of_nat_reals, frames_to_the_vip, services};

/// Port of a service without reals.
const EMPTY: u16 = 81;

/// Each frame is compared with the ordinary build on a plane of its own.
#[rstest]
fn every_program_says_what_it_does_with_a_packet(#[values(Dr, Tun, Nat, Fnat, Local)] method: Forward) {
    let mut pools = services(method).to_vec();
    // Its packets are answered.
    pools.push(tcp_service().port(EMPTY));
    let mut tracing = TestPlane::tracing(LIMITS, one_port(), &pools);
    let mut ordinary = TestPlane::new(&pools);
    let mut frames = frames_to_the_vip();
    frames.extend(frames_of_nat_reals());
    frames.push(tcp(CLIENT, SocketAddrV4::new(VIP, EMPTY)).syn());
    let tagged: Vec<Frame> = frames.iter().cloned().map(|frame| frame.tagged(0x8100, 10)).collect();
    frames.extend(tagged);
    for frame in frames {
        // The comparison of sample and counters is in `run`.
        let (traced, plain) = (tracing.run(&frame), ordinary.run(&frame));
        assert_eq!(
            (traced.action, &traced.reasons, &traced.reals),
            (plain.action, &plain.reasons, &plain.reals)
        );
        assert!(traced.frame == plain.frame, "{frame:?}");
    }
}
