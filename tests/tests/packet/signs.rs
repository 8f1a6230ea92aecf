// SPDX-License-Identifier: MIT OR Apache-2.0
//! Passive signs: packets which show the health checks that a real does not serve.

use etherparse::{
    Icmpv4Type,
    icmpv4::{DestUnreachableHeader, TimeExceededCode},
};
use lb_common::ids::RealId;
use lb_dataplane::sign_reader::SignReader;
use lb_model::Forward::{self, Fnat, Nat};
use lb_tests::packet::{
    CLIENT, DIP, DIP_END, Frame, Pool, ROUTER, RealServer, SERVICE, TestPlane, error, tcp, udp,
};
use rstest::rstest;

use crate::scene::services;

const PORT_UNREACHABLE: Icmpv4Type = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
const HOST_UNREACHABLE: Icmpv4Type = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host);
const PROHIBITED: Icmpv4Type = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FilterProhibited);
const FRAGMENTATION_NEEDED: Icmpv4Type =
    Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 });
const TIME_EXCEEDED: Icmpv4Type = Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit);

/// How the services track their flows.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Hashed,
    Tracked,
    Full,
}

impl Kind {
    const fn method(self) -> Forward {
        match self {
            Self::Hashed | Self::Tracked => Nat,
            Self::Full => Fnat,
        }
    }

    /// Returns the real, and the end of its packets that is not its own.
    fn ends(self) -> (RealServer, std::net::SocketAddrV4) {
        (RealServer::by(self.method(), 1), if self.method() == Fnat { DIP_END } else { CLIENT })
    }

    /// A plane whose services have each had one request, and a reader of its signs.
    fn asked(self) -> (TestPlane, SignReader) {
        let pools = services(self.method());
        let pools = if matches!(self, Self::Tracked) { pools.map(Pool::tracked) } else { pools };
        let mut plane = TestPlane::new(&pools);
        plane.run(&tcp(CLIENT, SERVICE).syn());
        plane.run(&udp(CLIENT, SERVICE).data("a question"));
        let reader = plane.tables().sign_reader().expect("the map can be mapped");
        (plane, reader)
    }
}

/// Returns the ids of the reals of a protocol, as places of signs.
fn places(plane: &TestPlane, protocol: &str) -> Vec<u32> {
    let services = &plane.image().services;
    let number = if protocol == "tcp" { 6 } else { 17 };
    let of = |service| services.iter().any(|(key, value)| key.protocol == number && value.id == service);
    let reals = plane.image().reals.iter().filter(|(_, real)| of(real.service));
    reals.map(|(id, _)| SignReader::place(RealId(id.0))).collect()
}

#[rstest]
fn a_refused_connection_is_a_sign(
    #[values(Kind::Hashed, Kind::Tracked, Kind::Full)] kind: Kind,
    #[values(false, true)] padded: bool,
) {
    let (mut plane, mut reader) = kind.asked();
    let (real, end) = kind.ends();
    let refusal = real.answers(tcp(real.0, end).rst().at_sequence(0));
    let got = plane.run(&if padded { refusal.padded() } else { refusal });
    got.counted_out();
    assert_eq!(reader.new_signs(), places(&plane, "tcp"));
    assert!(reader.new_signs().is_empty(), "a sign is told once");
}

#[rstest]
#[case::syn_ack(|real: RealServer, end| tcp(real.0, end).syn_ack().at_sequence(0))]
#[case::data(|real: RealServer, end| tcp(real.0, end).data("an answer").at_sequence(0))]
#[case::fin(|real: RealServer, end| tcp(real.0, end).fin().at_sequence(0))]
#[case::a_reset_of_a_connection(|real: RealServer, end| tcp(real.0, end).rst())]
#[case::a_datagram(|real: RealServer, end| udp(real.0, end).data([4; 20]))]
fn other_replies_are_no_signs(
    #[case] reply: fn(RealServer, std::net::SocketAddrV4) -> Frame,
    #[values(Kind::Hashed, Kind::Tracked, Kind::Full)] kind: Kind,
) {
    let (mut plane, mut reader) = kind.asked();
    let (real, end) = kind.ends();
    plane.run(&real.answers(reply(real, end))).counted_out();
    assert!(reader.new_signs().is_empty());
}

/// A packet of a client, or of no flow, is no sign that a real does not serve.
#[rstest]
#[case::by_a_client(tcp(CLIENT, SERVICE).rst().at_sequence(0))]
#[case::of_no_flow(tcp(RealServer::by(Nat, 1).0, std::net::SocketAddrV4::new(ROUTER, 7)).rst().at_sequence(0))]
#[case::from_another_port(tcp(RealServer::at_port(1, 9).0, CLIENT).rst().at_sequence(0))]
#[case::about_no_flow(error(HOST_UNREACHABLE, ROUTER, *CLIENT.ip(), &tcp(CLIENT, RealServer::at_port(1, 9).0)))]
#[case::to_another_host(
    error(HOST_UNREACHABLE, ROUTER, ROUTER, &RealServer::by(Nat, 1).receives(Nat, &tcp(CLIENT, SERVICE)))
)]
#[case::about_a_reply(error(HOST_UNREACHABLE, ROUTER, *SERVICE.ip(), &tcp(SERVICE, CLIENT)))]
fn a_packet_of_no_real_is_no_sign(#[case] sent: Frame) {
    let (mut plane, mut reader) = Kind::Tracked.asked();
    plane.run(&sent);
    assert!(reader.new_signs().is_empty());
}

#[rstest]
#[case::port_unreachable(PORT_UNREACHABLE, true)]
#[case::host_unreachable(HOST_UNREACHABLE, true)]
#[case::prohibited(PROHIBITED, true)]
#[case::fragmentation_needed(FRAGMENTATION_NEEDED, false)]
#[case::time_exceeded(TIME_EXCEEDED, false)]
fn an_error_is_a_sign_if_the_packet_did_not_arrive(
    #[case] error_kind: Icmpv4Type,
    #[case] is_sign: bool,
    #[values(Kind::Hashed, Kind::Tracked, Kind::Full)] kind: Kind,
    #[values("tcp", "udp")] protocol: &str,
    #[values(false, true)] from_router: bool,
) {
    let (mut plane, mut reader) = kind.asked();
    let (real, _) = kind.ends();
    let question =
        if protocol == "tcp" { tcp(CLIENT, SERVICE).syn() } else { udp(CLIENT, SERVICE).data("?") };
    let from = if from_router { ROUTER } else { real.ip() };
    let to = if kind.method() == Fnat { DIP } else { *CLIENT.ip() };
    let sent = real.answers(error(error_kind, from, to, &real.receives(kind.method(), &question)));
    plane.run(&sent).counted_out();
    let expected = if is_sign { places(&plane, protocol) } else { Vec::new() };
    assert_eq!(reader.new_signs(), expected);
}
