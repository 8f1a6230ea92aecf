// SPDX-License-Identifier: MIT OR Apache-2.0
//! GRE and GUE tunnels, of either version for clients of either version, from the director to the
//! decapsulator.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
};

use etherparse::{IpNumber, checksum::Sum16BitWords};
use lb_common::{reason::Reason, schema::Settings};
use lb_control::tunnel_sources::TunnelSources;
use lb_model::{Forward::Tun, Real, Tunnel};
use lb_tests::packet::{
    Action, CLIENT, DIP, Frame, Got, RealServer, SERVICE, TestPlane, plane, raw, tcp, tcp_service, udp,
    udp_service,
    version::{is_six, socket},
};
use rstest::rstest;

const REAL: RealServer = RealServer::number(1);
/// An Ethernet header.
const ETHERNET: usize = 14;

/// IP versions of the inner packet and of the outer header.
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
        self.plane_with(Settings::DEFAULT, tunnel)
    }

    fn plane_with(self, settings: Settings, tunnel: Tunnel) -> TestPlane {
        let pools = [tcp_service(), udp_service()].map(|pool| {
            pool.vip(self.inner(SERVICE).ip()).with(|service| {
                service.reals.insert(self.outer(REAL.0), Real { tunnel, ..Real::new(Tun, 1) });
            })
        });
        TestPlane::with_settings(settings, &pools)
    }

    /// Returns the frame that the real gets; for GUE with the source port that the director has chosen.
    fn received(self, sent: &Frame, tunnel: Tunnel, got: &Got) -> Frame {
        let inner = sent.clone().hop().bytes()[ETHERNET..ETHERNET + sent.length()].to_vec();
        let (ether_type, number) = if self.inner_six { ([0x86, 0xdd], 41) } else { ([8, 0], 4) };
        let (protocol, between) = match tunnel {
            Tunnel::Ipip => (IpNumber(number), Vec::new()),
            Tunnel::Gre { csum: false } => (IpNumber::GRE, [&[0, 0][..], &ether_type].concat()),
            Tunnel::Gre { csum: true } => {
                let header = [&[0x80, 0][..], &ether_type, &[0; 4]].concat();
                let sum = Sum16BitWords::new().add_slice(&header).add_slice(&inner).ones_complement();
                (IpNumber::GRE, [&header[..4], &sum.to_ne_bytes(), &[0; 2]].concat())
            }
            Tunnel::Gue { port, csum } => {
                let length = u16::try_from(inner.len() + 12).expect("a packet is smaller");
                let source = source_port(self, got).to_be_bytes();
                let mut udp = [source, port.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
                udp.extend([0, number, 0, 0]);
                if csum {
                    let pseudo = [&[0, 17][..], &length.to_be_bytes()].concat();
                    let ends = [DIP, REAL.ip()]
                        .map(|ip| octets_of(self.outer(SocketAddrV4::new(ip, 0)).ip()))
                        .concat();
                    let parts = [&pseudo, &ends, &udp, &inner];
                    let sum = parts.iter().fold(Sum16BitWords::new(), |sum, part| sum.add_slice(part));
                    udp[6..8].copy_from_slice(&sum.to_ones_complement_with_no_zero().to_ne_bytes());
                }
                (IpNumber::UDP, udp)
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

fn octets_of(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
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
    #[values("ipip", "gre", "gre:csum", "gue:6080", "gue:6080:csum", "gue:9")] tunnel: &str,
    #[values(0, 1, 2, 3, 800, 1300)] length: usize,
) {
    if is_six() {
        return; // What is of IPv4 would be translated.
    }
    let tunnel: Tunnel = tunnel.parse().unwrap();
    let versions = Versions { inner_six, outer_six };
    let (client, service) = (versions.inner(CLIENT), versions.inner(SERVICE));
    let mut plane = versions.plane(tunnel);
    let mut decap = crate::decap::decap(&[]);
    for sent in
        [tcp(client, service), udp(client, service)].map(|frame| frame.data(vec![7; length]).tos(0xb9))
    {
        let got = plane.run(&sent);
        got.reaches_a_real_as(&versions.received(&sent, tunnel, &got));

        let (action, arrived) = plane::run(decap.program(), &got.frame);
        assert_eq!(action, Action::Pass);
        let taken = if tunnel.port() == 9 {
            // UDP packets to another port than that of GUE are no tunnel.
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
    #[values(("ipip", 0), ("gre", 4), ("gre:csum", 8), ("gue", 12), ("gue:csum", 12))] tunnel: (&str, usize),
) {
    if is_six() {
        return; // What is of IPv4 would be translated.
    }
    let versions = Versions { inner_six, outer_six };
    let (client, service) = (versions.inner(CLIENT), versions.inner(SERVICE));
    let fits = 1500 - versions.header() - tunnel.1;
    let headers = if inner_six { 40 + 20 } else { 20 + 20 };
    let mut plane = versions.plane(tunnel.0.parse().unwrap());
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
    let mut plane = versions.plane(Tunnel::Gue { port: 6080, csum: false });
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

/// Outer sources spread packets by addresses too, and are the only such field of IP in IP.
#[rstest]
fn the_source_of_a_tunnel_is_the_flows_if_a_network_is_given(
    #[values(false, true)] inner_six: bool,
    #[values(false, true)] outer_six: bool,
    #[values("ipip", "gre:csum", "gue")] tunnel: &str,
) {
    if is_six() {
        return; // What is of IPv4 would be translated.
    }
    let versions = Versions { inner_six, outer_six };
    let networks = ["10.9.0.0/16", "fd00:9::/64"].map(|text| text.parse().expect("a network")).to_vec();
    let sources = TunnelSources::try_from(networks).expect("one of each");
    let mut plane = versions.plane_with(sources.put_in(Settings::DEFAULT), tunnel.parse().unwrap());
    let network: &[u8] = if outer_six { &[0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0] } else { &[10, 9] };
    let mut decap = crate::decap::decap(&[]);
    let mut seen = BTreeSet::new();
    for port in 0..100 {
        let client = versions.inner(SocketAddrV4::new(*CLIENT.ip(), 20_000 + port));
        let mut source = |frame: &Frame| {
            let got = plane.run(frame);
            let at = ETHERNET + if outer_six { 8 } else { 12 };
            let source = got.frame[at..at + if outer_six { 16 } else { 4 }].to_vec();
            assert!(source.starts_with(network), "{got}");
            let (_, arrived) = plane::run(decap.program(), &got.frame);
            assert_eq!(arrived, frame.clone().hop().link(REAL.link()).bytes());
            source
        };
        let service = versions.inner(SERVICE);
        let first = source(&tcp(client, service).syn());
        assert_eq!(source(&tcp(client, service).data("more")), first);
        seen.insert(first);
    }
    assert!(seen.len() > 90, "{seen:?}");
}

#[rstest]
fn a_damaged_packet_is_not_unwrapped(
    #[values(false, true)] outer_six: bool,
    #[values("gre:csum", "gue:csum")] tunnel: &str,
) {
    if is_six() {
        return; // What is of IPv4 would be translated.
    }
    let versions = Versions { inner_six: false, outer_six };
    let mut plane = versions.plane(tunnel.parse().unwrap());
    let mut frame = plane.run(&udp(CLIENT, SERVICE).data("damaged")).frame;
    *frame.last_mut().unwrap() ^= 1;
    let mut decap = crate::decap::decap(&[]);
    assert_eq!(plane::run(decap.program(), &frame), (Action::Pass, frame));
}
