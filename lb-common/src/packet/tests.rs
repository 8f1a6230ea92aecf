// SPDX-License-Identifier: MIT OR GPL-2.0-only
use std::cell::RefCell;

use etherparse::{IpNumber, Ipv4Options, PacketBuilder};
use proptest::prelude::*;

use super::*;

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

fn of(bytes: &[u8]) -> Result<Parsed, Reason> {
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
        assert_eq!(parsed.l4, ETHERNET_LEN + IPV4_LEN + options.len());
        assert_eq!(parsed.length as usize, IPV4_LEN + options.len() + 20 + 5);
        assert_eq!(parsed.tcp_flags, crate::track::flags::SYN);
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
fn a_tunnel_header_is_what_etherparse_reads() {
    let (source, destination) = (Be32::from_bytes([10, 0, 0, 1]), Be32::from_bytes([10, 0, 0, 11]));
    let bytes = RefCell::new(vec![0; IPV4_LEN]);
    store_words::<20, 5>(&bytes, 0, tunnel_header(1500, 0x2e, source, destination)).unwrap();
    let (read, _) = etherparse::Ipv4Header::from_slice(&bytes.borrow()).unwrap();
    assert_eq!((read.total_len, read.time_to_live, read.dont_fragment), (1500, 64, true));
    assert_eq!(read.header_checksum, read.calc_header_checksum());
}

proptest! {
    #[test]
    fn any_bytes_parse_or_not_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = of(&bytes);
    }

    #[test]
    fn any_damage_to_a_header_is_survived(at in 0usize..54, byte: u8, cut in 0usize..60) {
        let mut frame = tcp_frame(&[]);
        frame[at] = byte;
        frame.truncate(cut.max(1));
        if let Ok(parsed) = of(&frame) && parsed.part != Part::Truncated {
            prop_assert!(parsed.l4 + 20 <= frame.len() || parsed.part == Part::Later
                || parsed.flow.protocol != u32::from(protocol::TCP));
            prop_assert!(ETHERNET_LEN + parsed.length as usize <= frame.len());
        }
    }
}
