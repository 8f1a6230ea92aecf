// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fragments: the first one determines the real, later ones follow.

use lb_common::{packet::ETHERNET_LEN, reason::Reason};
use lb_model::{
    Forward::{self, Dr, Fnat, Local, Nat, Tun},
    Scheduler::{Rr, Wrr},
};
use lb_tests::packet::{
    CLIENT, Frame, RealServer, SERVICE, TestPlane, client_receives, net::MTU, ping, tcp, udp,
};
use rstest::rstest;

use crate::scene::{ask, opened, services};

/// A datagram in three parts, the last of which is odd.
fn large() -> Vec<Frame> {
    udp(CLIENT, SERVICE).data(numbers()).fragments(&[1400, 2800])
}

fn numbers() -> Vec<u8> {
    (0..3001u32).map(|number| number as u8).collect()
}

#[rstest]
#[case::udp(udp(CLIENT, SERVICE).data(numbers()))]
#[case::udp_without_checksum(udp(CLIENT, SERVICE).data(numbers()).without_checksum())]
#[case::tcp(tcp(CLIENT, SERVICE).data(numbers()))]
#[case::with_options(udp(CLIENT, SERVICE).data(numbers()).options(&[1; 40]))]
fn every_fragment_reaches_the_real_of_the_first(
    #[case] datagram: Frame,
    #[values(Dr, Tun, Nat, Fnat)] method: Forward,
    #[values(&[1000, 2000], &[24, 1400, 2704], &[40, 48, 56, 1000, 2000])] cuts: &[usize],
) {
    let real = RealServer::by(method, 1);
    let mut plane = opened(method);
    for fragment in datagram.fragments(cuts) {
        let received = real.receives(method, &fragment);
        // The rest would not fit into a tunnel.
        if received.bytes().len() > ETHERNET_LEN + MTU as usize {
            break;
        }
        plane.run(&fragment).reaches_a_real_as(&received);
    }
}

#[rstest]
fn fragments_that_end_in_padding_are_no_longer_than_they_say(#[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    let mut plane = TestPlane::new(&services(method));
    for fragment in udp(CLIENT, SERVICE).data([7; 19]).fragments(&[8, 16, 24]) {
        let sent = fragment.padded();
        plane.run(&sent).reaches_a_real_as(&RealServer::by(method, 1).receives(method, &sent));
    }
}

/// A rotating scheduler must not advance within a datagram, nor when two datagrams are interleaved.
#[rstest]
fn datagrams_stay_together_whoever_takes_turns(#[values(Rr, Wrr)] scheduler: lb_model::Scheduler) {
    let pool = lb_tests::packet::udp_service().by(scheduler);
    let pool = (1..=3).fold(pool, |pool, number| pool.real(Dr, RealServer::number(number)));
    let mut plane = TestPlane::new(&[pool]);
    let another = std::net::SocketAddrV4::new(*CLIENT.ip(), 40_001);
    let one = large();
    let two = udp(another, SERVICE).data(numbers()).id(0x4321).fragments(&[1400, 2800]);

    let reals: Vec<_> =
        one.iter().zip(&two).map(|(one, two)| (plane.run(one).real(), plane.run(two).real())).collect();

    assert_ne!(reals[0].0, reals[0].1, "two flows take turns");
    assert_eq!(reals, [reals[0]; 3]);
}

#[rstest]
fn a_fragment_whose_first_was_not_seen_is_left_to_the_director(
    #[values(Dr, Tun, Nat, Fnat, Local)] method: Forward,
) {
    let mut plane = TestPlane::new(&services(method));
    for fragment in &large()[1..] {
        plane.run(fragment).is_passed(Reason::FragmentUnknown);
    }
    plane.run(&large()[0].clone().id(1)).reasons.clear();
    plane.run(&large()[1]).is_passed(Reason::FragmentUnknown);
}

#[test]
fn the_directors_own_stack_gets_its_fragments_unchanged() {
    let mut plane = TestPlane::new(&services(Local));
    for fragment in large() {
        plane.run(&fragment).is_passed(Reason::Local);
    }
}

/// RFC 5722. A repeated fragment is no attack, and the rest is forwarded.
#[rstest]
fn a_fragment_that_overlaps_is_dropped_and_all_that_comes_after_it(#[values(Dr, Nat, Fnat)] method: Forward) {
    let mut plane = opened(method);
    let datagram = udp(CLIENT, SERVICE).data(numbers());
    let part = |range| datagram.clone().part(range);
    plane.run(&part(0..1000)).real();
    plane.run(&part(2000..2800)).real();
    plane.run(&part(2000..2800)).is_dropped(Reason::FragmentOverlap);
    plane.run(&part(1000..2000)).real();
    plane.run(&part(992..1200)).is_dropped(Reason::FragmentOverlap);
    plane.run(&part(2800..3009)).real();

    let datagram = datagram.id(0x4321);
    let part = |range| datagram.clone().part(range);
    plane.run(&part(0..1000)).real();
    plane.run(&part(992..2000)).is_dropped(Reason::FragmentOverlap);
    plane.run(&part(2000..2800)).is_dropped(Reason::FragmentOverlap);
}

/// RFC 1858: a first fragment so small that ports or flags are in the next one is an attack on filters.
#[rstest]
fn a_first_fragment_without_a_whole_transport_header_is_dropped(
    #[values(Dr, Tun, Nat, Fnat, Local)] method: Forward,
) {
    let mut plane = TestPlane::new(&services(method));
    let [first, later] = &tcp(CLIENT, SERVICE).data("data").fragments(&[16])[..] else { panic!("two parts") };
    plane.run(first).is_dropped(Reason::FragmentTiny);
    plane.run(later).is_passed(Reason::FragmentUnknown);
}

#[rstest]
#[case::fits_before_the_tunnel(1480, Reason::TooBigFragment)]
fn a_later_fragment_too_large_for_the_tunnel_is_dropped(#[case] length: usize, #[case] reason: Reason) {
    let mut plane = TestPlane::new(&services(Tun));
    let datagram = udp(CLIENT, SERVICE).data(numbers()).fragments(&[1000, 1000 + length]);
    let sent = &datagram[0];
    plane.run(sent).reaches_a_real_as(&RealServer::by(Tun, 1).receives(Tun, sent));
    plane.run(&datagram[1]).is_dropped(reason);
}

#[test]
fn every_fragment_of_a_nat_reply_comes_from_the_vip() {
    let real = RealServer::by(Nat, 1);
    let mut plane = TestPlane::new(&services(Nat));
    ask(&mut plane, &udp(CLIENT, SERVICE).data("question"));
    for options in [&[][..], &[1; 8]] {
        let reply = real.answers(udp(real.0, CLIENT).data(numbers()).options(options));
        for fragment in reply.fragments(&[1400, 2800]) {
            plane.run(&fragment).reaches_the_client_as(&client_receives(&fragment, SERVICE));
        }
    }
    let unknown = real.answers(udp(real.0, CLIENT).data(numbers()).id(99)).fragments(&[1400]);
    plane.run(&unknown[1]).is_untouched();
}

#[test]
fn a_large_ping_of_the_vip_is_left_to_the_directors_stack() {
    let mut plane = TestPlane::new(&services(Dr));
    let fragments = ping(*CLIENT.ip(), *SERVICE.ip()).data(numbers()).fragments(&[1480, 2960]);
    plane.run(&fragments[0]).is_passed(Reason::IcmpEcho);
    plane.run(&fragments[1]).is_passed(Reason::IcmpOther);
    plane.run(&fragments[2]).is_passed(Reason::IcmpOther);
}
