// SPDX-License-Identifier: MIT OR Apache-2.0
//! GRE and GUE tunnels, of either version for clients of either version, from the director to the decapsulator.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};

use etherparse::IpNumber;
use lb_common::reason::Reason;
use lb_tests::packet::{
    Action, CLIENT, DIP, Frame, Got, RealServer, SERVICE, TestPlane, plane, raw, tcp, tcp_service, udp,
    udp_service,
    version::{is_six, socket},
};
use lb_userspace::{
    control::model::{Forward::Tun, Real, Tunnel},
    dataplane::decap::Decap,
};
use rstest::rstest;

const REAL: RealServer = RealServer::number(1);
/// An Ethernet header.
const ETHERNET: usize = 14;

/// Who speaks which version.
#[derive(Clone, Copy, Debug)]
struct Versions {
    inner_six: bool,
    outer_six: bool,
}

impl Versions {
    fn inner(self, address: SocketAddrV4) -> SocketAddr {
        if self.inner_six { socket(address.into()) } else { address.into() }
    }

    fn outer(self, address: SocketAddrV4) -> SocketAddr {
        if self.outer_six { socket(address.into()) } else { address.into() }
    }

    /// Bytes of the outer header.
    fn header(self) -> usize {
        if self.outer_six { 40 } else { 20 }
    }

    fn plane(self, tunnel: Tunnel) -> TestPlane {
        let pools = [tcp_service(), udp_service()].map(|pool| {
            pool.vip(self.inner(SERVICE).ip()).with(|service| {
                service.reals.insert(self.outer(REAL.0), Real { tunnel, ..Real::new(Tun, 1) });
            })
        });
        TestPlane::new(&pools)
    }

    /// What the real gets; of GUE with the source port that the director has chosen.
    fn received(self, sent: &Frame, tunnel: Tunnel, got: &Got) -> Frame {
        let inner = sent.clone().hop().bytes()[ETHERNET..ETHERNET + sent.length()].to_vec();
        let (ether_type, number) = if self.inner_six { ([0x86, 0xdd], 41) } else { ([8, 0], 4) };
        let (protocol, between) = match tunnel {
            Tunnel::Ipip => (IpNumber(number), Vec::new()),
            Tunnel::Gre => (IpNumber::GRE, [&[0, 0][..], &ether_type].concat()),
            Tunnel::Gue(port) => {
                let length = u16::try_from(inner.len() + 12).expect("a packet is smaller");
                let source = source_port(self, got).to_be_bytes();
                let udp = [source, port.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
                (IpNumber::UDP, [&udp[..], &[0, number, 0, 0]].concat())
            }
        };
        let end = |ip: Ipv4Addr| self.outer(SocketAddrV4::new(ip, 0)).ip();
        raw(protocol, end(DIP), end(REAL.ip()), &[between, inner].concat())
            .tos(0xb9)
            .id(0)
            .dont_fragment()
            .link(REAL.link())
    }
}

fn source_port(versions: Versions, got: &Got) -> u16 {
    let at = ETHERNET + versions.header();
    u16::from_be_bytes([got.frame[at], got.frame[at + 1]])
}

#[rstest]
fn a_packet_travels_and_arrives(
    #[values(false, true)] inner_six: bool,
    #[values(false, true)] outer_six: bool,
    #[values(Tunnel::Ipip, Tunnel::Gre, Tunnel::Gue(6080), Tunnel::Gue(9))] tunnel: Tunnel,
    #[values(0, 1, 800)] length: usize,
) {
    if is_six() {
        return; // What is of IPv4 would be translated.
    }
    let versions = Versions { inner_six, outer_six };
    let (client, service) = (versions.inner(CLIENT), versions.inner(SERVICE));
    let mut plane = versions.plane(tunnel);
    let mut decap = Decap::load().expect("the decapsulator loads, as root");
    for sent in
        [tcp(client, service), udp(client, service)].map(|frame| frame.data(vec![7; length]).tos(0xb9))
    {
        let got = plane.run(&sent);
        got.reaches_a_real_as(&versions.received(&sent, tunnel, &got));

        let (action, arrived) = plane::run(decap.program(), &got.frame);
        assert_eq!(action, Action::Pass);
        let taken = if tunnel == Tunnel::Gue(9) {
            // Another port than that of GUE is somebody else's.
            got.frame.clone()
        } else {
            sent.clone().hop().link(REAL.link()).bytes()
        };
        assert_eq!(arrived, taken, "{}", lb_tests::packet::judge::decode(&arrived));
    }
}

#[rstest]
fn the_size_that_fits_leaves_room_for_all_that_is_added(
    #[values(false, true)] inner_six: bool,
    #[values(false, true)] outer_six: bool,
    #[values((Tunnel::Ipip, 0), (Tunnel::Gre, 4), (Tunnel::Gue(6080), 12))] tunnel: (Tunnel, usize),
) {
    if is_six() {
        return; // What is of IPv4 would be translated.
    }
    let versions = Versions { inner_six, outer_six };
    let (client, service) = (versions.inner(CLIENT), versions.inner(SERVICE));
    let fits = 1500 - versions.header() - tunnel.1;
    let headers = if inner_six { 40 + 20 } else { 20 + 20 };
    let mut plane = versions.plane(tunnel.0);
    let largest = tcp(client, service).data(vec![7; fits - headers]);
    assert_eq!(plane.run(&largest).action, Action::Tx);

    let got = plane.run(&tcp(client, service).data(vec![7; fits - headers + 1]));
    assert_eq!(got.reasons.iter().collect::<Vec<_>>(), [(&Reason::TooBig, &1)], "{got}");
    let told = if inner_six { &got.frame[58..62] } else { &got.frame[38..42] };
    assert_eq!(u32::from_be_bytes(told.try_into().unwrap()) as usize & 0xffff, fits, "{got}");
}

/// Network cards spread packets over their queues by ports: flows differ in them, and each keeps its own.
#[test]
fn the_source_port_of_gue_is_the_flows() {
    if is_six() {
        return; // What is of IPv4 would be translated.
    }
    let versions = Versions { inner_six: false, outer_six: false };
    let mut plane = versions.plane(Tunnel::Gue(6080));
    let mut ports = BTreeSet::new();
    for port in 0..100 {
        let client = SocketAddrV4::new(*CLIENT.ip(), 20_000 + port);
        let of = |frame: Frame, plane: &mut TestPlane| source_port(versions, &plane.run(&frame));
        let first = of(tcp(client, SERVICE).syn(), &mut plane);
        assert_eq!(of(tcp(client, SERVICE).data("more"), &mut plane), first);
        assert!(first >= 0xc000, "{first} is no dynamic port (RFC 6335)");
        ports.insert(first);
    }
    assert!(ports.len() > 90, "{ports:?}");
}
