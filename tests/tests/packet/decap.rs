// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decapsulator of real servers: removes the outer header of a tunnelled packet, and changes nothing
//! else.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{Icmpv4Type, IpNumber, icmpv4::DestUnreachableHeader};
use lb_dataplane::decap::{Decap, Ends};
use lb_tests::{
    object,
    packet::{
        Action, CLIENT, DIP, Frame, RealServer, SERVICE, VIP, error, judge, ping, plane, raw, tcp, tunnel,
        udp,
        version::{self, is_six},
    },
};
use rstest::rstest;

const RIP: Ipv4Addr = RealServer::number(1).ip();

/// The decapsulator of a real server at [`RIP`], which accepts tunnels from these directors, or from all.
pub fn decap(directors: &[Ipv4Addr]) -> Decap {
    object::provide();
    let mut decap = Decap::load().expect("the decapsulator loads, as root");
    let both = |ip: Ipv4Addr| [ip.into(), version::address(ip.into())];
    let here = both(RIP).into();
    let directors = directors.iter().copied().flat_map(both).collect();
    decap.admit(&Ends { here, directors }).expect("the map can be written");
    decap
}

#[track_caller]
fn passes_as(sent: &[u8], expected: &[u8]) {
    let mut decap = decap(&[]);
    let (action, frame) = plane::run(decap.program(), sent);
    let [sent, got, wanted] = [sent, &frame, expected].map(judge::decode);
    assert!(
        action == Action::Pass && frame == expected,
        "sent:\n{sent}came out, {action:?}:\n{got}expected:\n{wanted}"
    );
}

#[rstest]
#[case::syn(tcp(CLIENT, SERVICE).syn())]
#[case::data(tcp(CLIENT, SERVICE).data([b'x'; 1440]))]
#[case::datagram(udp(CLIENT, SERVICE).data("question"))]
#[case::padded(udp(CLIENT, SERVICE).padded())]
#[case::inner_options(udp(CLIENT, SERVICE).options(&[1; 40]).data("question"))]
#[case::inner_fragment(udp(CLIENT, SERVICE).data([1; 999]).part(504..800))]
#[case::inner_ping(ping(*CLIENT.ip(), VIP))]
#[case::inner_error(error(
    Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 }),
    *CLIENT.ip(), VIP, &tcp(SERVICE, CLIENT)
))]
#[case::a_tunnel_in_the_tunnel(tunnel(*CLIENT.ip(), VIP, tcp(CLIENT, SERVICE)))]
fn the_outer_header_goes(#[case] inner: Frame) {
    passes_as(&tunnel(DIP, RIP, inner.clone()).bytes(), &inner.bytes());
}

#[rstest]
#[case::no_tunnel(tcp(CLIENT, SERVICE).syn())]
#[case::a_ping(ping(DIP, RIP))]
#[case::ipv4_that_says_it_is_ipv6(raw(IpNumber::IPV6, DIP, RIP, &[0x45; 60]))]
#[case::neither_version(raw(IpNumber::IPV4, DIP, RIP, &[0x50; 60]))]
#[case::gre(raw(IpNumber::GRE, DIP, RIP, &[0x45; 60]))]
#[case::outer_options(tunnel(DIP, RIP, tcp(CLIENT, SERVICE)).options(&[1; 4]))]
#[case::an_outer_fragment(tunnel(DIP, RIP, tcp(CLIENT, SERVICE).data([1; 99])).part(0..64))]
#[case::a_later_outer_fragment(tunnel(DIP, RIP, tcp(CLIENT, SERVICE).data([0x45; 99])).part(64..139))]
#[case::an_empty_tunnel(raw(IpNumber::IPV4, DIP, RIP, &[]))]
#[case::udp_to_itself(udp(CLIENT, SocketAddrV4::new(RIP, 4)))]
fn anything_else_stays_as_it_is(#[case] sent: Frame) {
    passes_as(&sent.bytes(), &sent.bytes());
}

/// A host that routes or bridges tunnels decapsulates only its own.
#[rstest]
#[case::for_another_host(tunnel(DIP, Ipv4Addr::new(10, 0, 0, 99), tcp(CLIENT, SERVICE)), &[])]
#[case::from_a_stranger(tunnel(Ipv4Addr::new(10, 0, 0, 2), RIP, tcp(CLIENT, SERVICE)), &[DIP])]
fn a_tunnel_of_somebody_else_stays(#[case] sent: Frame, #[case] directors: &[Ipv4Addr]) {
    let sent = sent.bytes();
    let (action, frame) = plane::run(decap(directors).program(), &sent);
    assert_eq!((action, frame), (Action::Pass, sent));
}

#[test]
fn a_tunnel_of_the_director_is_taken() {
    let inner = tcp(CLIENT, SERVICE);
    let (action, frame) = plane::run(decap(&[DIP]).program(), &tunnel(DIP, RIP, inner.clone()).bytes());
    assert_eq!((action, frame), (Action::Pass, inner.bytes()));
}

#[test]
fn a_wrong_checksum_of_the_outer_header_stays() {
    if is_six() {
        return; // There is none.
    }
    let mut sent = tunnel(DIP, RIP, tcp(CLIENT, SERVICE)).bytes();
    sent[24] ^= 1;
    passes_as(&sent, &sent);
}

/// RFC 6040, section 4.2: all sixteen pairs of marks.
#[rstest]
fn congestion_marks_are_carried_over(#[values(0, 1, 2, 3)] inner: u8, #[values(0, 1, 2, 3)] outer: u8) {
    // The bits in the first two bytes of either header.
    let mark = |bytes: &mut [u8], bits: u8| {
        if is_six() {
            bytes[1] = bytes[1] & 0xcf | bits << 4;
        } else {
            bytes[1] = bytes[1] & 0xfc | bits;
            bytes[10..12].fill(0);
            let sum: u32 =
                bytes[..20].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        }
    };
    let header = if is_six() { 40 } else { 20 };
    let packet = |bits: u8| {
        let mut bytes = tcp(CLIENT, SERVICE).data("data").bytes();
        mark(&mut bytes[14..], bits);
        bytes
    };
    let mut sent = tunnel(DIP, RIP, tcp(CLIENT, SERVICE).data("data")).bytes();
    mark(&mut sent[14..], outer);
    mark(&mut sent[14 + header..], inner);
    let expected = match (inner, outer) {
        (0, 3) => None,
        (0, _) => Some(0),
        (_, 3) => Some(3),
        (2, 1) => Some(1),
        (inner, _) => Some(inner),
    };
    let (action, frame) = plane::run(decap(&[]).program(), &sent);
    match expected {
        None => assert_eq!(action, Action::Drop),
        Some(bits) => assert_eq!((action, frame), (Action::Pass, packet(bits))),
    }
}

/// The kernel gets a packet that is shorter than its headers announce, with or without the outer header.
#[test]
fn a_frame_of_any_length_passes() {
    let mut decap = decap(&[]);
    let sent = tunnel(DIP, RIP, tcp(CLIENT, SERVICE).data("data")).bytes();
    let header = if is_six() { 40 } else { 20 };
    for length in 14..sent.len() {
        let (action, frame) = plane::run(decap.program(), &sent[..length]);
        let stripped = [&sent[..14], sent.get(14 + header..length).unwrap_or_default()].concat();
        assert_eq!(action, Action::Pass);
        let enough = length >= 14 + 2 * header;
        assert_eq!(frame, if enough { &stripped } else { &sent[..length] }, "{length} bytes");
    }
}

#[rstest]
fn the_outer_header_goes_that_is_of_another_version(#[values(false, true)] six: bool) {
    let address = |ip: Ipv4Addr, six| if six { version::address(ip.into()) } else { ip.into() };
    let socket =
        |socket: SocketAddrV4, six| std::net::SocketAddr::new(address(*socket.ip(), six), socket.port());
    let inner = tcp(socket(CLIENT, six), socket(SERVICE, six)).data("data");
    let outer = tunnel(address(DIP, !six), address(RIP, !six), inner.clone());
    if version::is_six() {
        return; // What is of IPv4 would be translated.
    }
    passes_as(&outer.bytes(), &inner.bytes());
}
