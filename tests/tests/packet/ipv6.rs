// SPDX-License-Identifier: MIT OR Apache-2.0
//! Features of IPv6 alone, and packets of one version within the other. Features of both versions are tested
//! in both: see `lb_tests::packet::version`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use etherparse::{Icmpv6Type, IpNumber, icmpv6::TimeExceededCode};
use lb_common::reason::Reason;
use lb_model::{
    Forward::{self, Dr, Nat, Tun},
    Real,
};
use lb_tests::packet::{
    CLIENT, DIP, Frame, PORT, Pool, ROUTER, RealServer, SERVICE, TestPlane, VIP, client_receives, error,
    icmp,
    net::{Link, next_hop},
    raw, tcp, tcp_service, tunnel, udp, udp_service,
    version::{self, address, is_six, socket},
};
use rstest::rstest;

fn of(ip: Ipv4Addr) -> IpAddr {
    address(ip.into())
}

fn client() -> SocketAddr {
    socket(CLIENT.into())
}

fn service() -> SocketAddr {
    socket(SERVICE.into())
}

/// TCP and UDP at the IPv6 VIP, each with IPv6 real 1.
fn services(method: Forward) -> [Pool; 2] {
    let real = socket(RealServer::by(method, 1).0.into());
    [tcp_service(), udp_service()].map(|pool| {
        pool.vip(of(VIP)).with(|service| {
            service.reals.insert(real, Real::new(method, 1));
        })
    })
}

/// Returns the frame that IPv6 real 1 receives.
fn real_receives(method: Forward, sent: &Frame) -> Frame {
    let real = RealServer::by(method, 1);
    let hop = sent.clone().hop().link(real.link());
    match method {
        Tun => tunnel(of(DIP), of(real.ip()), hop).link(real.link()),
        Nat => hop.to(socket(real.0.into())),
        _ => hop,
    }
}

/// Six bytes of padding: an options header of eight.
const OPTIONS: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
/// Thirty bytes of padding.
const MANY_OPTIONS: &[u8] =
    &[3, 1, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// A routing header that is at its end.
const ROUTED: &[u8] = &[0, 253, 0, 0, 0, 0, 0];
/// A routing header that is not at its end.
const ON_ITS_WAY: &[u8] = &[0, 253, 1, 0, 0, 0, 0];
/// A fragment header of a packet that is whole (RFC 6946).
const WHOLE: &[u8] = &[0, 0, 0, 0, 0, 0, 9];

#[rstest]
#[case::hop_by_hop(&[(0, OPTIONS)])]
#[case::for_the_destination(&[(60, MANY_OPTIONS)])]
#[case::routed(&[(43, ROUTED)])]
#[case::a_fragment_of_one(&[(44, WHOLE)])]
#[case::as_many_as_are_looked_at(&[(60, OPTIONS); 6])]
#[case::all(&[(0, OPTIONS), (60, OPTIONS), (43, ROUTED), (44, WHOLE), (60, MANY_OPTIONS)])]
fn ports_are_found_behind_extension_headers(
    #[case] chain: &[(u8, &[u8])],
    #[values(Dr, Tun, Nat)] method: Forward,
    #[values(tcp(client(), service()).data("some data"), udp(client(), service()).data("a question"))]
    sent: Frame,
) {
    let sent = chain.iter().fold(sent, |frame, (kind, content)| frame.extension(*kind, content));
    let mut plane = TestPlane::new(&services(method));
    plane.run(&sent).reaches_a_real_as(&real_receives(method, &sent));
}

#[rstest]
#[case::on_its_way(&[(43, ON_ITS_WAY)])]
#[case::authenticated(&[(51, OPTIONS)])]
#[case::of_a_mobile(&[(60, OPTIONS), (135, OPTIONS)])]
#[case::an_experiment(&[(253, OPTIONS)])]
#[case::too_many(&[(60, OPTIONS); 7])]
fn what_hides_its_ports_is_left_to_the_directors_stack(#[case] chain: &[(u8, &[u8])]) {
    let sent =
        chain.iter().fold(tcp(client(), service()), |frame, (kind, content)| frame.extension(*kind, content));
    let mut plane = TestPlane::new(&services(Dr));
    plane.run(&sent).is_passed(Reason::ExtensionHeader);
    TestPlane::new(&[]).run(&sent).is_untouched();
}

/// A reply with extension headers, and an error about one, too.
#[test]
fn replies_of_nat_have_extension_headers_too() {
    let real = RealServer::by(Nat, 1);
    let mut plane = TestPlane::new(&services(Nat));
    plane.run(&udp(client(), service()).data("question"));
    let answer = |frame: Frame| real.answers(frame.extension(0, OPTIONS));
    let reply = answer(udp(socket(real.0.into()), client()).data("answer"));
    plane.run(&reply).reaches_the_client_as(&client_receives(&reply, service()));

    let about = real_receives(Nat, &udp(client(), service()).data("question").extension(60, MANY_OPTIONS));
    let kind = Icmpv6Type::TimeExceeded(TimeExceededCode::HopLimitExceeded);
    let sent = answer(error(kind, of(ROUTER), client().ip(), &about));
    let expected =
        client_receives(&sent, SocketAddr::new(of(ROUTER), 0)).quoted(|quoted| quoted.to(service()));
    plane.run(&sent).reaches_the_client_as(&expected);
}

/// Neighbour discovery must continue to work: a balancer forwards none of it.
#[rstest]
#[case::router_solicitation(133)]
#[case::router_advertisement(134)]
#[case::neighbour_solicitation(135)]
#[case::neighbour_advertisement(136)]
#[case::redirect(137)]
#[case::listener_query(130)]
#[case::listener_report(143)]
fn what_keeps_the_link_together_is_untouched(#[case] type_u8: u8) {
    let mut plane = TestPlane::new(&services(Nat));
    let kind = Icmpv6Type::Unknown { type_u8, code_u8: 0, bytes5to8: [0; 4] };
    for to in [of(VIP), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x64).into()] {
        let sent = icmp(kind, client().ip(), to, &[0x20; 16]).ttl(255);
        plane.run(&sent).is_untouched();
        let everybody = Link { to: [0x33, 0x33, 0xff, 0, 0, 0x64], from: [2, 0, 0, 0, 0, 9] };
        plane.run(&sent.link(everybody)).is_untouched();
    }
}

/// The quoted ports are more than 2,047 bytes behind the frame's beginning.
#[test]
fn an_error_whose_quote_is_behind_long_chains_is_translated() {
    let long = [&[126], &[0; 1014][..]].concat();
    let real = RealServer::by(Nat, 1);
    let mut plane = TestPlane::new(&[]);
    let hop = next_hop(socket(real.0.into()));
    let wide = lb_control::neighbours::NextHop { mtu: 9000, ..hop };
    plane.route_to(of(real.ip()), Some(wide));
    plane.set(&services(Nat));
    let kind = Icmpv6Type::TimeExceeded(TimeExceededCode::HopLimitExceeded);
    let about = tcp(service(), client()).data("an answer").extension(60, &long);
    let sent = error(kind, of(ROUTER), of(VIP), &about).quoting(2000).extension(60, &long);
    let received = real_receives(Nat, &sent).quoted(|quote| quote.from(socket(real.0.into())));
    plane.run(&sent).reaches_a_real_as(&received);
}

#[rstest]
#[case::ipv4_of_a_service_of_ipv6(tcp(CLIENT, SERVICE).syn())]
#[case::another_address(tcp(client(), SocketAddr::new(of(DIP), PORT)).syn())]
#[case::no_header_behind_it(raw(IpNumber(59), client().ip(), service().ip(), b"rest"))]
#[case::a_tunnel(raw(IpNumber::IPV6, client().ip(), service().ip(), &[0x60; 60]))]
fn packets_of_no_service(#[case] sent: Frame) {
    if !is_six() {
        TestPlane::new(&services(Dr)).run(&sent).is_untouched();
    }
}

/// An IPv4-mapped address in an IPv6 header is not the IPv4 address.
#[test]
fn an_ipv4_service_has_no_address_of_ipv6() {
    if is_six() {
        return; // There is no IPv4 service then.
    }
    let mut plane = TestPlane::new(&[tcp_service().real(Dr, RealServer::number(1))]);
    let mapped =
        |address: SocketAddrV4| SocketAddr::new(address.ip().to_ipv6_mapped().into(), address.port());
    plane.run(&tcp(mapped(CLIENT), mapped(SERVICE)).syn()).is_untouched();
}

/// A packet from such an address is not forwarded either: the kernel drops it.
#[test]
fn no_host_of_ipv6_has_an_address_of_ipv4() {
    let mapped = SocketAddr::new(CLIENT.ip().to_ipv6_mapped().into(), CLIENT.port());
    TestPlane::new(&services(Dr)).run(&tcp(mapped, service()).syn()).is_dropped(Reason::SourceInvalid);
}

/// Clients of one version, a tunnel of the other.
#[rstest]
fn a_tunnel_of_the_other_version(
    #[values(false, true)] six: bool,
    #[values(false, true)] tracked: bool,
    #[values(0, 1, 700)] length: usize,
) {
    if is_six() {
        return; // What is of IPv4 would be translated.
    }
    let inner = |address: SocketAddrV4| if six { socket(address.into()) } else { address.into() };
    let outer = |address: SocketAddrV4| if six { address.into() } else { socket(address.into()) };
    let real = RealServer::number(1);
    let pool = tcp_service().vip(inner(SERVICE).ip()).with(|service| {
        service.reals.insert(outer(real.0), Real::new(Tun, 1));
    });
    let mut plane = TestPlane::new(&[if tracked { pool.tracked() } else { pool }]);
    let sent = tcp(inner(CLIENT), inner(SERVICE)).data(vec![7; length]).tos(0xb9);
    let hop = sent.clone().hop().link(real.link());
    let end = |ip: Ipv4Addr| outer(SocketAddrV4::new(ip, 0)).ip();
    plane.run(&sent).reaches_a_real_as(&tunnel(end(DIP), end(real.ip()), hop).link(real.link()));

    let too_big = tcp(inner(CLIENT), inner(SERVICE)).data([7; 1445]);
    let got = plane.run(&too_big);
    let fits = if six { 1500 - 20 } else { 1500 - 40 };
    assert_eq!(got.reasons.into_iter().collect::<Vec<_>>(), [(Reason::TooBig, 1)]);
    let mtu = if six {
        u32::from_be_bytes(got.frame[58..62].try_into().unwrap())
    } else {
        u16::from_be_bytes(got.frame[40..42].try_into().unwrap()).into()
    };
    assert_eq!(mtu, fits);
}

/// The hash is of all 128 bits: clients that differ in any part go to different reals.
#[rstest]
fn clients_differ_by_any_part_of_their_address(#[values(0, 40, 70, 100)] bit: u32) {
    let pool = tcp_service().vip(of(VIP)).with(|service| {
        for number in 1..=4 {
            service.reals.insert(socket(RealServer::number(number).0.into()), Real::new(Dr, 1));
        }
    });
    let mut plane = TestPlane::new(&[pool]);
    let IpAddr::V6(base) = of(*CLIENT.ip()) else { unreachable!() };
    let mut reals = std::collections::BTreeSet::new();
    for number in 0..32u128 {
        let from = SocketAddr::new(Ipv6Addr::from_bits(base.to_bits() ^ number << bit).into(), 40_000);
        reals.insert(plane.run(&tcp(from, service()).syn()).real());
    }
    assert_eq!(reals.len(), 4, "{reals:?}");
    assert_eq!(version::original(service()), SERVICE.into());
}
