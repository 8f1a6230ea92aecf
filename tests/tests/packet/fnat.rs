// SPDX-License-Identifier: MIT OR Apache-2.0
//! Full NAT: both ends of a packet change, so that the real answers the director with any routes.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
};

use etherparse::{Icmpv4Type, icmpv4::DestUnreachableHeader};
use lb_common::{reason::Reason, schema::Settings, wire::Be128};
use lb_dataplane::Limits;
use lb_model::{
    Forward::{Dr, Fnat, Nat},
    Scheduler,
};
use lb_tests::packet::{
    CLIENT, DIP, DIP_END, Frame, ROUTER, RealServer, SERVICE, TestPlane, client_receives, error, one_port,
    plane::LIMITS, tcp, tcp_service, udp, udp_service, version,
};
use rstest::rstest;

use crate::scene::{asked, opened, services};

/// Returns the `fnat` real, which sends and receives with the director's own address and port.
fn real() -> RealServer {
    RealServer::by(Fnat, 1)
}

/// Returns the frame that the client gets for the real's frame to the director.
fn back(reply: &Frame) -> Frame {
    client_receives(&reply.clone().to(CLIENT), SERVICE)
}

#[rstest]
#[case::syn_ack(tcp(real().0, DIP_END).syn_ack())]
#[case::data(tcp(real().0, DIP_END).data("HTTP/1.1 200 OK\r\n\r\n").options(&[1; 12]))]
#[case::rst(tcp(real().0, DIP_END).rst().padded())]
#[case::udp(udp(real().0, DIP_END).data("answer"))]
#[case::udp_without_checksum(udp(real().0, DIP_END).data("answer").without_checksum())]
fn a_reply_comes_from_the_service(#[case] reply: Frame) {
    let mut plane = asked(Fnat);
    let reply = real().answers(reply);
    plane.run(&reply).reaches_the_client_as(&back(&reply));
}

#[test]
fn every_fragment_of_a_reply_comes_from_the_service() {
    let mut plane = asked(Fnat);
    let reply = real().answers(udp(real().0, DIP_END).data([7; 3001]));
    for fragment in reply.fragments(&[1400, 2800]) {
        plane.run(&fragment).reaches_the_client_as(&back(&fragment));
    }
}

#[rstest]
#[case::to_another_port(tcp(real().0, SocketAddrV4::new(DIP, 5001)).syn_ack())]
#[case::from_another_port(tcp(SocketAddrV4::new(real().ip(), 8081), DIP_END))]
#[case::of_another_real(tcp(RealServer::at_port(2, 8080).0, DIP_END))]
#[case::to_the_client_itself(tcp(real().0, CLIENT))]
fn what_a_real_sends_for_itself_is_untouched(#[case] sent: Frame) {
    opened(Fnat).run(&real().answers(sent)).is_untouched();
}

/// The real does not know the client: its errors, and those of routers on the path, go to the director.
#[rstest]
fn an_error_about_a_request_speaks_of_the_service(
    #[values(real().ip(), ROUTER)] from: Ipv4Addr,
    #[values(tcp(CLIENT, SERVICE).data("a long question"), udp(CLIENT, SERVICE).data("?"))] question: Frame,
) {
    let mut plane = asked(Fnat);
    let kind =
        Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 });
    let received = real().receives(Fnat, &question);
    let sent = real().answers(error(kind, from, DIP, &received));
    let speaks_as = if from == real().ip() { SERVICE } else { SocketAddrV4::new(from, 0) };
    let expected =
        client_receives(&sent.clone().to(CLIENT), speaks_as).quoted(|quote| quote.to(SERVICE).from(CLIENT));
    plane.run(&sent).reaches_the_client_as(&expected);
}

/// RFC 9293: the stack that has the address, the director's, resets an unknown connection.
#[test]
fn a_connection_from_its_middle_on_is_left_to_the_directors_stack() {
    let mut plane = TestPlane::new(&services(Fnat));
    plane.run(&tcp(CLIENT, SERVICE).data("data")).is_passed(Reason::NoFlow);
    plane.run(&tcp(CLIENT, SERVICE).rst()).is_passed(Reason::NoFlow);
    assert_eq!(plane.flows(), 0);
}

/// A SYN with RST begins no connection: it must not reach a real from a port of the director that another
/// client has.
#[rstest]
fn a_syn_that_is_a_reset_is_left_to_the_directors_stack(
    #[values(Scheduler::Mh, Scheduler::Rr)] by: Scheduler,
) {
    let mut plane = TestPlane::new(&[tcp_service().by(by).real(Fnat, real())]);
    let somebody = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 66), DIP_END.port());
    plane.run(&tcp(CLIENT, SERVICE).syn());
    plane.run(&tcp(somebody, SERVICE).syn().rst()).is_passed(Reason::NoFlow);
}

/// One service has the same real with different methods.
#[test]
fn methods_are_mixed_in_one_service() {
    let pool = tcp_service().by(Scheduler::Rr).real(Dr, RealServer::number(2)).real(Fnat, real());
    let mut plane = TestPlane::new(&[pool.real(Nat, RealServer::by(Nat, 3))]);
    let mut seen = HashSet::new();
    for port in 0..3 {
        let client = SocketAddrV4::new(*CLIENT.ip(), 40_000 + port);
        let sent = tcp(client, SERVICE).syn();
        let got = plane.run(&sent);
        let method = [Fnat, Dr, Nat][usize::from(got.real().ip().octets()[3] - 11)];
        got.reaches_a_real_as(&got.real().receives(method, &sent));
        seen.insert(got.real());
    }
    assert_eq!(seen.len(), 3);
}

fn clients(count: u16) -> impl Iterator<Item = SocketAddrV4> {
    (0..count).map(|port| SocketAddrV4::new(*CLIENT.ip(), 20_000 + port))
}

/// Returns the client's address and port as the real sees them.
fn seen_by_the_real(plane: &mut TestPlane, sent: &Frame) -> SocketAddr {
    let got = plane.run(sent);
    assert_eq!(got.reasons.len(), 0, "{got}");
    got.source()
}

#[test]
fn no_two_flows_share_a_port_and_exhaustion_is_refused() {
    let few = Settings { dip_ports: 10, ..one_port() };
    let mut plane = TestPlane::with_settings(few, &[tcp_service().real(Fnat, real())]);
    let mut seen = HashSet::new();
    for client in clients(10) {
        seen.insert(seen_by_the_real(&mut plane, &tcp(client, SERVICE).syn()));
    }
    assert_eq!(seen.len(), 10);
    for client in clients(14).skip(10) {
        let got = plane.run(&tcp(client, SERVICE).syn());
        assert_eq!(got.reasons.keys().collect::<Vec<_>>(), [&Reason::PortsExhausted], "{got}");
        assert_eq!(got.action, lb_tests::packet::Action::Tx, "the client is told");
    }
    assert_eq!(plane.flows(), 10, "a refused flow has no entry");
    // A flow that has a port keeps it.
    for client in clients(10) {
        assert!(seen.contains(&seen_by_the_real(&mut plane, &tcp(client, SERVICE).data("data"))));
    }
}

/// The number of ports is limited towards each real, not over all reals.
#[test]
fn each_real_and_each_protocol_has_all_ports() {
    let pool = |pool: lb_tests::packet::Pool| {
        pool.by(Scheduler::Rr).real(Fnat, RealServer::by(Fnat, 1)).real(Fnat, RealServer::by(Fnat, 2))
    };
    let mut plane = TestPlane::new(&[pool(tcp_service()), pool(udp_service())]);
    for client in clients(2) {
        let dip = SocketAddr::from(DIP_END);
        assert_eq!(seen_by_the_real(&mut plane, &tcp(client, SERVICE).syn()), dip);
        assert_eq!(seen_by_the_real(&mut plane, &udp(client, SERVICE)), dip);
    }
}

/// A client reuses the ports of its closing connection: the new one stays on the real, or its port is free
/// for others.
#[test]
fn a_client_that_comes_again_has_one_port() {
    let mut plane = TestPlane::new(&[tcp_service().by(Scheduler::Rr).real(Fnat, real())]);
    let sent = tcp(CLIENT, SERVICE).syn();
    for _ in 0..3 {
        assert_eq!(seen_by_the_real(&mut plane, &sent), DIP_END.into());
        plane.run(&tcp(CLIENT, SERVICE).fin());
    }
    plane.set(&[tcp_service().by(Scheduler::Rr).real(Fnat, RealServer::by(Fnat, 2))]);
    assert_eq!(seen_by_the_real(&mut plane, &sent), DIP_END.into());
    plane.set(&[tcp_service().by(Scheduler::Rr).real(Fnat, real())]);
    let another = tcp(SocketAddrV4::new(*CLIENT.ip(), 1), SERVICE).syn();
    assert_eq!(seen_by_the_real(&mut plane, &another), DIP_END.into(), "the removed real's port came back");
}

/// An address of a pool.
fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 9, last).into()
}

/// Returns a SNAT address as the programs encode it.
fn dip(last: u8) -> Be128 {
    if version::is_six() { version::address(address(last)).into() } else { address(last).into() }
}

/// A pool: each of its addresses is used, and a flow keeps its address.
#[test]
fn a_pool_of_addresses_has_as_many_ports_for_each() {
    let settings = Settings { dip_ports: 3, dips: 3, dips6: 3, ..one_port() };
    let mut plane = TestPlane::with_settings(settings, &[tcp_service().real(Fnat, real())]);
    // The second index is empty: its address was removed from the pool.
    let pool: Vec<Be128> = vec![Be128::ZERO, dip(1), Be128::ZERO, dip(3)];
    plane.tables().put_dips(&pool, &pool).unwrap();
    let mut seen = HashSet::new();
    for client in clients(6) {
        seen.insert(seen_by_the_real(&mut plane, &tcp(client, SERVICE).syn()));
    }
    let used: HashSet<_> = seen.iter().map(SocketAddr::ip).collect();
    assert_eq!((seen.len(), used), (6, [address(1), address(3)].into()));
    let sent = tcp(SocketAddrV4::new(*CLIENT.ip(), 1), SERVICE).syn();
    assert!(plane.run(&sent).reasons.contains_key(&Reason::PortsExhausted));
}

/// One million flows that begin on two CPUs at a time: each has a port of its own, and gets its own replies.
#[test]
fn a_million_flows_on_two_cpus_share_no_port() {
    const EACH: u32 = 500_000;
    // The table evicts before it is full, since each CPU keeps a part of the free entries.
    let limits = Limits { flows: 1 << 22, flows6: 1 << 22, flow_places: Some(1 << 22), ..LIMITS };
    // Room for 1,269,760 flows towards the one real: four of five ports are taken in the end.
    let settings = Settings { dips: 40, dips6: 40, ..Settings::DEFAULT };
    let mut plane = TestPlane::with_limits(limits, settings, &[udp_service().real(Fnat, real())]);
    let pool: Vec<Be128> = std::iter::once(Be128::ZERO).chain((1..=40).map(dip)).collect();
    plane.tables().put_dips(&pool, &pool).unwrap();

    let template = udp(CLIENT, SERVICE).without_checksum().data("?").bytes();
    let director = plane.director();
    std::thread::scope(|scope| {
        for half in 0..2u32 {
            let mut frame = template.clone();
            scope.spawn(move || {
                for number in 0..EACH {
                    // Client address and port, of which the address is before the last two bytes of the
                    // header's checksum.
                    let client = (11 << 24 | half << 20 | number >> 15).to_be_bytes();
                    let port = (1024 + (number & 0x7fff) as u16).to_be_bytes();
                    let (source, ports) = if version::is_six() { (34, 54) } else { (26, 34) };
                    frame[source..source + 4].copy_from_slice(&client);
                    frame[ports..ports + 2].copy_from_slice(&port);
                    let (action, _) = lb_tests::packet::plane::run(director, &frame);
                    assert_eq!(action, lb_tests::packet::Action::Tx, "flow {number} of CPU {half}");
                }
            });
        }
    });

    let mut flows = std::collections::HashMap::new();
    plane.tables().for_each_flow(|key, flow| assert_eq!(flows.insert(*key, flow.snat), None)).unwrap();
    assert_eq!(flows.len(), 2 * EACH as usize);
    let mut translations = 0;
    plane
        .tables()
        .for_each_translation(|reply, request| {
            let dip = flows.remove(request).expect("a translation of a flow");
            let address = pool[usize::from(dip.address)];
            assert_eq!((reply.destination, reply.destination_port), (address, dip.port), "{request:?}");
            translations += 1;
        })
        .unwrap();
    assert_eq!((translations, flows.len()), (2 * EACH as usize, 0), "each flow has its own");
}
