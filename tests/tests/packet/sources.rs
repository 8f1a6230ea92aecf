// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets for a service that no client can have sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use lb_common::reason::Reason;
use lb_control::own_addresses::OwnAddresses;
use lb_model::Forward::{self, Dr, Fnat, Nat, Tun};
use lb_tests::packet::{
    DIP, Frame, PORT, RealServer, SERVICE, TestPlane, VIP, device, ping, tcp, tcp_service, udp, udp_service,
    version,
};
use rstest::rstest;

use crate::scene::services;

/// A broadcast address of a network that the director is in.
const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 255);

fn meant(ip: Ipv4Addr) -> IpAddr {
    if version::is_six() { version::address(ip.into()) } else { ip.into() }
}

/// A director whose real has that method, and whose addresses are known.
fn plane(method: Forward) -> TestPlane {
    let mut plane = TestPlane::new(&services(method));
    plane.has_addresses(OwnAddresses {
        addresses: [meant(DIP), meant(VIP)].into(),
        broadcast: [meant(BROADCAST)].into(),
    });
    plane.set(&services(method));
    plane
}

/// The kernel drops packets with such a source (RFC 1812, section 5.3.7; RFC 3927, section 2.7), and IPVS
/// never sees it.
#[rstest]
#[case::unspecified(Ipv4Addr::UNSPECIFIED, Reason::SourceInvalid)]
#[case::multicast(Ipv4Addr::new(224, 0, 0, 9), Reason::SourceInvalid)]
#[case::limited_broadcast(Ipv4Addr::BROADCAST, Reason::SourceInvalid)]
#[case::broadcast(BROADCAST, Reason::SourceInvalid)]
#[case::the_vip(VIP, Reason::SourceOwn)]
#[case::the_director(DIP, Reason::SourceOwn)]
fn a_source_that_no_client_has(
    #[case] from: Ipv4Addr,
    #[case] reason: Reason,
    #[values(Dr, Tun, Nat, Fnat)] method: Forward,
) {
    let mut plane = plane(method);
    let client = SocketAddrV4::new(from, 1024);
    plane.run(&tcp(client, SERVICE).syn()).is_dropped(reason);
    plane.run(&udp(client, SERVICE)).is_dropped(reason);
    // The kernel drops packets of no service itself.
    plane.run(&tcp(client, SocketAddrV4::new(DIP, PORT)).syn()).is_untouched();
    // The director does not answer it either if no real takes connections.
    plane.set(&[tcp_service()]);
    plane.run(&tcp(client, SERVICE).syn()).is_dropped(reason);
}

#[rstest]
#[case::loopback(Ipv4Addr::LOCALHOST, "::1")]
#[case::link_local(Ipv4Addr::new(169, 254, 1, 1), "fe80::1")]
fn a_source_that_means_something_on_one_host_or_link(
    #[case] from: Ipv4Addr,
    #[case] from6: std::net::Ipv6Addr,
    #[values(Dr, Nat)] method: Forward,
) {
    let frame = || -> Frame {
        if version::is_six() {
            tcp(std::net::SocketAddr::new(from6.into(), 1024), version::socket(SERVICE.into())).syn()
        } else {
            tcp(SocketAddrV4::new(from, 1024), SERVICE).syn()
        }
    };
    plane(method).run(&frame()).is_dropped(Reason::SourceInvalid);
}

/// Neighbour discovery uses such addresses.
#[test]
fn pings_from_the_link_are_the_kernels() {
    plane(Dr).run(&ping(Ipv4Addr::UNSPECIFIED, VIP)).is_untouched();
}

/// One datagram from a real's service port would make two servers answer each other for ever (CVE-2024-2169).
#[rstest]
fn a_forged_real_starts_no_loop(#[values(Dr, Tun, Nat)] method: Forward) {
    let (one, two) = (RealServer::by(method, 1), RealServer::at_port(2, 53));
    let services = [udp_service().real(method, one), udp_service().port(53).real(method, two)];
    let mut plane = TestPlane::new(&services);
    let forged = udp(two.0, SERVICE).data("who are you?");
    plane.run(&forged).is_dropped(Reason::SourceReal);
    // The real itself may be a client of another service.
    let genuine = two.answers(udp(SocketAddrV4::new(two.ip(), 40_000), SERVICE).data("who are you?"));
    assert_eq!(plane.run(&genuine).reasons.len(), 0);
}

#[test]
fn a_real_is_where_it_is() {
    device::with_another_device(|other| {
        let (one, two) = (RealServer::number(1), RealServer::number(2));
        let services =
            [tcp_service().real(Dr, one), tcp_service().port(53).real(Dr, RealServer::at_port(2, 53))];
        let mut plane = TestPlane::new(&services);
        let from_two = two.answers(tcp(SocketAddrV4::new(two.ip(), 40_000), SERVICE).syn());
        assert_eq!(plane.run(&from_two).reasons.len(), 0);
        plane.run_from(other, &from_two).is_dropped(Reason::SourceReal);
        // The interface of a real without a route is unknown.
        plane.route(two, None);
        plane.set(&services);
        assert_eq!(plane.run_from(other, &from_two).reasons.len(), 0);
    });
}

/// Frames of a real behind routers may come from any router.
#[test]
fn a_router_may_have_another_address() {
    let (one, two) = (RealServer::number(1), RealServer::number(2));
    let services = [udp_service().real(Dr, one), udp_service().port(53).real(Dr, RealServer::at_port(2, 53))];
    let mut plane = TestPlane::new(&services);
    plane.route(two, Some(lb_control::neighbours::NextHop { on_link: false, ..two.next_hop() }));
    plane.set(&services);
    let routed = udp(SocketAddrV4::new(two.ip(), 40_000), SERVICE).data("who are you?");
    assert_eq!(plane.run(&routed).reasons.len(), 0);
}
