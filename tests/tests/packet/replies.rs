// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replies of a nat real: they get the source address of the service.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use lb_common::{
    ids::IfIndex,
    reason::Reason,
    schema::{CachedPath, ReturnPath, RouterPath},
    wire::{Be32, Be128, MacPair, Tags},
};
use lb_model::Forward::{Dr, Nat, Tun};
use lb_tests::packet::{
    CLIENT, Frame, PORT, Pool, RealServer, SERVICE, TestPlane, VIP, client_receives,
    net::{CLIENT_LINK, INGRESS, Link},
    ping, tcp, tcp_service, udp,
    version::{self, is_six},
};
use rstest::rstest;

use crate::scene::{ask, services};

const REAL: RealServer = RealServer::at_port(1, 8080);
const ANOTHER_VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);

#[rstest]
#[case::syn_ack(tcp(REAL.0, CLIENT).syn_ack())]
#[case::data(tcp(REAL.0, CLIENT).data("HTTP/1.1 200 OK\r\n\r\n"))]
#[case::fin(tcp(REAL.0, CLIENT).fin())]
#[case::rst(tcp(REAL.0, CLIENT).rst())]
#[case::udp(udp(REAL.0, CLIENT).data("answer"))]
#[case::udp_without_checksum(udp(REAL.0, CLIENT).data("answer").without_checksum())]
#[case::options(tcp(REAL.0, CLIENT).options(&[1; 12]).data("data"))]
#[case::padded(tcp(REAL.0, CLIENT).rst().padded())]
#[case::last_hop_but_one(udp(REAL.0, CLIENT).ttl(2))]
fn a_reply_comes_from_the_service(#[case] reply: Frame) {
    let mut plane = TestPlane::new(&services(Nat));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    ask(&mut plane, &udp(CLIENT, SERVICE));
    let reply = REAL.answers(reply);
    plane.run(&reply).reaches_the_client_as(&client_receives(&reply, SERVICE));
}

#[rstest]
#[case::of_no_flow(tcp(REAL.0, SocketAddrV4::new(*CLIENT.ip(), 1)))]
#[case::from_another_port(tcp(SocketAddrV4::new(REAL.ip(), 8081), CLIENT))]
#[case::of_another_protocol(udp(REAL.0, CLIENT))]
#[case::to_another_client(tcp(REAL.0, SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 11), CLIENT.port())))]
#[case::of_another_real(tcp(RealServer::at_port(2, 8080).0, CLIENT))]
#[case::a_ping(ping(REAL.ip(), *CLIENT.ip()))]
fn what_a_nat_real_sends_for_itself_is_untouched(#[case] sent: Frame) {
    let mut plane = TestPlane::new(&services(Nat).map(Pool::tracked));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    plane.run(&REAL.answers(sent)).is_untouched();
}

/// Two reals at one address: a flow is on one of them, and packets of the other do not belong to it.
#[test]
fn what_comes_from_the_port_of_another_real_is_untouched() {
    let neighbour = RealServer::at_port(1, 8081);
    let mut plane = TestPlane::new(&[tcp_service().tracked().real(Nat, REAL).real(Nat, neighbour)]);
    let mine = ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    let other = if mine == REAL { neighbour } else { REAL };
    plane.run(&other.answers(tcp(other.0, CLIENT).syn_ack())).is_untouched();
    let reply = mine.answers(tcp(mine.0, CLIENT).syn_ack());
    plane.run(&reply).reaches_the_client_as(&client_receives(&reply, SERVICE));
}

/// The director sees no replies of `dr` and `tun` reals: packets from these reals are of another kind.
#[rstest]
fn what_other_reals_send_is_untouched(
    #[values(Dr, Tun)] method: lb_model::Forward,
    #[values(tcp(RealServer::number(1).0, CLIENT).syn_ack(), udp(RealServer::number(1).0, CLIENT))]
    sent: Frame,
) {
    let mut plane = TestPlane::new(&services(method));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    ask(&mut plane, &udp(CLIENT, SERVICE));
    plane.run(&RealServer::number(1).answers(sent)).is_untouched();
}

#[rstest]
fn a_reply_at_its_last_hop_is_passed(#[values(0, 1)] ttl: u8) {
    let mut plane = TestPlane::new(&services(Nat));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    plane.run(&REAL.answers(tcp(REAL.0, CLIENT).syn_ack().ttl(ttl))).is_passed(Reason::TtlExceeded);
}

#[test]
fn a_service_for_every_port_keeps_each_port() {
    let real = RealServer::at_port(1, 0);
    let mut plane = TestPlane::new(&[tcp_service().port(0).real(Nat, real)]);
    for port in [22, 443] {
        let (service, at) = (SocketAddrV4::new(VIP, port), RealServer::at_port(1, port));
        let sent = tcp(CLIENT, service).syn();
        plane.run(&sent).reaches_a_real_as(&at.receives(Nat, &sent));
        let reply = real.answers(tcp(at.0, CLIENT).syn_ack());
        plane.run(&reply).reaches_the_client_as(&client_receives(&reply, service));
    }
}

/// One real at one port for two services: the source alone does not determine the service of a reply.
#[test]
fn two_services_share_a_real_and_its_port() {
    let another = SocketAddrV4::new(ANOTHER_VIP, PORT);
    let pools = [tcp_service().real(Nat, REAL), tcp_service().vip(ANOTHER_VIP).real(Nat, REAL)];
    let mut plane = TestPlane::new(&pools);
    for (port, service) in [(1001, SERVICE), (1002, another), (1003, another), (1004, SERVICE)] {
        let client = SocketAddrV4::new(*CLIENT.ip(), port);
        ask(&mut plane, &tcp(client, service).syn());
        let reply = REAL.answers(tcp(REAL.0, client).syn_ack());
        plane.run(&reply).reaches_the_client_as(&client_receives(&reply, service));
    }
    plane.run(&REAL.answers(tcp(REAL.0, SocketAddrV4::new(*CLIENT.ip(), 1005)))).is_untouched();
}

/// Two services share a real, and one of them is for every port.
#[test]
fn a_service_for_every_port_shares_a_real_with_another() {
    let every_port = tcp_service().vip(ANOTHER_VIP).port(0).real(Nat, RealServer::at_port(1, 0));
    let mut plane = TestPlane::new(&[tcp_service().real(Nat, REAL), every_port]);
    let one = SERVICE;
    let other = SocketAddrV4::new(ANOTHER_VIP, REAL.0.port());
    for (port, service) in [(1001, one), (1002, other)] {
        let client = SocketAddrV4::new(*CLIENT.ip(), port);
        ask(&mut plane, &tcp(client, service).syn());
        let reply = REAL.answers(tcp(REAL.0, client).syn_ack());
        plane.run(&reply).reaches_the_client_as(&client_receives(&reply, service));
    }
}

/// A service that comes to share a real leaves the connections of the other alone.
#[test]
fn a_connection_outlives_that_its_real_is_shared() {
    let alone = tcp_service().real(Nat, REAL);
    let mut plane = TestPlane::new(std::slice::from_ref(&alone));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    let newcomer = tcp_service().vip(ANOTHER_VIP).real(Nat, REAL);

    plane.set(&[alone.clone(), newcomer]);

    let reply = REAL.answers(tcp(REAL.0, CLIENT).data("more"));
    plane.run(&reply).reaches_the_client_as(&client_receives(&reply, SERVICE));
    plane.set(&[alone]);
    plane.run(&reply).reaches_the_client_as(&client_receives(&reply, SERVICE));
}

/// With a hashing scheduler, the source alone determines the service: there is no flow table entry.
#[test]
fn by_hash_replies_need_no_flow() {
    let mut plane = TestPlane::new(&services(Nat));
    for port in 1000..1100 {
        let client = SocketAddrV4::new(*CLIENT.ip(), port);
        ask(&mut plane, &tcp(client, SERVICE).syn());
        let reply = REAL.answers(tcp(REAL.0, client).syn_ack());
        plane.run(&reply).reaches_the_client_as(&client_receives(&reply, SERVICE));
    }
    assert_eq!(plane.flows(), 0);
    // No packet of this client ever arrived.
    let stranger = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 11), 1000);
    plane.run(&REAL.answers(tcp(REAL.0, stranger).syn_ack())).is_untouched();
}

/// A client may contact the real itself, through the director, and the VIP: it gets answers from the address
/// that it used.
#[test]
fn by_hash_replies_to_whom_asked_the_real_itself_are_untouched() {
    let mut plane = TestPlane::new(&services(Nat));
    let client = |port| SocketAddrV4::new(*CLIENT.ip(), port);
    let reply = |port| REAL.answers(tcp(REAL.0, client(port)).syn_ack());
    ask(&mut plane, &tcp(client(1), SERVICE).syn());
    plane.run(&tcp(client(2), REAL.0).syn()).is_untouched();

    plane.run(&reply(1)).reaches_the_client_as(&client_receives(&reply(1), SERVICE));
    plane.run(&reply(2)).is_untouched();

    // Later the client uses the same port for the VIP.
    ask(&mut plane, &tcp(client(2), SERVICE).syn());
    plane.run(&reply(2)).reaches_the_client_as(&client_receives(&reply(2), SERVICE));
}

/// Replies take the path of the client's last packet.
#[test]
fn a_reply_follows_a_client_that_moved() {
    let mut plane = TestPlane::new(&services(Nat));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    ask(&mut plane, &tcp(CLIENT, SERVICE));
    let moved = lb_tests::packet::net::Link { to: [2, 0, 0, 0, 9, 1], from: [2, 0, 0, 0, 9, 2] };

    ask(&mut plane, &tcp(CLIENT, SERVICE).link(moved));

    let reply = REAL.answers(tcp(REAL.0, CLIENT).data("data"));
    plane.run(&reply).reaches_the_client_as(&client_receives(&reply, SERVICE).link(moved.back()));
}

/// Returns the index of a client in `CACHED_PATHS`, in the IP version of this run.
fn place(client: SocketAddrV4) -> u32 {
    match version::socket(client.into()).ip() {
        IpAddr::V6(v6) if is_six() => CachedPath::index(Be128::from(IpAddr::V6(v6)), 0).0,
        _ => CachedPath::index(Be32::from_bytes(client.ip().octets()), 0).0,
    }
}

/// A packet from the router with this number.
fn by(router: u16) -> Link {
    let [high, low] = router.to_be_bytes();
    Link { from: [2, 0, 0, 9, high, low], ..CLIENT_LINK }
}

/// Returns the index of a router in `ROUTER_PATHS`.
fn gateway(router: u16) -> u32 {
    let Link { to, from } = by(router);
    RouterPath::index(&ReturnPath {
        ifindex: IfIndex(INGRESS),
        to_client: MacPair::new(from, to),
        tags: Tags::NONE,
    })
}

/// Sends a client's request by a router, and asserts that the answer returns by that router.
#[track_caller]
fn asks_and_is_answered(plane: &mut TestPlane, client: SocketAddrV4, router: u16) {
    ask(plane, &tcp(client, SERVICE).syn().link(by(router)));
    is_answered(plane, client, router);
}

#[track_caller]
fn is_answered(plane: &mut TestPlane, client: SocketAddrV4, router: u16) {
    let reply = REAL.answers(tcp(REAL.0, client).data("data"));
    plane.run(&reply).reaches_the_client_as(&client_receives(&reply, SERVICE).link(by(router).back()));
}

/// Two clients share an index: both are known, and neither gets the other's router.
#[test]
fn two_clients_of_one_place_have_their_ways() {
    let client = |n: u32| SocketAddrV4::new(Ipv4Addr::from_bits(0xc633_0000 + n), 1000);
    let first = client(1);
    let second =
        (2..1 << 24).map(client).find(|&other| place(other) == place(first)).expect("there are 2^17 places");
    let mut plane = TestPlane::new(&services(Nat));
    asks_and_is_answered(&mut plane, first, 1);
    let stranger = REAL.answers(tcp(REAL.0, second).syn_ack());
    plane.run(&stranger).is_untouched();

    asks_and_is_answered(&mut plane, second, 2);
    is_answered(&mut plane, first, 1);
    asks_and_is_answered(&mut plane, second, 3);
    asks_and_is_answered(&mut plane, first, 4);
    is_answered(&mut plane, second, 3);
    assert_eq!(plane.flows(), 0);
}

/// Two routers share an index: their clients are known, and so is a client that moves between them.
#[test]
fn two_routers_of_one_place_are_not_mixed_up() {
    let client = |n: u8| SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, n), 1000);
    let other = (2..u16::MAX).find(|&router| gateway(router) == gateway(1)).expect("there are 256 places");
    let mut plane = TestPlane::new(&services(Nat));
    asks_and_is_answered(&mut plane, client(1), 1);
    asks_and_is_answered(&mut plane, client(2), other);
    is_answered(&mut plane, client(1), 1);
    asks_and_is_answered(&mut plane, client(1), other);
    is_answered(&mut plane, client(2), other);
    asks_and_is_answered(&mut plane, client(1), 1);
    asks_and_is_answered(&mut plane, client(2), 1);
}
