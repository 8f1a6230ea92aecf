// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client's packets to a real, with each method.

use lb_common::reason::Reason;
use lb_model::Forward::{self, Dr, Fnat, Local, Nat, Tun};
use lb_tests::packet::{CLIENT, Frame, PORT, RealServer, SERVICE, TestPlane, VIP, tcp, udp};
use rstest::rstest;

use crate::scene::{opened, services};

#[rstest]
#[case::syn(tcp(CLIENT, SERVICE).syn())]
#[case::data(tcp(CLIENT, SERVICE).data("GET / HTTP/1.1\r\n\r\n"))]
#[case::large(tcp(CLIENT, SERVICE).data([b'x'; 1400]))]
#[case::fin(tcp(CLIENT, SERVICE).fin())]
#[case::rst(tcp(CLIENT, SERVICE).rst())]
#[case::udp(udp(CLIENT, SERVICE).data("question"))]
#[case::udp_without_checksum(udp(CLIENT, SERVICE).data("question").without_checksum())]
#[case::udp_without_data(udp(CLIENT, SERVICE))]
#[case::four_bytes_of_options(tcp(CLIENT, SERVICE).options(&[1, 1, 1, 0]).data("data"))]
#[case::twenty_bytes_of_options(udp(CLIENT, SERVICE).options(&[1; 20]).data("data"))]
#[case::forty_bytes_of_options(tcp(CLIENT, SERVICE).options(&[1; 40]).syn())]
#[case::padded_by_ethernet(tcp(CLIENT, SERVICE).padded())]
#[case::padded_datagram(udp(CLIENT, SERVICE).data("?").padded())]
#[case::last_hop_but_one(tcp(CLIENT, SERVICE).ttl(2))]
#[case::far_from_the_end(tcp(CLIENT, SERVICE).ttl(255))]
#[case::type_of_service(tcp(CLIENT, SERVICE).tos(0xb9).dont_fragment())]
fn a_request_reaches_its_real(#[case] sent: Frame, #[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    let mut plane = opened(method);
    plane.run(&sent).reaches_a_real_as(&RealServer::by(method, 1).receives(method, &sent));
}

#[rstest]
#[case::syn(tcp(CLIENT, SERVICE).syn())]
#[case::data(tcp(CLIENT, SERVICE).data("GET / HTTP/1.1\r\n\r\n"))]
#[case::udp(udp(CLIENT, SERVICE).data("question"))]
#[case::options(udp(CLIENT, SERVICE).options(&[1; 40]).data("question"))]
#[case::last_hop(tcp(CLIENT, SERVICE).syn().ttl(1))]
fn a_request_for_the_director_itself_stays_as_it_is(#[case] sent: Frame) {
    let mut plane = TestPlane::new(&services(Local));
    let got = plane.run(&sent);
    got.is_passed(Reason::Local);
    assert_eq!(got.real(), RealServer::by(Local, 1));
}

/// The checksum of a packet stays correct or wrong, so that no damage is hidden.
#[rstest]
fn a_damaged_packet_arrives_as_damaged(#[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    let whole = tcp(CLIENT, SERVICE).data("some data");
    let real = RealServer::by(method, 1);
    let flip = |frame: &Frame| {
        let mut bytes = frame.bytes();
        let last = bytes.len() - 1;
        bytes[last] ^= 0xff;
        bytes
    };
    let mut plane = opened(method);

    let (_, frame) = plane.try_bytes(&flip(&whole));

    assert_eq!(frame, flip(&real.receives(method, &whole)), "{}", lb_tests::packet::judge::decode(&frame));
}

#[rstest]
fn nobody_is_sent_a_packet_by_an_unknown_way(#[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    let services = services(method);
    let mut plane = TestPlane::new(&[]);
    plane.route(RealServer::by(method, 1), None);
    plane.set(&services);
    plane.run(&tcp(CLIENT, SERVICE).syn()).is_dropped(Reason::NextHopUnknown);

    plane.route(RealServer::by(method, 1), Some(RealServer::by(method, 1).next_hop()));
    plane.set(&services);
    let sent = tcp(CLIENT, SERVICE).syn();
    plane.run(&sent).reaches_a_real_as(&RealServer::by(method, 1).receives(method, &sent));
}

#[rstest]
fn a_service_for_every_port_takes_what_no_other_service_does(#[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    let [exact, ..] = services(method);
    let every = lb_tests::packet::tcp_service().port(0).real(method, RealServer::at_port(2, 0));
    let mut plane = TestPlane::new(&[exact, every]);
    for port in [1, 81, 443, 65535] {
        let sent = tcp(CLIENT, std::net::SocketAddrV4::new(VIP, port)).syn();
        let real = RealServer::at_port(2, port);
        plane.run(&sent).reaches_a_real_as(&real.receives(method, &sent));
    }
    let sent = tcp(CLIENT, std::net::SocketAddrV4::new(VIP, PORT)).syn();
    plane.run(&sent).reaches_a_real_as(&RealServer::by(method, 1).receives(method, &sent));
    plane.run(&udp(CLIENT, SERVICE)).is_untouched();
}
