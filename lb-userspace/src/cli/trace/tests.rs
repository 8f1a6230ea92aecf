// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the command.

use clap::Parser;
use pcap_file::pcapng::{
    Block, PcapNgReader,
    blocks::{enhanced_packet::EnhancedPacketOption, interface_description::InterfaceDescriptionOption},
};

use super::*;
use crate::api::trace::Direction;

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    args: TraceArgs,
}

fn question(words: &str) -> Result<TraceQuestion, Failure> {
    Words::try_parse_from(["trace"].into_iter().chain(words.split_whitespace())).unwrap().args.question()
}

fn packet(reason: &str, interface: &str) -> TracedPacket {
    let mut packet = TracedPacket {
        time: 1_764_454_543_123,
        nanoseconds: 456_789,
        interface: interface.to_owned(),
        egress: Some("eth1".to_owned()),
        direction: Direction::Request,
        protocol: Some("tcp".to_owned()),
        source: Some("198.51.100.7:40000".to_owned()),
        destination: Some("192.0.2.100:80".to_owned()),
        client: Some("198.51.100.7:40000".to_owned()),
        service: Some("tcp 192.0.2.100:80".to_owned()),
        real: Some("10.0.0.11:80".to_owned()),
        method: Some("dr".to_owned()),
        reason: reason.to_owned(),
        verdict: "sent".to_owned(),
        action: "XDP_REDIRECT".to_owned(),
        length: 60,
        frame: "02020202".to_owned(),
        text: String::new(),
    };
    packet.text = packet.sentence();
    packet
}

#[test]
fn options_become_a_question() {
    let question = question(
        "--service tcp 192.0.2.100:80 --real 10.0.0.11 --client 198.51.100.7 --reason no_real --reason all_down \
         --flow tcp 198.51.100.7:40000 192.0.2.100:80 --rate 5 --snaplen 64 --for 30s",
    )
    .unwrap();
    assert_eq!(question.service.unwrap().to_string(), "tcp 192.0.2.100:80");
    assert_eq!(question.real.unwrap().to_string(), "10.0.0.11");
    assert_eq!(question.client.unwrap().to_string(), "198.51.100.7/32");
    assert_eq!(question.reasons, ["no_real", "all_down"]);
    assert_eq!(question.flow.unwrap().client.to_string(), "198.51.100.7:40000");
    assert_eq!((question.rate, question.snaplen, question.seconds), (5, Some(64), 30));
}

#[test]
fn wrong_options_are_refused_with_their_values() {
    for (words, message) in [
        ("--reason lost", "there is no reason lost"),
        ("--for 2h", "a trace of 7200 s is longer than an hour"),
        ("--flow tcp 198.51.100.7 192.0.2.100:80", "has no port"),
        ("--flow icmp 198.51.100.7:1 192.0.2.100:80", "is not a protocol"),
        ("--service tcp 192.0.2.100", "has no port"),
    ] {
        let failure = question(words).unwrap_err();
        assert!(failure.message.contains(message), "{words}: {}", failure.message);
    }
    assert!(Words::try_parse_from(["trace", "--client", "198.51.100.0/40"]).is_err());
}

#[test]
fn a_line_has_the_packet_and_the_verdict() {
    assert_eq!(
        line(&packet("forwarded", "eth0")),
        "22:15:43.123 eth0 tcp 198.51.100.7:40000 > 192.0.2.100:80 60 B  forwarded: sent to real 10.0.0.11:80 by dr \
         out of eth1, service tcp 192.0.2.100:80"
    );
}

#[test]
fn a_reply_names_real_and_client() {
    let reply = TracedPacket {
        direction: Direction::Reply,
        method: Some("nat".to_owned()),
        ..packet("forwarded", "eth1")
    };
    assert_eq!(
        reply.sentence(),
        "forwarded: sent as reply of real 10.0.0.11:80 by nat to client 198.51.100.7:40000 out of eth1, service tcp \
         192.0.2.100:80"
    );
}

#[test]
fn a_capture_has_the_time_the_interface_and_a_comment() {
    let mut file = Vec::new();
    let mut capture = Capture::begin(&mut file).unwrap();
    for packet in [packet("forwarded", "eth0"), packet("no_real", "eth1"), packet("forwarded", "eth0")] {
        capture.put(&packet).unwrap();
    }
    drop(capture);
    let mut reader = PcapNgReader::new(&*file).unwrap();
    let (mut names, mut comments) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(interface) => {
                names.extend(interface.options.iter().filter_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                }));
                assert!(interface.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
            }
            Block::EnhancedPacket(packet) => {
                assert_eq!((packet.original_len, &*packet.data), (60, &[2; 4][..]));
                assert_eq!(packet.timestamp.as_nanos(), 1_764_454_543_123_456_789);
                for option in packet.options {
                    if let EnhancedPacketOption::Comment(comment) = option {
                        comments.push((packet.interface_id, comment.into_owned()));
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names, ["eth0", "eth1"]);
    let reasons: Vec<_> = comments.iter().map(|(id, text)| (*id, text.split(':').next().unwrap())).collect();
    assert_eq!(reasons, [(0, "forwarded"), (1, "no_real"), (0, "forwarded")]);
}

#[test]
fn the_last_line_says_what_was_not_shown() {
    let counts = |limited, lost| TraceCounts { selected: 100, limited, lost };
    assert_eq!(summary(10, &counts(0, 0)), "10 packets traced");
    assert_eq!(
        summary(10, &counts(90, 2)),
        "10 packets traced; 90 of 100 were beyond --rate; 2 samples were lost"
    );
}
