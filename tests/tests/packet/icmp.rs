// SPDX-License-Identifier: MIT OR Apache-2.0
//! ICMP: the director answers pings, and errors about a flow reach the end that can react to them.

use etherparse::{
    Icmpv4Type,
    icmpv4::{DestUnreachableHeader, TimeExceededCode},
};
use lb_common::reason::Reason;
use lb_model::{
    Forward::{self, Dr, Fnat, Local, Nat, Tun},
    Scheduler::Rr,
};
use lb_tests::packet::{
    CLIENT, DIP_END, Frame, ROUTER, RealServer, SERVICE, TestPlane, VIP, client_receives, error, ping, tcp,
    tcp_service, udp,
};
use rstest::rstest;

use crate::scene::{ask, asked, services};

const FRAGMENTATION_NEEDED: Icmpv4Type =
    Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 });
const PORT_UNREACHABLE: Icmpv4Type = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
const TIME_EXCEEDED: Icmpv4Type = Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit);
const PARAMETER_PROBLEM: Icmpv4Type =
    Icmpv4Type::Unknown { type_u8: 12, code_u8: 0, bytes5to8: [20, 0, 0, 0] };
const SOURCE_QUENCH: Icmpv4Type = Icmpv4Type::Unknown { type_u8: 4, code_u8: 0, bytes5to8: [0; 4] };
const TIMESTAMP: Icmpv4Type = Icmpv4Type::Unknown { type_u8: 13, code_u8: 0, bytes5to8: [0; 4] };

/// Returns a packet of the service to its client, about which a router sends errors.
fn answer() -> Frame {
    tcp(SERVICE, CLIENT).data("a long answer").dont_fragment()
}

/// Returns the frame that the real receives for a router's error.
fn real_receives(real: RealServer, method: Forward, sent: &Frame) -> Frame {
    let received = real.receives(method, sent);
    match method {
        Nat => received.quoted(|quoted| quoted.from(real.0)),
        Fnat => received.quoted(|quoted| quoted.from(real.0).to(DIP_END)),
        Dr | Tun | Local => received,
    }
}

#[rstest]
fn a_ping_of_the_vip_is_answered_by_the_directors_stack(
    #[values(Dr, Tun, Nat, Fnat, Local)] method: Forward,
    #[values(ping(*CLIENT.ip(), VIP), ping(*CLIENT.ip(), VIP).options(&[1; 40]).padded(),
        ping(*CLIENT.ip(), VIP).data([0; 1400]))]
    sent: Frame,
) {
    TestPlane::new(&services(method)).run(&sent).is_passed(Reason::IcmpEcho);
}

/// `vip-ping = "serving"`: a ping of the VIP shows whether a real takes connections.
#[rstest]
fn a_vip_whose_reals_take_no_connections_is_silent_if_it_is_to_be(
    #[values(Dr, Tun, Nat, Fnat, Local)] method: Forward,
) {
    let mut plane = TestPlane::new(&services(method));
    plane.silence(true);
    let of = |weight| {
        services(method)
            .map(|pool| pool.with(|service| service.reals.values_mut().for_each(|real| real.weight = weight)))
    };
    let sent = ping(*CLIENT.ip(), VIP);
    plane.set(&of(1));
    plane.run(&sent).is_passed(Reason::IcmpEcho);
    plane.set(&of(0));
    plane.run(&sent).is_dropped(Reason::IcmpEchoSilent);
    if method != Local {
        plane.set(&of(1));
        for number in 1..=3 {
            plane.route(RealServer::number(number), None);
        }
        plane.set(&of(1));
        plane.run(&sent).is_dropped(Reason::IcmpEchoSilent);
    }
}

#[rstest]
#[case::fragmentation_needed(FRAGMENTATION_NEEDED)]
#[case::port_unreachable(PORT_UNREACHABLE)]
#[case::time_exceeded(TIME_EXCEEDED)]
#[case::parameter_problem(PARAMETER_PROBLEM)]
#[case::source_quench(SOURCE_QUENCH)]
fn an_error_about_a_flow_reaches_its_real(
    #[case] kind: Icmpv4Type,
    #[values(Dr, Tun, Nat, Fnat)] method: Forward,
    #[values(28, 40, 53)] quoting: usize,
) {
    let mut plane = TestPlane::new(&services(method));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    let sent = error(kind, ROUTER, VIP, &answer()).quoting(quoting);
    plane.run(&sent).reaches_a_real_as(&real_receives(RealServer::by(method, 1), method, &sent));
    assert_eq!(plane.flows(), usize::from(method == Fnat), "an error records nothing");
}

#[rstest]
#[case::about_a_datagram(error(PORT_UNREACHABLE, *CLIENT.ip(), VIP, &udp(SERVICE, CLIENT).data("answer")))]
#[case::about_one_without_checksum(
    error(PORT_UNREACHABLE, *CLIENT.ip(), VIP, &udp(SERVICE, CLIENT).data("answer").without_checksum())
)]
#[case::about_a_packet_with_options(error(TIME_EXCEEDED, ROUTER, VIP, &answer().options(&[1; 16])))]
#[case::itself_with_options(error(TIME_EXCEEDED, ROUTER, VIP, &answer()).options(&[1; 40]))]
#[case::options_on_both(error(TIME_EXCEEDED, ROUTER, VIP, &answer().options(&[1; 40])).options(&[1; 40]))]
#[case::padded(error(TIME_EXCEEDED, ROUTER, VIP, &answer().options(&[1; 4])).padded())]
#[case::about_the_first_of_several(
    error(TIME_EXCEEDED, ROUTER, VIP, &udp(SERVICE, CLIENT).data([1; 999]).part(0..800)).quoting(500)
)]
fn an_error_of_any_form_reaches_its_real(#[case] sent: Frame, #[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    let mut plane = TestPlane::new(&services(method));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    ask(&mut plane, &udp(CLIENT, SERVICE));
    plane.run(&sent).reaches_a_real_as(&real_receives(RealServer::by(method, 1), method, &sent));
}

/// With a hashing scheduler, the packet alone determines the real.
#[rstest]
fn an_error_about_a_forgotten_flow_reaches_the_real_by_hash(#[values(Dr, Tun, Nat)] method: Forward) {
    let pool = [1, 2, 3].iter().fold(tcp_service(), |pool, n| pool.real(method, RealServer::by(method, *n)));
    let mut plane = TestPlane::new(&[pool]);
    let sent = error(TIME_EXCEEDED, ROUTER, VIP, &answer());
    let got = plane.run(&sent);
    got.reaches_a_real_as(&real_receives(got.real(), method, &sent));
    assert_eq!(plane.flows(), 0, "errors record nothing");
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE).syn()), got.real());
}

#[rstest]
#[case::about_an_unknown_flow(error(TIME_EXCEEDED, ROUTER, VIP, &answer()))]
#[case::about_no_service(error(TIME_EXCEEDED, ROUTER, VIP, &udp(SERVICE, CLIENT)))]
#[case::about_a_packet_of_another(error(TIME_EXCEEDED, ROUTER, VIP, &tcp(CLIENT, SERVICE)))]
#[case::about_a_ping(error(TIME_EXCEEDED, ROUTER, VIP, &ping(VIP, *CLIENT.ip())))]
#[case::about_a_later_fragment(error(TIME_EXCEEDED, ROUTER, VIP, &answer().part(8..24)))]
#[case::quoting_nothing(error(TIME_EXCEEDED, ROUTER, VIP, &answer()).quoting(0))]
#[case::quoting_too_little(error(TIME_EXCEEDED, ROUTER, VIP, &answer()).quoting(27))]
fn an_error_about_nothing_known_is_left_to_the_directors_stack(#[case] sent: Frame) {
    let mut plane = TestPlane::new(&[tcp_service().by(Rr).real(Nat, RealServer::by(Nat, 1))]);
    plane.run(&sent).is_passed(Reason::IcmpUnknownFlow);
}

/// An error about a packet of another VIP is not sent to any real.
#[test]
fn an_error_to_one_vip_about_another_is_left_to_the_directors_stack() {
    let another = std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(192, 0, 2, 101), SERVICE.port());
    let real = RealServer::by(Nat, 1);
    let services = [tcp_service().real(Nat, real), tcp_service().vip(*another.ip()).real(Dr, real)];
    let mut plane = TestPlane::new(&services);
    let sent = error(TIME_EXCEEDED, ROUTER, VIP, &tcp(another, CLIENT));
    plane.run(&sent).is_passed(Reason::IcmpUnknownFlow);
}

#[rstest]
#[case::a_message_that_is_no_error(error(TIMESTAMP, ROUTER, VIP, &answer()))]
#[case::a_fragment_of_an_error(error(TIME_EXCEEDED, ROUTER, VIP, &answer()).quoting(53).part(0..40))]
fn any_other_icmp_message_is_left_to_the_directors_stack(#[case] sent: Frame) {
    let mut plane = TestPlane::new(&services(Nat));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    plane.run(&sent).is_passed(Reason::IcmpOther);
}

#[rstest]
fn an_error_goes_no_further_than_its_time_to_live(#[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    let mut plane = TestPlane::new(&services(method));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    plane.run(&error(TIME_EXCEEDED, ROUTER, VIP, &answer()).ttl(1)).is_passed(Reason::TtlExceeded);
}

#[test]
fn an_error_about_the_directors_own_service_stays_as_it_is() {
    let mut plane = TestPlane::new(&services(Local));
    plane.run(&error(TIME_EXCEEDED, ROUTER, VIP, &answer())).is_passed(Reason::Local);
}

/// Returns a request as the director sent it to a nat real; the real, or a router before it, sends errors
/// about it.
fn request(question: &Frame) -> Frame {
    RealServer::by(Nat, 1).receives(Nat, question)
}

#[rstest]
#[case::port_unreachable(PORT_UNREACHABLE, udp(CLIENT, SERVICE).data("question"))]
#[case::without_checksum(PORT_UNREACHABLE, udp(CLIENT, SERVICE).data("question").without_checksum())]
#[case::fragmentation_needed(FRAGMENTATION_NEEDED, tcp(CLIENT, SERVICE).data("a long question"))]
#[case::time_exceeded(TIME_EXCEEDED, tcp(CLIENT, SERVICE).options(&[1; 4]).data("a question"))]
fn an_error_about_a_request_to_a_nat_real_speaks_of_the_service(
    #[case] kind: Icmpv4Type,
    #[case] question: Frame,
    #[values(RealServer::by(Nat, 1).ip(), ROUTER)] from: std::net::Ipv4Addr,
    #[values(false, true)] padded: bool,
) {
    let mut plane = TestPlane::new(&services(Nat));
    ask(&mut plane, &question.clone().data("the first"));
    let real = RealServer::by(Nat, 1);
    let sent = real.answers(error(kind, from, *CLIENT.ip(), &request(&question)));
    let sent = if padded { sent.padded() } else { sent };

    let speaks_as = if from == real.ip() { SERVICE } else { std::net::SocketAddrV4::new(from, 0) };
    let expected = client_receives(&sent, speaks_as).quoted(|quoted| quoted.to(SERVICE));
    plane.run(&sent).reaches_the_client_as(&expected);
}

#[rstest]
fn an_error_from_a_nat_real_goes_no_further_than_its_time_to_live(#[values(0, 1)] ttl: u8) {
    let mut plane = asked(Nat);
    let sent = error(TIME_EXCEEDED, ROUTER, *CLIENT.ip(), &request(&tcp(CLIENT, SERVICE))).ttl(ttl);
    plane.run(&sent).is_passed(Reason::TtlExceeded);
}

#[rstest]
#[case::about_no_flow(error(TIME_EXCEEDED, ROUTER, *CLIENT.ip(), &tcp(CLIENT, RealServer::at_port(1, 9).0)))]
#[case::to_someone_else(error(TIME_EXCEEDED, ROUTER, ROUTER, &request(&tcp(CLIENT, SERVICE))))]
#[case::quoting_too_little(error(TIME_EXCEEDED, ROUTER, *CLIENT.ip(), &request(&tcp(CLIENT, SERVICE))).quoting(27))]
#[case::a_message_that_is_no_error(error(TIMESTAMP, ROUTER, *CLIENT.ip(), &request(&tcp(CLIENT, SERVICE))))]
fn an_error_about_nothing_that_nat_did_is_untouched(#[case] sent: Frame) {
    let mut plane = TestPlane::new(&services(Nat));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    plane.run(&sent).is_untouched();
}
