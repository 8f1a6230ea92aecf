// SPDX-License-Identifier: MIT OR GPL-2.0-only
use std::cell::RefCell;

use etherparse::{IpNumber, Ipv4Options, PacketBuilder};
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    checksum::Delta,
    wire::{Be32, Be128, MacPair},
};

const CLIENT: [u8; 4] = [192, 0, 2, 10];
const VIP: [u8; 4] = [192, 0, 2, 100];

fn tcp_frame(options: &[u8]) -> Vec<u8> {
    let mut ip = etherparse::Ipv4Header::new(0, 64, IpNumber::TCP, CLIENT, VIP).unwrap();
    ip.options = Ipv4Options::try_from(options).unwrap();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ip(etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default()))
        .tcp(40000, 80, 1, 1000)
        .syn()
        .write(&mut frame, b"hello")
        .unwrap();
    frame
}

fn of(bytes: &[u8]) -> Result<Parsed<Be32>, Reason> {
    parse(&RefCell::new(bytes.to_vec()))
}

#[test]
fn a_tcp_packet_is_taken_apart_with_and_without_options() {
    for options in [&[][..], &[1, 1, 1, 1], &[1; 40]] {
        let parsed = of(&tcp_frame(options)).unwrap();
        assert_eq!(
            parsed.flow,
            FlowKey::new(
                Be32::from_bytes(CLIENT),
                Be32::from_bytes(VIP),
                Be16::new(40000),
                Be16::new(80),
                protocol::TCP
            )
        );
        assert_eq!(parsed.l4(), ETHERNET_LEN + IPV4_LEN + options.len());
        assert_eq!(parsed.length as usize, IPV4_LEN + options.len() + 20 + 5);
        assert_eq!(parsed.tcp_flags, crate::packet::tcp_flags::SYN);
    }
}

#[test]
fn every_prefix_of_a_frame_is_truncated_not_misread() {
    let frame = tcp_frame(&[1; 8]);
    for n in 0..frame.len() {
        let expected = if n < ETHERNET_LEN + IPV4_LEN { Err(Reason::NotOurs) } else { Ok(Part::Truncated) };
        assert_eq!(of(&frame[..n]).map(|parsed| parsed.part), expected, "prefix of {n} bytes");
    }
    assert_eq!(of(&frame).unwrap().part, Part::Whole);
}

#[test]
fn padding_after_the_ip_packet_is_no_part_of_it() {
    let mut frame = tcp_frame(&[]);
    frame.extend([0; 6]);
    assert_eq!(of(&frame).unwrap().length, 45);
}

#[test]
fn fragments_say_which_part_they_are() {
    let mut frame = tcp_frame(&[]);
    frame[20] = 0x20;
    assert_eq!(of(&frame).unwrap().part, Part::First);
    frame[21] = 7;
    let later = of(&frame).unwrap();
    assert_eq!((later.part, later.flow.source_port), (Part::Later, Be16::ZERO));
}

#[test]
fn a_new_header_is_what_etherparse_reads() {
    let (source, destination) = (Be32::from_bytes([10, 0, 0, 1]), Be32::from_bytes([10, 0, 0, 11]));
    let bytes = RefCell::new(vec![0; ETHERNET_LEN + IPV4_LEN]);
    let header = Header { length: 1500, traffic_class: 0x2e, protocol: protocol::IPIP, source, destination };
    Be32::write(&bytes, &header).unwrap();
    let (read, _) = etherparse::Ipv4Header::from_slice(&bytes.borrow()[ETHERNET_LEN..]).unwrap();
    assert_eq!((read.total_len, read.time_to_live, read.dont_fragment), (1500, 64, true));
    assert_eq!(read.header_checksum, read.calc_header_checksum());
}

#[test]
fn a_new_ipv6_header_is_what_etherparse_reads() {
    let address = |last| Be128::from_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    let (source, destination) = (address(1), address(2));
    let bytes = RefCell::new(vec![0xee; ETHERNET_LEN + IPV6_LEN]);
    let header = Header { length: 1500, traffic_class: 0x2e, protocol: protocol::IPV6, source, destination };
    Be128::write(&bytes, &header).unwrap();
    let (read, _) = etherparse::Ipv6Header::from_slice(&bytes.borrow()[ETHERNET_LEN..]).unwrap();
    assert_eq!((read.payload_length, read.hop_limit, read.traffic_class), (1460, 64, 0x2e));
    assert_eq!((read.next_header, read.flow_label.value()), (IpNumber::IPV6, 0));
    assert_eq!((read.source[15], read.destination[15]), (1, 2));
}

/// Returns a frame with these extension headers before `rest`, whose protocol is `last`.
fn ipv6_frame(chain: &[(u8, &[u8])], last: u8, rest: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    let following = chain.iter().skip(1).map(|(number, _)| *number).chain([last]);
    for ((_, bytes), next) in chain.iter().zip(following) {
        payload.push(next);
        payload.extend(*bytes);
    }
    payload.extend(rest);
    let mut frame = [&[2; 6][..], &[4; 6], &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend([chain.first().map_or(last, |(number, _)| *number), 64]);
    frame.extend([[0x20; 16], [0x30; 16]].concat());
    frame.extend(payload);
    frame
}

fn of6(bytes: &[u8]) -> Result<Parsed<Be128>, Reason> {
    parse(&RefCell::new(bytes.to_vec()))
}

/// Sixteen bytes of options: the length counts words of eight bytes after the first word.
const OPTIONS: &[u8] = &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const AT_ITS_END: &[u8] = &[0, 4, 0, 0, 0, 0, 0];
const ON_THE_WAY: &[u8] = &[0, 4, 1, 0, 0, 0, 0];
const FIRST: &[u8] = &[0, 0, 1, 0, 0, 0, 7];
const LATER: &[u8] = &[0, 0, 8, 0, 0, 0, 7];
/// 1,016 bytes with the number of the next header.
const LONG: [u8; 1015] = {
    let mut options = [0; 1015];
    options[0] = 126;
    options
};
/// 1,032 bytes, eight more than a number of ten bits holds.
const LONGER: [u8; 1031] = {
    let mut options = [0; 1031];
    options[0] = 128;
    options
};
const SHORT: &[u8] = &[0; 7];
const WHOLE: &[u8] = &[0, 0, 0, 0, 0, 0, 7];

#[rstest]
#[case::none(&[], Part::Whole, 0)]
#[case::hop_by_hop(&[(0, OPTIONS)], Part::Whole, 16)]
#[case::destination(&[(60, OPTIONS), (60, OPTIONS)], Part::Whole, 32)]
#[case::routed(&[(0, OPTIONS), (43, AT_ITS_END)], Part::Whole, 24)]
#[case::on_its_way(&[(0, OPTIONS), (43, ON_THE_WAY)], Part::Hidden, 16)]
#[case::first(&[(60, OPTIONS), (44, FIRST)], Part::First, 24)]
#[case::later(&[(44, LATER)], Part::Later, 8)]
#[case::a_fragment_that_is_whole(&[(44, WHOLE), (60, OPTIONS)], Part::Whole, 24)]
#[case::authenticated(&[(51, OPTIONS)], Part::Hidden, 0)]
#[case::six(&[(60, OPTIONS); 6], Part::Whole, 96)]
#[case::too_many(&[(60, OPTIONS); 7], Part::Hidden, 96)]
#[case::a_fragment_too_many(&[(60, OPTIONS), (60, OPTIONS), (60, OPTIONS), (60, OPTIONS), (60, OPTIONS), (60, OPTIONS), (44, LATER)], Part::Hidden, 96)]
#[case::as_long_as_may_be(&[(60, &LONG[..1015])], Part::Whole, 1016)]
#[case::too_long(&[(60, &LONG[..1015]), (60, SHORT)], Part::Hidden, 1016)]
#[case::too_long_by_a_fragment(&[(60, &LONG[..1015]), (44, LATER)], Part::Hidden, 1016)]
#[case::too_long_at_once(&[(60, &LONGER[..])], Part::Hidden, 0)]
fn extension_headers_are_walked_over(
    #[case] chain: &[(u8, &[u8])],
    #[case] part: Part,
    #[case] length: usize,
) {
    let frame = ipv6_frame(chain, protocol::UDP, &[0x12, 0x34, 0, 80, 0, 8, 0, 0]);
    let parsed = of6(&frame).unwrap();
    assert_eq!((parsed.part, parsed.l4()), (part, ETHERNET_LEN + IPV6_LEN + length));
    let ports = (parsed.flow.source_port.get(), parsed.flow.destination_port.get());
    let known = matches!(part, Part::Whole | Part::First);
    assert_eq!(ports, if known { (0x1234, 80) } else { (0, 0) });
    assert_eq!(parsed.length as usize, frame.len() - ETHERNET_LEN);
    for n in 0..frame.len() {
        let short = of6(&frame[..n]).map(|parsed| parsed.part);
        let expected = if n < ETHERNET_LEN + IPV6_LEN { Err(Reason::NotOurs) } else { Ok(Part::Truncated) };
        assert!(short == expected, "{n} bytes: {short:?}");
    }
}

#[test]
fn what_is_no_transport_of_ours_is_not_ours() {
    for protocol in [41, 47, 50, 59, 33] {
        assert_eq!(of6(&ipv6_frame(&[(60, OPTIONS)], protocol, &[0; 20])).unwrap_err(), Reason::NotOurs);
    }
}

proptest! {
    #[test]
    fn any_bytes_parse_or_not_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = of(&bytes);
    }

    #[test]
    fn any_chain_of_extensions_is_survived(next: u8, bytes in proptest::collection::vec(any::<u8>(), 0..1400)) {
        let frame = ipv6_frame(&[], next, &bytes);
        if let Ok(parsed) = of6(&frame) {
            prop_assert!(parsed.l4() <= frame.len() || parsed.part == Part::Truncated || parsed.part == Part::Hidden);
        }
    }

    #[test]
    fn any_damage_to_a_header_is_survived(at in 0usize..54, byte: u8, cut in 0usize..60) {
        let mut frame = tcp_frame(&[]);
        frame[at] = byte;
        frame.truncate(cut.max(1));
        if let Ok(parsed) = of(&frame) && parsed.part != Part::Truncated {
            prop_assert!(parsed.l4() + 20 <= frame.len() || parsed.part == Part::Later
                || parsed.flow.protocol != u32::from(protocol::TCP));
            prop_assert!(ETHERNET_LEN + parsed.length as usize <= frame.len());
        }
    }
}

/// Checks that the fast way parses a packet as the general one does, or not at all.
fn parses_alike<A: Ip + core::fmt::Debug>(frame: &[u8]) -> bool {
    let frame = RefCell::new(frame.to_vec());
    let Some(ordinary) = ordinary::parse::<A>(&frame) else { return false };
    assert_eq!(format!("{ordinary:?}"), format!("{:?}", parse_any::<A>(&frame).unwrap()));
    true
}

/// Checks that a hop changes a packet as the steps of the general way do.
fn hops_alike<A: Ip>(frame: &[u8]) {
    let macs = MacPair([0x0101_0101, 0x0202_0202, 0x0303_0303]);
    let [fast, general] = [(); 2].map(|()| RefCell::new(frame.to_vec()));
    let ttl = frame[ETHERNET_LEN + A::TTL];
    assert_eq!(A::hop(&fast, macs), ttl > 1);
    if ttl > 1 {
        A::decrement_ttl(&general, Delta::new()).unwrap();
        address_frame(&general, macs).unwrap();
    }
    assert_eq!(fast, general);
}

#[test]
fn a_hop_changes_every_checksum_as_the_general_way_does() {
    let mut frame = tcp_frame(&[]);
    for checksum in 0..=u16::MAX {
        frame[ETHERNET_LEN + 10..ETHERNET_LEN + 12].copy_from_slice(&checksum.to_be_bytes());
        hops_alike::<Be32>(&frame);
    }
}

#[test]
fn ordinary_packets_are_parsed_in_the_fast_way() {
    assert!(parses_alike::<Be32>(&tcp_frame(&[])));
    assert!(!parses_alike::<Be32>(&tcp_frame(&[1; 4])));
    assert!(!parses_alike::<Be32>(&tcp_frame(&[])[..53]));
}

proptest! {
    #[test]
    fn the_fast_way_agrees_with_the_general_one(
        mut bytes in prop::collection::vec(any::<u8>(), 54..120),
        protocol in prop::sample::select(vec![6_u8, 17, 1, 132]),
        length in 0_u16..110,
        fragment in prop::sample::select(vec![0_u16, 0x4000, 0x2000, 1]),
    ) {
        bytes[ETHERNET_LEN] = 0x45;
        bytes[ETHERNET_LEN + 9] = protocol;
        bytes[ETHERNET_LEN + 2..ETHERNET_LEN + 4].copy_from_slice(&length.to_be_bytes());
        bytes[ETHERNET_LEN + 6..ETHERNET_LEN + 8].copy_from_slice(&fragment.to_be_bytes());
        parses_alike::<Be32>(&bytes);
        hops_alike::<Be32>(&bytes);
        bytes[ETHERNET_LEN] = 0x60;
        bytes[ETHERNET_LEN + 6] = protocol;
        bytes[ETHERNET_LEN + 4..ETHERNET_LEN + 6].copy_from_slice(&length.saturating_sub(40).to_be_bytes());
        parses_alike::<Be128>(&bytes);
        hops_alike::<Be128>(&bytes);
    }
}
