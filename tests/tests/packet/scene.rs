// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services that many tests use, and one frame of each kind that belongs to them.

use etherparse::{Icmpv4Type, icmpv4::DestUnreachableHeader};
use lb_model::Forward::{self, Nat};
use lb_tests::packet::{
    Action, CLIENT, Frame, Pool, ROUTER, RealServer, SERVICE, TestPlane, VIP, error, ping, tcp, tcp_service,
    udp, udp_service,
};

/// TCP and UDP at [`lb_tests::packet::SERVICE`], each with real 1.
pub fn services(method: Forward) -> [Pool; 2] {
    let real = RealServer::by(method, 1);
    [tcp_service().real(method, real), udp_service().real(method, real)]
}

/// A client's packet that is sent to any real.
#[track_caller]
pub fn ask(plane: &mut TestPlane, sent: &Frame) -> RealServer {
    let got = plane.run(sent);
    assert_eq!(got.action, Action::Tx, "{got}");
    got.real()
}

/// A plane with [`services`], and a TCP connection from the client, because `fnat` accepts none without its
/// SYN.
pub fn opened(method: Forward) -> TestPlane {
    let mut plane = TestPlane::new(&services(method));
    plane.run(&tcp(CLIENT, SERVICE).syn());
    plane
}

/// A plane whose services have each had one request.
pub fn asked(method: Forward) -> TestPlane {
    let mut plane = TestPlane::new(&services(method));
    plane.run(&tcp(CLIENT, SERVICE).syn());
    plane.run(&udp(CLIENT, SERVICE).data([1; 99]).part(0..64));
    plane
}

/// Returns the frames that [`asked`] services get, one of each kind.
pub fn frames_to_the_vip() -> Vec<Frame> {
    let too_big = |about: &Frame, quoting| {
        let header = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
        error(Icmpv4Type::DestinationUnreachable(header), ROUTER, VIP, about).quoting(quoting)
    };
    vec![
        tcp(CLIENT, SERVICE).syn(),
        tcp(CLIENT, SERVICE).data("some data"),
        tcp(CLIENT, SERVICE).fin().options(&[1; 12]),
        udp(CLIENT, SERVICE).data("a question").padded(),
        udp(CLIENT, SERVICE).data("another").without_checksum().options(&[1; 40]),
        udp(CLIENT, SERVICE).data([1; 99]).part(0..64),
        udp(CLIENT, SERVICE).data([1; 99]).part(64..107),
        ping(*CLIENT.ip(), VIP),
        too_big(&tcp(SERVICE, CLIENT).data("an answer"), 28),
        too_big(&udp(SERVICE, CLIENT).data("an answer").options(&[1; 8]), 45),
    ]
}

/// Returns the frames of the nat reals of [`asked`] services, one of each kind.
pub fn frames_of_nat_reals() -> Vec<Frame> {
    let real = RealServer::by(Nat, 1);
    let unreachable = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
    let question = real.receives(Nat, &udp(CLIENT, SERVICE).data("a question"));
    let frames = [
        tcp(real.0, CLIENT).syn_ack(),
        tcp(real.0, CLIENT).data("an answer").options(&[1; 8]),
        tcp(real.0, CLIENT).rst().padded(),
        tcp(real.0, CLIENT).rst().at_sequence(0),
        udp(real.0, CLIENT).data("an answer"),
        udp(real.0, CLIENT).without_checksum(),
        udp(real.0, CLIENT).data([1; 99]).part(0..64),
        udp(real.0, CLIENT).data([1; 99]).part(64..107),
        error(unreachable.clone(), real.ip(), *CLIENT.ip(), &question),
        error(unreachable, ROUTER, *CLIENT.ip(), &question.options(&[1; 4])).quoting(42),
    ];
    frames.map(|frame| real.answers(frame)).to_vec()
}
