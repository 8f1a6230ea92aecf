// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Tests of the codec, with bytes and lists of Debian's Linux 6.12.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{flow_table::Phase, protocol};

/// Returns the bytes of hexadecimal digits.
fn bytes(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// The first entry of a message that a kernel sent: a `dr` connection.
const CAPTURED: &str = "0006 0024 00000083 0001 ea8e 0050 0050 00000000 00000384 0a090001 0a090064 0a090017";

/// Returns a message of version 1 with entries.
fn message(entries: &[&str]) -> Vec<u8> {
    let body: Vec<u8> = entries.iter().flat_map(|entry| bytes(entry)).collect();
    let length = (HEADER + body.len()) as u16;
    let mut message = vec![0, 7, 0, 0, entries.len() as u8, 1, 0, 0];
    message[2..4].copy_from_slice(&length.to_be_bytes());
    [message, body].concat()
}

/// Returns the entries of a message, or why they are refused.
fn read(message: &[u8]) -> Vec<Result<Connection, Refused>> {
    let entries = Message::parse(message).unwrap().entries();
    entries.map(|entry| entry.map(|entry| entry.connection)).collect()
}

fn captured() -> Connection {
    Connection {
        protocol: protocol::TCP,
        client: "10.9.0.1:60046".parse().unwrap(),
        vip: "10.9.0.100:80".parse().unwrap(),
        real: "10.9.0.23:80".parse().unwrap(),
        flags: Flags(0x83),
        state: 1,
        mark: 0,
        timeout: 900,
    }
}

#[test]
fn an_entry_of_the_kernel_is_read_and_written_byte_by_byte() {
    let message = message(&[CAPTURED]);
    assert_eq!(read(&message), [Ok(captured())]);
    let parsed = Message::parse(&message).unwrap();
    assert_eq!((parsed.version(), parsed.sync_id(), parsed.count()), (1, 7, 1));
    assert_eq!(captured().flags.method(), Some(Method::Route));
    let mut buffer = [0; MESSAGE];
    let mut writer = Writer::new(&mut buffer, 7, false).unwrap();
    assert!(writer.push(&captured(), &[]));
    assert_eq!(writer.finish().unwrap(), message);
}

#[test]
fn an_entry_of_version_0_has_neither_timeout_nor_mark() {
    let entry = "00 06 ea8e 0050 0050 0a090001 0a090064 0a090017 0183 0004";
    let with_sequence = entry.replace("0183", "0500") + &"00".repeat(24);
    let body = [bytes(entry), bytes(&with_sequence), bytes(entry)].concat();
    let message = [bytes("03 07"), ((4 + body.len()) as u16).to_be_bytes().to_vec(), body].concat();
    let parsed = Message::parse(&message).unwrap();
    assert_eq!((parsed.version(), parsed.sync_id(), parsed.count()), (0, 7, 3));
    let first = Connection { flags: Flags(0x183), state: 4, timeout: 0, ..captured() };
    assert_eq!(read(&message), [Ok(first), Ok(Connection { flags: Flags(0x500), ..first }), Ok(first)]);
    assert_eq!(parsed.entries().filter(|entry| entry.unwrap().has_sequence_data()).count(), 1);
}

#[test]
fn forty_ipv4_or_twenty_ipv6_entries_fill_a_message() {
    let v6 = |text: &str| text.parse::<SocketAddr>().unwrap();
    let wide = Connection {
        client: v6("[2001:db8::1]:60046"),
        vip: v6("[2001:db8::100]:80"),
        real: v6("[2001:db8::17]:80"),
        ..captured()
    };
    for (connection, expected) in [(captured(), 40), (wide, 20)] {
        let mut buffer = [0; MESSAGE];
        let mut writer = Writer::new(&mut buffer, 0, false).unwrap();
        let mut count = 0;
        while writer.push(&connection, &[]) {
            count += 1;
        }
        assert_eq!(count, expected);
        let read = read(writer.finish().unwrap());
        assert_eq!(read.len(), expected);
        assert!(read.into_iter().all(|entry| entry == Ok(connection)));
    }
}

/// The kernel refuses such an entry alone, and takes the one behind it.
#[rstest]
#[case::protocol("0006 0024", "0032 0024", EntryError::Protocol(50))]
#[case::state("00000083 0001", "00000083 000b", EntryError::State(11))]
#[case::udp_state("0006 0024", "0011 0024", EntryError::State(1))]
#[case::sctp_state("0006 0024 00000083 0001", "0084 0024 00000083 000e", EntryError::State(14))]
fn a_bad_value_costs_its_entry_alone(#[case] from: &str, #[case] to: &str, #[case] error: EntryError) {
    let bad = CAPTURED.replace(from, to);
    assert_ne!(bad, CAPTURED);
    assert_eq!(read(&message(&[&bad, CAPTURED])), [Err(Refused::Entry(error)), Ok(captured())]);
}

/// Returns the captured entry with parameters, and with its padding.
fn with_parameters(parameters: &str) -> String {
    let length = 36 + bytes(parameters).len();
    let padding = "00".repeat(length.next_multiple_of(4) - length);
    CAPTURED.replace("0024", &format!("{length:04x}")) + parameters + &padding
}

#[rstest]
#[case::unknown("04 01 00", Some(Refused::Entry(EntryError::UnknownParameter(4))))]
#[case::unknown_with_the_highest_bit("84 01 00", Some(Refused::Entry(EntryError::UnknownParameter(0x84))))]
#[case::optional("44 06 0a090102 9c40", None)]
#[case::optional_with_the_number_of_a_known_one(
    "42 01 00",
    Some(Refused::Entry(EntryError::PersistenceEngine))
)]
#[case::engine("03 03 736970 02 04 01020304", None)]
#[case::engine_data_alone("02 04 01020304", Some(Refused::Entry(EntryError::PersistenceEngine)))]
#[case::long_engine(
    "03 11 0000000000000000000000000000000000",
    Some(Refused::Rest(MessageError::Parameter(3)))
)]
#[case::twice("03 01 73 03 01 73", Some(Refused::Rest(MessageError::Parameter(3))))]
#[case::short_sequence("01 04 00000000", Some(Refused::Rest(MessageError::Parameter(1))))]
#[case::sequence("01 18 000000000000000000000000000000000000000000000000", None)]
#[case::without_data("44 00", Some(Refused::Rest(MessageError::ParameterLength)))]
#[case::beyond_the_entry("44 09 00", Some(Refused::Rest(MessageError::ParameterLength)))]
#[case::half("44", Some(Refused::Rest(MessageError::ParameterLength)))]
fn parameters_are_skipped_or_refused_as_by_the_kernel(#[case] text: &str, #[case] refused: Option<Refused>) {
    let entries = read(&message(&[CAPTURED, &with_parameters(text), CAPTURED]));
    let expected = match refused {
        None => vec![Ok(captured()); 3],
        Some(Refused::Entry(_)) => vec![Ok(captured()), Err(refused.unwrap()), Ok(captured())],
        // What is behind a malformed entry is lost, what is before it has been read.
        Some(Refused::Rest(_)) => vec![Ok(captured()), Err(refused.unwrap())],
    };
    assert_eq!(entries, expected);
}

#[rstest]
#[case::of_another_type(CAPTURED.replacen("0006", "0206", 1), MessageError::EntryType(2))]
#[case::of_another_version(CAPTURED.replacen("0024", "1024", 1), MessageError::EntryVersion(1))]
#[case::longer_than_the_message(CAPTURED.replacen("0024", "0028", 1), MessageError::Truncated)]
#[case::shorter_than_its_addresses(CAPTURED.replacen("0024", "0023", 1), MessageError::EntryLength(0x23))]
#[case::of_length_0(CAPTURED.replacen("0024", "0000", 1), MessageError::EntryLength(0))]
#[case::ipv6_and_short(CAPTURED.replacen("0006", "0106", 1), MessageError::EntryLength(0x24))]
#[case::cut(CAPTURED[..63].to_owned(), MessageError::Truncated)]
fn a_malformed_entry_costs_the_rest_of_the_message(#[case] bad: String, #[case] error: MessageError) {
    assert_eq!(read(&message(&[CAPTURED, &bad])), [Ok(captured()), Err(Refused::Rest(error))]);
}

#[test]
fn a_message_must_have_the_length_of_its_datagram() {
    let mut message = message(&[CAPTURED]);
    message.push(0);
    let error = Message::parse(&message).unwrap_err();
    assert_eq!(error, MessageError::Length { given: 44, actual: 45 });
    assert_eq!(Message::parse(&[0, 7, 0]).unwrap_err(), MessageError::Short);
    // A header that counts more entries than there are.
    message.truncate(44);
    message[4] = 2;
    assert_eq!(read(&message), [Ok(captured()), Err(Refused::Rest(MessageError::Truncated))]);
}

#[test]
fn the_flags_that_a_kernel_ignores_are_ignored() {
    let all = CAPTURED.replace("00000083", "ffffffff");
    assert_eq!(read(&message(&[&all]))[0].unwrap().flags, Flags(Flags::ACCEPTED));
}

#[test]
fn a_template_of_a_mark_has_the_mark_as_its_address() {
    let template = "0000 0024 00001003 0001 0000 0000 0050 00000005 0000012c 0a090000 00000005 0a090017";
    let connection = read(&message(&[template]))[0].unwrap();
    assert!(connection.is_template());
    assert_eq!(connection.template_mark(), Some(5));
    assert_eq!(captured().template_mark(), None);
}

#[test]
fn a_signature_covers_everything_before_it() {
    let mut buffer = [0; MESSAGE];
    let mut writer = Writer::new(&mut buffer, 7, true).unwrap();
    let mut data = [0; 18];
    let snat = Parameter::of_snat("10.9.1.2:40000".parse().unwrap(), &mut data);
    assert!(writer.push(&captured(), &[]) && writer.push(&captured(), &[snat]));
    let message = writer.sign(|bytes| [bytes.len() as u8; 16]).unwrap();
    assert_eq!(read(message), [Ok(captured()); 2]);
    let parsed = Message::parse(message).unwrap();
    let (signed, signature) = parsed.signature().unwrap();
    assert_eq!((signed.len(), signature), (message.len() - 16, &[signed.len() as u8; 16]));
    let last = parsed.entries().last().unwrap().unwrap();
    assert_eq!(last.parameters.snat(), Some("10.9.1.2:40000".parse().unwrap()));
    let plain = message_of(&[captured()]);
    assert!(Message::parse(&plain).unwrap().signature().is_none());
}

#[test]
fn a_signature_in_front_of_other_bytes_is_none() {
    let signed = with_parameters(&format!("4710{}", "00".repeat(16)));
    assert!(Message::parse(&message(&[&signed, CAPTURED])).unwrap().signature().is_none());
    // The padding is behind the signature.
    assert!(Message::parse(&message(&[&signed])).unwrap().signature().is_none());
}

fn message_of(connections: &[Connection]) -> Vec<u8> {
    let mut buffer = [0; MESSAGE];
    let mut writer = Writer::new(&mut buffer, 7, false).unwrap();
    assert!(connections.iter().all(|connection| writer.push(connection, &[])));
    writer.finish().unwrap().to_vec()
}

#[rstest]
#[case(protocol::TCP, "ESTABLISHED", Some(Phase::Established))]
#[case(protocol::TCP, "SYN_RECV", Some(Phase::SynReceived))]
#[case(protocol::TCP, "TIME_WAIT", Some(Phase::FinWait))]
#[case(protocol::TCP, "CLOSE_WAIT", Some(Phase::FinWait))]
#[case(protocol::TCP, "CLOSE", Some(Phase::Close))]
#[case(protocol::TCP, "LISTEN", None)]
#[case(protocol::TCP, "NONE", None)]
#[case(protocol::UDP, "UDP", Some(Phase::Udp))]
#[case(protocol::SCTP, "ESTABLISHED", Some(Phase::Established))]
#[case(protocol::SCTP, "C-ECHOED", Some(Phase::SynReceived))]
#[case(protocol::SCTP, "S-ACK-SENT", Some(Phase::FinWait))]
#[case(protocol::SCTP, "CLOSED", Some(Phase::Close))]
fn states_have_phases(#[case] protocol: u8, #[case] name: &str, #[case] phase: Option<Phase>) {
    let number = state::number(protocol, name).unwrap();
    assert_eq!(state::name(protocol, number), Some(name));
    assert_eq!(state::phase(protocol, number), phase);
}

#[test]
fn every_announced_phase_is_read_as_the_same_state() {
    for protocol in [protocol::TCP, protocol::UDP, protocol::SCTP] {
        let is_udp = protocol == protocol::UDP;
        for phase in Phase::ALL {
            let fits = matches!(phase, Phase::Udp | Phase::NewUdp) == is_udp;
            let Some((state, flags)) = state::announced(protocol, phase).filter(|_| fits) else { continue };
            assert_eq!(state::phase(protocol, state).unwrap().state(), phase.state());
            assert_eq!(flags.has(Flags::INACTIVE), !phase.state().is_active());
        }
    }
    assert_eq!(state::announced(protocol::TCP, Phase::SynReceived), None);
}

/// Lists of Debian's Linux 6.12 and ipvsadm 1.31.
#[rstest]
#[case::kernel("TCP 0A090001 EA8E 0A090064 0050 0A090017 0050 ESTABLISHED     897", Format::Kernel)]
#[case::sync("TCP 0A090001 EA8E 0A090064 0050 0A090017 0050 ESTABLISHED SYNC       897", Format::Kernel)]
#[case::ipvsadm("TCP 14:57  ESTABLISHED 10.9.0.1:60046     10.9.0.100:80      10.9.0.23:80", Format::Ipvsadm)]
fn a_line_of_a_list_is_a_connection(#[case] text: &str, #[case] format: Format) {
    let connection = Connection { flags: Flags(0), timeout: 897, ..captured() };
    assert_eq!(snapshot::line(text), Ok(Line::Connection { connection, has_engine: false, format }));
}

#[rstest]
#[case("")]
#[case("Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData")]
#[case("IPVS connection entries")]
#[case("pro expire state       source             virtual            destination")]
fn headlines_are_no_connections(#[case] text: &str) {
    assert_eq!(snapshot::line(text), Ok(Line::Heading));
}

fn listed(text: &str) -> (Connection, bool) {
    match snapshot::line(text) {
        Ok(Line::Connection { connection, has_engine, .. }) => (connection, has_engine),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn lists_have_ipv6_templates_marks_and_engines() {
    let (v6, _) = listed(
        "TCP 2001:0db8:0000:0000:0000:0000:0000:0001 EA8E 2001:0db8:0000:0000:0000:0000:0000:0100 01BB \
         2001:0db8:0000:0000:0000:0000:0000:0017 01BB FIN_WAIT        119",
    );
    assert_eq!(v6, listed("TCP 01:59 FIN_WAIT [2001:db8::1]:60046 [2001:db8::100]:443 [2001:db8::17]:443").0);
    assert_eq!((v6.state, v6.flags), (4, Flags(Flags::INACTIVE)));
    let scoped =
        listed("TCP 01:59 FIN_WAIT [2001:db8::1%3]:60046 [2001:db8::100%3]:443 [2001:db8::17]:443").0;
    assert_eq!(scoped, v6, "without scope ids");
    // An IPv4 client of an IPv6 real, by a tunnel.
    let (mixed, _) =
        listed("TCP 0A090001 EA8E 0A090064 0050 2001:0db8:0000:0000:0000:0000:0000:0017 0050 ESTABLISHED 9");
    assert!(mixed.client.is_ipv4() && mixed.real.is_ipv6());
    let (template, _) = listed("TCP 0A090000 0000 0A090064 0050 0A090017 0050 ASSURED         300");
    assert_eq!((template.is_template(), template.state, template.template_mark()), (true, 1, None));
    let (marked, _) = listed("IP  04:55  NONE        10.9.0.1:0         0.0.0.5:0          10.9.0.23:80");
    assert_eq!((marked.template_mark(), marked.timeout), (Some(5), 295));
    let (call, engine) = listed("UDP 0A090001 13C4 0A090064 13C4 0A090017 13C4 UDP 300 sip abc@example");
    assert!(engine && !call.is_template());
    let (expected, _) = listed("TCP 0A090001 0000 0A090064 0014 0A090017 0014 LISTEN 100");
    assert!(!expected.is_template() && expected.flags.has(Flags::NO_CLIENT_PORT));
}

#[rstest]
#[case("TCP", LineError::Columns)]
#[case("TCP 0A090001 EA8E 0A090064 0050 0A090017 0050 ESTABLISHED", LineError::Columns)]
#[case("TCP 0A0900 EA8E 0A090064 0050 0A090017 0050 ESTABLISHED 9", LineError::Address)]
#[case("TCP 0A090001 +A8E 0A090064 0050 0A090017 0050 ESTABLISHED 9", LineError::Address)]
#[case("TCP 0A090001 EA8E 0A090064 0050 0A090017 0050 UDP 9", LineError::State)]
#[case("TCP 0A090001 EA8E 0A090064 0050 0A090017 0050 ESTABLISHED x", LineError::Expires)]
#[case("ESP 0A090001 EA8E 0A090064 0050 0A090017 0050 ESTABLISHED 9", LineError::Protocol)]
#[case("TCP 14:57 ESTABLISHED client:60046 10.9.0.100:80 10.9.0.23:80", LineError::Address)]
#[case("hello", LineError::Protocol)]
fn other_lines_are_refused(#[case] text: &str, #[case] error: LineError) {
    assert_eq!(snapshot::line(text), Err(error));
}

fn socket(is_v6: bool) -> impl Strategy<Value = SocketAddr> {
    (any::<u128>(), any::<u16>()).prop_map(move |(bits, port)| {
        let ip: IpAddr = if is_v6 {
            std::net::Ipv6Addr::from_bits(bits).into()
        } else {
            std::net::Ipv4Addr::from_bits(bits as u32).into()
        };
        SocketAddr::new(ip, port)
    })
}

fn any_connection() -> impl Strategy<Value = Connection> {
    let sockets = any::<bool>().prop_flat_map(|is_v6| [socket(is_v6), socket(is_v6), socket(is_v6)]);
    let protocol = prop::sample::select(vec![protocol::TCP, protocol::UDP, protocol::SCTP]);
    (sockets, protocol, any::<u32>(), any::<u16>(), any::<u32>(), any::<u32>()).prop_map(
        |([client, vip, real], protocol, flags, state, mark, timeout)| {
            let state = state % state::count(protocol).unwrap();
            Connection { protocol, client, vip, real, flags: Flags(flags).accepted(), state, mark, timeout }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        connections in prop::collection::vec((any_connection(), prop::collection::vec(any::<u8>(), 1..40)), 0..50),
        sync_id: u8,
        is_signed: bool,
    ) {
        let mut buffer = [0; MESSAGE];
        let mut writer = Writer::new(&mut buffer, sync_id, is_signed).unwrap();
        let mut written = Vec::new();
        for (connection, data) in connections {
            let parameter = Parameter { kind: 0x40 | 0x20 | data[0] & 0xf, data: &data };
            if writer.push(&connection, &[parameter]) {
                written.push((connection, data));
            }
        }
        let message = if is_signed { writer.sign(|_| [9; 16]) } else { writer.finish() };
        let Some(message) = message else {
            prop_assert!(written.is_empty());
            return Ok(());
        };
        let parsed = Message::parse(message).unwrap();
        prop_assert_eq!(parsed.sync_id(), sync_id);
        prop_assert_eq!(parsed.signature().is_some(), is_signed);
        let read: Vec<_> = parsed.entries().map(|entry| {
            let entry = entry.unwrap();
            (entry.connection, entry.parameters.iter().next().unwrap().data.to_vec())
        }).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn no_bytes_are_too_bad(bytes in prop::collection::vec(any::<u8>(), 0..300), count: u8, version in 0_u8..2) {
        let mut bytes = bytes;
        if bytes.len() >= 8 {
            let length = bytes.len() as u16;
            bytes[..8].copy_from_slice(&[0, 0, 0, 0, count, version, 0, 0]);
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
        }
        if let Ok(message) = Message::parse(&bytes) {
            let entries: Vec<_> = message.entries().collect();
            prop_assert!(entries.len() <= usize::from(message.count()));
            let rest = entries.iter().rev().skip(1).filter(|entry| matches!(entry, Err(Refused::Rest(_))));
            prop_assert_eq!(rest.count(), 0);
        }
        let _line = snapshot::line(&String::from_utf8_lossy(&bytes));
    }
}
