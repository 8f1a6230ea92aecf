// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets of no service: passed unmodified, and not counted.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, ArpPacket, EtherType, Ethernet2Header, IpNumber, PacketBuilder,
};
use lb_model::Forward::{self, Dr, Fnat, Nat, Tun};
use lb_tests::packet::{
    CLIENT, DIP, Frame, PORT, RealServer, SERVICE, TestPlane, VIP, net::CLIENT_LINK, ping, raw, tcp, tunnel,
    udp,
};
use rstest::rstest;

use crate::scene::{ask, services};

#[rstest]
#[case::another_port_of_the_vip(tcp(CLIENT, SocketAddrV4::new(VIP, 22)).syn())]
#[case::port_zero_of_the_vip(tcp(CLIENT, SocketAddrV4::new(VIP, 0)).syn())]
#[case::tcp_to_another_address(tcp(CLIENT, SocketAddrV4::new(DIP, PORT)).syn())]
#[case::udp_to_another_address(udp(CLIENT, SocketAddrV4::new(DIP, PORT)))]
#[case::from_the_vip(tcp(SERVICE, CLIENT).syn_ack())]
#[case::at_its_last_hop(tcp(CLIENT, SocketAddrV4::new(DIP, PORT)).ttl(1))]
#[case::with_options(tcp(CLIENT, SocketAddrV4::new(DIP, PORT)).options(&[1; 40]))]
#[case::broadcast(udp(
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
    SocketAddrV4::new(Ipv4Addr::BROADCAST, 67)
))]
#[case::a_ping_of_the_director(ping(*CLIENT.ip(), DIP))]
#[case::a_fragment_for_the_director(udp(CLIENT, SocketAddrV4::new(DIP, 53)).data([0; 99]).part(8..64))]
#[case::gre_to_the_vip(raw(IpNumber::GRE, *CLIENT.ip(), VIP, &[0; 40]))]
#[case::sctp_to_the_vip(raw(IpNumber::SCTP, *CLIENT.ip(), VIP, &[0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0]))]
#[case::vrrp_to_the_vip(raw(IpNumber(112), *CLIENT.ip(), VIP, &[0x31; 20]))]
#[case::igmp(raw(IpNumber::IGMP, *CLIENT.ip(), Ipv4Addr::new(224, 0, 0, 1), &[0x11, 0, 0xee, 0xff, 0, 0, 0, 0]))]
#[case::a_tunnel_to_the_vip(tunnel(*CLIENT.ip(), VIP, tcp(CLIENT, SERVICE).syn()))]
#[case::a_packet_without_payload(raw(IpNumber(250), *CLIENT.ip(), VIP, &[]))]
fn packets_of_no_service(#[case] sent: Frame, #[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    let mut plane = TestPlane::new(&services(method));
    plane.run(&sent).is_untouched();
    plane.run(&sent.padded()).is_untouched();
}

fn ethernet(ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
    let header = Ethernet2Header { destination: CLIENT_LINK.to, source: CLIENT_LINK.from, ether_type };
    [&header.to_bytes()[..], payload].concat()
}

/// Returns the ARP request for the VIP.
fn arp() -> Vec<u8> {
    let ask = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: CLIENT_LINK.from,
        sender_ipv4: CLIENT.ip().octets(),
        target_mac: [0; 6],
        target_ipv4: VIP.octets(),
    };
    ethernet(EtherType::ARP, &ArpPacket::from(ask).to_bytes())
}

fn ipv6() -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(CLIENT_LINK.from, CLIENT_LINK.to)
        .ipv6([0x20; 16], [0x21; 16], 64)
        .tcp(CLIENT.port(), PORT, 1, 1000)
        .write(&mut frame, b"data")
        .expect("a string of bytes takes everything");
    frame
}

/// An IPv4 header with another first byte.
fn ipv4_with(version_and_length: u8) -> Vec<u8> {
    let mut frame = tcp(CLIENT, SERVICE).syn().bytes();
    frame[14] = version_and_length;
    frame
}

#[rstest]
#[case::arp(arp())]
#[case::lldp(ethernet(EtherType(0x88cc), &[2, 7, 4, 2, 0, 0, 0, 0, 1, 4, 2, 5, 1, 6, 2, 0, 120, 0, 0]))]
#[case::spanning_tree(ethernet(EtherType(0x0026), &[0x42, 0x42, 3, 0, 0, 0, 0, 0]))]
#[case::ipv6(ipv6())]
#[case::mpls(ethernet(EtherType(0x8847), &[0, 1, 1, 64, 0x45, 0, 0, 20]))]
#[case::no_payload(ethernet(EtherType::IPV4, &[]))]
#[case::version_five(ipv4_with(0x55))]
#[case::version_zero(ipv4_with(0x05))]
#[case::a_header_of_four_words(ipv4_with(0x44))]
#[case::a_header_of_none(ipv4_with(0x40))]
fn frames_that_are_no_packets_of_ours(#[case] sent: Vec<u8>, #[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    TestPlane::new(&services(method)).run_bytes(&sent).is_untouched();
}

/// A client may contact a nat real by its own address, and the real may contact any host.
#[test]
fn a_connection_straight_to_a_nat_real() {
    let real = RealServer::by(Nat, 1);
    let mut plane = TestPlane::new(&services(Nat));
    let another = SocketAddrV4::new(*CLIENT.ip(), 40_001);
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    plane.run(&tcp(another, real.0).syn()).is_untouched();
    plane.run(&real.answers(tcp(real.0, another).syn_ack())).is_untouched();
    plane.run(&real.answers(udp(SocketAddrV4::new(real.ip(), 5353), CLIENT))).is_untouched();
}

#[test]
fn a_director_without_services_lets_everything_through() {
    let mut plane = TestPlane::new(&[]);
    for sent in [tcp(CLIENT, SERVICE).syn(), udp(CLIENT, SERVICE), ping(*CLIENT.ip(), VIP)] {
        plane.run(&sent).is_untouched();
    }
}

#[test]
fn nothing_is_left_of_a_service_that_was_removed() {
    let mut plane = TestPlane::new(&services(Nat));
    ask(&mut plane, &tcp(CLIENT, SERVICE).syn());
    plane.set(&[]);
    let real = RealServer::by(Nat, 1);
    plane.run(&tcp(CLIENT, SERVICE)).is_untouched();
    plane.run(&real.answers(tcp(real.0, CLIENT))).is_untouched();
    assert_eq!(plane.flows(), 0);
}
