// SPDX-License-Identifier: MIT OR Apache-2.0
//! ICMP errors that the director generates itself.

use etherparse::{
    Icmpv4Type,
    icmpv4::{DestUnreachableHeader, TimeExceededCode},
};
use lb_common::{reason::Reason, schema::Settings};
use lb_model::Forward::{self, Dr, Fnat, Nat, Tun};
use lb_tests::packet::{
    Action, CLIENT, Frame, ROUTER, RealServer, SERVICE, TestPlane, VIP, error, net::CLIENT_LINK, tcp,
    tcp_service, udp, udp_service, version::is_six,
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use rstest::rstest;

use crate::scene::{ask, services};

/// Returns the error that a client gets about its packet, with a quote of its header and eight bytes; in IPv6
/// with a quote of the whole packet, but of 256 bytes at most, in words.
fn told(code: DestUnreachableHeader, about: &Frame) -> Frame {
    told_by(Icmpv4Type::DestinationUnreachable(code), about)
}

fn told_by(kind: Icmpv4Type, about: &Frame) -> Frame {
    let told = error(kind, VIP, *CLIENT.ip(), about).tos(0xc0).id(0).dont_fragment().link(CLIENT_LINK.back());
    if is_six() { told.meant().quoting(about.length().min(256) & !3) } else { told }
}

/// Bytes of an IP header without options, as a tunnel adds one.
const fn header(six: bool) -> u16 {
    if six { 40 } else { 20 }
}

#[rstest]
#[case::syn(tcp(CLIENT, SERVICE).syn())]
#[case::data(tcp(CLIENT, SERVICE).data([b'x'; 1460]))]
#[case::padded(tcp(CLIENT, SERVICE).padded())]
#[case::udp(udp(CLIENT, SERVICE).data("question"))]
#[case::udp_without_data(udp(CLIENT, SERVICE))]
#[case::a_first_fragment(udp(CLIENT, SERVICE).data([1; 99]).part(0..80))]
#[case::options_on_a_syn(tcp(CLIENT, SERVICE).syn().options(&[1; 4]))]
#[case::options_on_a_datagram(udp(CLIENT, SERVICE).options(&[1; 8]))]
#[case::options_and_padding(udp(CLIENT, SERVICE).options(&[1; 8]).padded())]
#[case::all_options(udp(CLIENT, SERVICE).options(&[1; 40]))]
#[case::all_options_and_data(tcp(CLIENT, SERVICE).options(&[1; 40]).data([b'x'; 500]))]
#[case::last_hop(tcp(CLIENT, SERVICE).syn().ttl(1))]
fn nobody_to_serve_means_port_unreachable(#[case] sent: Frame, #[values(&[], &[0, 0])] weights: &[u32]) {
    let fill = |pool| {
        (1..).zip(weights).fold(pool, |pool: lb_tests::packet::Pool, (number, weight)| {
            pool.weighted(Dr, RealServer::number(number), *weight)
        })
    };
    let mut plane = TestPlane::new(&[fill(tcp_service()), fill(udp_service())]);
    plane.run(&sent).is_answered(Reason::NoReal, &told(DestUnreachableHeader::Port, &sent));
    assert_eq!(plane.flows(), 0);
}

/// As any router on the path does.
#[rstest]
fn a_packet_at_its_last_hop_is_answered(
    #[values(Dr, Tun, Nat, Fnat)] method: Forward,
    #[values(0, 1)] ttl: u8,
    #[values(tcp(CLIENT, SERVICE).syn(), udp(CLIENT, SERVICE).data("where is it?").options(&[1; 4]))]
    sent: Frame,
) {
    let mut plane = TestPlane::new(&services(method));
    let sent = sent.ttl(ttl);
    let kind = Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit);
    plane.run(&sent).is_answered(Reason::TtlExceeded, &told_by(kind, &sent));
}

#[rstest]
#[case::must_not_be_fragmented(tcp(CLIENT, SERVICE).data([b'x'; 1441]).dont_fragment())]
#[case::may_be_fragmented(tcp(CLIENT, SERVICE).data([b'x'; 1460]))]
#[case::udp(udp(CLIENT, SERVICE).data([b'x'; 1453]))]
#[case::four_bytes_of_options(tcp(CLIENT, SERVICE).options(&[1; 4]).data([b'x'; 1437]))]
#[case::forty_bytes_of_options(udp(CLIENT, SERVICE).options(&[1; 40]).data([b'x'; 1413]))]
#[case::a_first_fragment(udp(CLIENT, SERVICE).data([1; 1999]).part(0..1464))]
fn too_large_for_the_tunnel_means_the_size_that_fits(#[case] sent: Frame) {
    let mut plane = TestPlane::new(&services(Tun));
    let code = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1500 - header(is_six()) };
    plane.run(&sent).is_answered(Reason::TooBig, &told(code, &sent));
}

#[rstest]
fn what_just_fits_the_tunnel_is_sent(#[values(0, 1, 900)] less: usize) {
    let header = usize::from(header(is_six()));
    let length = 1500 - header - less;
    let mut plane = TestPlane::new(&services(Tun));
    let sent = udp(CLIENT, SERVICE).data(vec![b'x'; length - header - 8]);
    assert_eq!(sent.length(), length);
    plane.run(&sent).reaches_a_real_as(&RealServer::by(Tun, 1).receives(Tun, &sent));
}

#[rstest]
fn the_size_that_fits_is_that_of_the_way_to_the_real(
    #[values(Dr, Tun, Nat, Fnat)] method: Forward,
    #[values(576, 1400, 9000)] mtu: u32,
) {
    let real = RealServer::by(method, 1);
    let mut plane = TestPlane::new(&[]);
    plane.route(real, Some(lb_control::neighbours::NextHop { mtu, ..real.next_hop() }));
    plane.set(&services(method));
    let header = header(is_six());
    let outer = if method == Tun { header } else { 0 };
    let fits = u16::try_from(mtu).unwrap() - outer;
    let longer = |bytes: u16| udp(CLIENT, SERVICE).data(vec![b'x'; usize::from(bytes - header) - 7]);
    // A test run takes no frame of 9,000 bytes: that one fits.
    let (fitting, sent) = (longer(fits.min(3400) - 1), longer(fits.min(3400)));
    plane.run(&fitting).reaches_a_real_as(&real.receives(method, &fitting));
    if mtu == 9000 {
        return;
    }
    let code = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: fits };
    plane.run(&sent).is_answered(Reason::TooBig, &told(code, &sent));
}

/// RFC 1122, section 3.2.2: an error is never answered with an error.
#[test]
fn an_error_too_large_for_the_tunnel_is_dropped() {
    let mut plane = TestPlane::new(&services(Tun));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    let kind = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host);
    let sent = error(kind, ROUTER, VIP, &tcp(SERVICE, CLIENT).data([b'x'; 1460])).quoting(1500);
    plane.run(&sent).is_dropped(Reason::TooBigIcmp);
}

#[test]
fn no_more_errors_are_made_in_a_second_than_allowed() {
    const LIMIT: u32 = 3;
    let mut one_cpu = CpuSet::new();
    one_cpu.set(0).unwrap();
    // Each CPU has its own budget. Zero is this thread.
    sched_setaffinity(Pid::from_raw(0), &one_cpu).unwrap();
    let settings = Settings { icmp_per_second: LIMIT.into(), ..Settings::DEFAULT };
    let mut plane = TestPlane::with_settings(settings, &[tcp_service()]);
    let sent = tcp(CLIENT, SERVICE).syn();
    for _ in 0..LIMIT {
        plane.run(&sent).is_answered(Reason::NoReal, &told(DestUnreachableHeader::Port, &sent));
    }
    let got = plane.run(&sent);
    assert_eq!(got.action, Action::Drop, "{got}");
    let counted: Vec<_> = got.reasons.into_iter().collect();
    assert_eq!(counted, [(Reason::NoReal, 1), (Reason::IcmpLimited, 1)]);
}

/// Later fragments cannot be answered, and the first fragment was answered already.
#[test]
fn a_real_that_went_leaves_its_flows_to_the_others() {
    let (one, two) = (RealServer::by(Nat, 1), RealServer::by(Nat, 2));
    let mut plane = TestPlane::new(&[tcp_service().real(Nat, one)]);
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE).syn()), one);

    plane.set(&[tcp_service().real(Nat, two)]);
    assert_eq!(ask(&mut plane, &tcp(CLIENT, SERVICE)), two);

    plane.set(&[tcp_service()]);
    let sent = tcp(CLIENT, SERVICE);
    plane.run(&sent).is_answered(Reason::NoReal, &told(DestUnreachableHeader::Port, &sent));
}
