// SPDX-License-Identifier: MIT OR Apache-2.0
//! VLAN tags: frames keep their tags, or get those of their destination.

use etherparse::{Icmpv4Type, icmpv4::TimeExceededCode};
use lb_common::{reason::Reason, wire::Tags};
use lb_control::neighbours::NextHop;
use lb_model::{
    Forward::{self, Dr, Fnat, Local, Nat, Tun},
    Tracking,
};
use lb_tests::packet::{
    CLIENT, DIP_END, Frame, ROUTER, RealServer, SERVICE, TestPlane, VIP, client_receives,
    device::with_another_device, error, ping, tcp, tcp_service, udp,
};
use rstest::rstest;

use crate::scene::{ask, opened, services};

const CUSTOMER: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;
/// Priority 5, VLAN 10.
const TEN: u16 = 0xa00a;
/// Control information of a tag with the same priority and VLAN 20.
const TWENTY: u16 = 0xa014;

/// The frame in VLAN 10, or in that one within VLAN 100 of a provider.
fn tagged(frame: Frame, twice: bool) -> Frame {
    if twice { frame.tagged(SERVICE_TAG, 100).tagged(CUSTOMER, TEN) } else { frame.tagged(CUSTOMER, TEN) }
}

/// A plane whose real is reached with those tags on the interface; `None`: with the tags of the incoming
/// frame.
fn plane(method: Forward, hop: impl FnOnce(NextHop) -> NextHop) -> TestPlane {
    let real = RealServer::by(method, 1);
    let mut plane = TestPlane::new(&[]);
    plane.route(real, Some(hop(real.next_hop())));
    plane.set(&services(method));
    plane
}

#[rstest]
fn a_frame_keeps_its_tags_where_the_interface_has_no_vlan_devices(
    #[values(Dr, Tun, Nat, Fnat)] method: Forward,
    #[values(false, true)] twice: bool,
    #[values(tcp(CLIENT, SERVICE).syn(), udp(CLIENT, SERVICE).data("question").options(&[1; 8]))] sent: Frame,
) {
    let mut plane = TestPlane::new(&services(method));
    let sent = tagged(sent, twice);
    plane.run(&sent).reaches_a_real_as(&RealServer::by(method, 1).receives(method, &sent));
    // And the next one without tags has none.
    let plain = sent.untagged();
    plane.run(&plain).reaches_a_real_as(&RealServer::by(method, 1).receives(method, &plain));
}

#[rstest]
fn a_real_on_another_vlan_of_the_interface_gets_that_ones_tag(
    #[values(Dr, Tun, Nat, Fnat)] method: Forward,
    #[values(None, Some(false), Some(true))] came: Option<bool>,
) {
    let mut plane = plane(method, |hop| NextHop { tags: Tags::vlan(20, false).0, trunk: true, ..hop });
    let plain = tcp(CLIENT, SERVICE).syn();
    let sent = came.map_or(plain.clone(), |twice| tagged(plain.clone(), twice));
    let received = RealServer::by(method, 1).receives(method, &plain);
    // The priority of the frame's outer tag stays.
    let control = if came == Some(false) { TWENTY } else { 20 };
    plane.run(&sent).reaches_a_real_as(&received.tagged(CUSTOMER, control));
}

#[rstest]
fn a_real_without_a_vlan_on_a_trunk_gets_no_tag(#[values(Dr, Tun, Nat)] method: Forward) {
    let mut plane = plane(method, |hop| NextHop { trunk: true, ..hop });
    let sent = tcp(CLIENT, SERVICE).syn();
    let received = RealServer::by(method, 1).receives(method, &sent);
    plane.run(&tagged(sent, false)).reaches_a_real_as(&received);
}

#[test]
fn a_real_in_a_providers_vlan_gets_both_tags() {
    let both = Tags::vlan(100, true).around(Tags::vlan(20, false));
    let mut plane = plane(Dr, |hop| NextHop { tags: both.0, trunk: true, ..hop });
    let sent = tcp(CLIENT, SERVICE).syn();
    let received = RealServer::by(Dr, 1).receives(Dr, &sent);
    plane.run(&sent).reaches_a_real_as(&received.tagged(SERVICE_TAG, 100).tagged(CUSTOMER, 20));
}

/// Client in VLAN 10, real in VLAN 20: the reply has the tag that the request came with, or none if that had
/// none.
#[rstest]
fn a_reply_has_the_tags_that_its_client_sends_with(
    #[values(Nat, Fnat)] method: Forward,
    #[values(None, Some(false), Some(true))] came: Option<bool>,
) {
    let mut plane = plane(method, |hop| NextHop { tags: Tags::vlan(20, false).0, trunk: true, ..hop });
    let with_tags = |frame: Frame| came.map_or(frame.clone(), |twice| tagged(frame, twice));
    plane.run(&with_tags(tcp(CLIENT, SERVICE).syn()));
    let real = RealServer::by(method, 1);
    let to = if method == Fnat { DIP_END } else { CLIENT };
    let plain = real.answers(tcp(real.0, to).syn_ack());
    let expected = client_receives(&plain.clone().to(CLIENT), SERVICE);
    // Without tags of the client's own, nothing says which priority the reply should have.
    plane.run(&plain.tagged(CUSTOMER, 20)).reaches_the_client_as(&with_tags(expected));
}

/// Client and real in VLANs of their own: the reply has the priority of the client's VLAN only.
#[rstest]
fn a_reply_has_the_priority_of_its_client(#[values(Nat, Fnat)] method: Forward) {
    let mut plane = opened(method);
    let request = tcp(CLIENT, SERVICE).data("a question").tagged(CUSTOMER, 0x600a);
    let real = RealServer::by(method, 1);
    let to = if method == Fnat { DIP_END } else { CLIENT };
    plane.run(&request);
    let plain = real.answers(tcp(real.0, to).data("an answer"));
    let expected = client_receives(&plain.clone().to(CLIENT), SERVICE);
    plane.run(&plain.tagged(CUSTOMER, 0x8014)).reaches_the_client_as(&expected.tagged(CUSTOMER, 0x600a));
}

/// A client moves to another VLAN of the same router: replies follow at once, also if flows are tracked.
#[rstest]
fn a_reply_follows_a_client_that_moves_to_another_vlan(
    #[values(Tracking::Auto, Tracking::Full)] tracking: Tracking,
) {
    let real = RealServer::by(Nat, 1);
    let pool = tcp_service().real(Nat, real).with(|service| service.tracking = tracking);
    let mut plane = TestPlane::new(&[pool]);
    let reply = real.answers(tcp(real.0, CLIENT).data("an answer"));
    let expected = client_receives(&reply, SERVICE);
    plane.run(&tcp(CLIENT, SERVICE).syn());
    plane.run(&tcp(CLIENT, SERVICE).data("a question"));
    plane.run(&reply).reaches_the_client_as(&expected);
    for vlan in [10, 20] {
        plane.run(&tcp(CLIENT, SERVICE).data("another").tagged(CUSTOMER, vlan));
        plane.run(&reply).reaches_the_client_as(&expected.clone().tagged(CUSTOMER, vlan));
    }
}

#[rstest]
fn what_leaves_by_another_device_has_that_ones_tags(#[values(false, true)] twice: bool) {
    with_another_device(|ifindex| {
        let mut plane = plane(Dr, |hop| NextHop { ifindex, ..hop });
        let sent = tcp(CLIENT, SERVICE).syn();
        let received = RealServer::by(Dr, 1).receives(Dr, &sent);
        plane.run(&tagged(sent, twice)).is_redirected_as(&received);
    });
}

#[rstest]
#[case::a_ping(ping(*CLIENT.ip(), VIP), Some(Reason::IcmpEcho))]
#[case::no_service(tcp(CLIENT, std::net::SocketAddrV4::new(ROUTER, 80)), None)]
#[case::to_the_director_itself(tcp(CLIENT, SERVICE).syn(), Some(Reason::Local))]
fn what_is_passed_has_its_tags_as_it_came(
    #[case] sent: Frame,
    #[case] reason: Option<Reason>,
    #[values(false, true)] twice: bool,
) {
    let mut plane = TestPlane::new(&services(Local));
    let got = plane.run(&tagged(sent, twice));
    match reason {
        Some(reason) => got.is_passed(reason),
        None => got.is_untouched(),
    }
}

/// Packets that the director makes go back into the VLAN from which the frame came.
#[rstest]
fn an_answer_has_the_tags_of_its_question(#[values(false, true)] twice: bool) {
    let mut plane = TestPlane::new(&[tcp_service()]);
    let sent = tcp(CLIENT, SERVICE).syn();
    let plain = plane.run(&sent);
    let got = plane.run(&tagged(sent, twice));
    let tags = if twice { 16..20 } else { 12..16 };
    assert_eq!(got.action, plain.action);
    let mut frame = got.frame.clone();
    assert_eq!(frame[tags], [0x81, 0x00, 0xa0, 10], "{got}");
    frame.drain(if twice { 12..20 } else { 12..16 });
    assert_eq!(frame, plain.frame, "{got}");
}

#[test]
fn fragments_and_errors_keep_their_tags() {
    let mut plane = opened(Nat);
    let real = RealServer::by(Nat, 1);
    for fragment in udp(CLIENT, SERVICE).data([7; 3000]).fragments(&[1000, 2000]) {
        let sent = tagged(fragment, false);
        plane.run(&sent).reaches_a_real_as(&real.receives(Nat, &sent));
    }
    let kind = Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit);
    let sent = tagged(error(kind, ROUTER, VIP, &tcp(SERVICE, CLIENT).data("an answer")), true);
    let received = real.receives(Nat, &sent).quoted(|quote| quote.from(real.0));
    plane.run(&sent).reaches_a_real_as(&received);
    ask(&mut plane, &tcp(CLIENT, SERVICE));
}

/// Three tags, tags around something else, and tags without anything.
#[rstest]
fn what_is_no_packet_of_ours_behind_its_tags_is_untouched(#[values(false, true)] twice: bool) {
    let mut plane = TestPlane::new(&services(Dr));
    let three = tagged(tcp(CLIENT, SERVICE).syn().tagged(CUSTOMER, 1), true);
    plane.run(&three).is_untouched();
    let whole = tagged(tcp(CLIENT, SERVICE).syn(), twice).bytes();
    let header = if twice { 22 } else { 18 };
    let mut arp = whole.clone();
    arp[header - 2..header].copy_from_slice(&[0x08, 0x06]);
    plane.run_bytes(&arp).is_untouched();
    for length in 14..header {
        plane.run_bytes(&whole[..length]).is_untouched();
    }
}

#[rstest]
fn a_tagged_frame_that_was_cut_short_goes_no_further(#[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    let mut plane = opened(method);
    let whole = tagged(tcp(CLIENT, SERVICE).syn(), false).bytes();
    for length in 18..whole.len() {
        let (action, _) = plane.try_bytes(&whole[..length]);
        assert_ne!(action, lb_tests::packet::Action::Tx, "{length} bytes");
    }
}
