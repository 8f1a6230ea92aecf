// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages as Linux 6.12 sends them on a little-endian machine, and damaged ones.

use super::*;
use attributes::{attribute, bytes, nested, text};

/// Attributes of `ipvsadm -A -t 10.0.0.100:80 -s mh -p 360 -M 255.255.255.0 -b mh-port` in a dump.
fn service() -> Vec<DefaultNla> {
    vec![
        attribute(1, &[2, 0]),
        attribute(2, &[6, 0]),
        attribute(3, &[10, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        attribute(4, &[0, 80]),
        text(6, "mh"),
        attribute(7, &[0x13, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        attribute(8, &360_u32.to_le_bytes()),
        attribute(9, &[255, 255, 255, 0]),
        nested(10, &[attribute(1, &[0; 4])]),
    ]
}

/// Attributes of `-a … -r 10.0.0.11:80 -i -w 3 -x 100 -y 50 --tun-type gue --tun-port 6080 --tun-csum`.
fn destination() -> Vec<DefaultNla> {
    vec![
        attribute(1, &[10, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        attribute(2, &[0, 80]),
        attribute(3, &[2, 0, 0, 0]),
        attribute(4, &[3, 0, 0, 0]),
        attribute(13, &[1]),
        attribute(14, &[0x17, 0xc0]),
        attribute(15, &[1, 0]),
        attribute(5, &[100, 0, 0, 0]),
        attribute(6, &[50, 0, 0, 0]),
        attribute(7, &[7, 0, 0, 0]),
        attribute(8, &[8, 0, 0, 0]),
        attribute(9, &[0, 0, 0, 0]),
        attribute(11, &[2, 0]),
    ]
}

fn key() -> Key {
    Key::Address { protocol: 6, address: "10.0.0.100:80".parse().unwrap() }
}

#[test]
fn a_service_is_read() {
    let parsed = parse_service(&bytes(&[nested(number::SERVICE, &service())])).unwrap();
    let expected = Service {
        key: key(),
        scheduler: "mh".to_owned(),
        flags: 0x13,
        timeout: 360,
        netmask: u32::from_le_bytes([255, 255, 255, 0]),
        engine: None,
    };
    assert_eq!(parsed, expected);
    assert!(parsed.is(Service::PERSISTENT) && parsed.is(Service::FLAG_2) && !parsed.is(Service::ONE_PACKET));
}

#[test]
fn a_mark_and_an_engine_are_read() {
    let mut service = service();
    service.drain(1..4);
    service[0] = attribute(1, &[10, 0]);
    service.push(attribute(5, &[7, 0, 0, 0]));
    service.push(text(11, "sip"));
    let parsed = parse_service(&bytes(&[nested(number::SERVICE, &service)])).unwrap();
    assert_eq!(parsed.key, Key::Mark { mark: 7, ipv6: true });
    assert_eq!(parsed.engine.as_deref(), Some("sip"));
    let request = bytes(&parsed.key.attributes());
    assert_eq!(request, [6, 0, 1, 0, 10, 0, 0, 0, 8, 0, 5, 0, 7, 0, 0, 0]);
}

#[test]
fn a_destination_is_read() {
    let message = bytes(&[nested(number::DESTINATION, &destination())]);
    let (parsed, connections) = parse_destination(&message, &key()).unwrap();
    let expected = Destination {
        address: "10.0.0.11:80".parse().unwrap(),
        method: Method::Tunnel,
        weight: 3,
        upper: 100,
        lower: 50,
        encapsulation: Encapsulation::Gue { port: 6080, checksum: Checksum::Outer },
    };
    assert_eq!((parsed, connections), (expected, Connections { active: 7, inactive: 8 }));
}

#[test]
fn the_family_of_a_destination_may_differ_from_that_of_its_service() {
    let mut destination = destination();
    destination[0] = attribute(1, &"2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    destination[12] = attribute(11, &[10, 0]);
    let message = bytes(&[nested(number::DESTINATION, &destination)]);
    let (parsed, _) = parse_destination(&message, &key()).unwrap();
    assert_eq!(parsed.address, "[2001:db8::1]:80".parse().unwrap());
    // Kernels before 3.18 have no family for each destination.
    destination.truncate(12);
    let message = bytes(&[nested(number::DESTINATION, &destination)]);
    assert!(parse_destination(&message, &key()).unwrap().0.address.is_ipv4());
}

#[test]
fn a_daemon_and_its_request_agree() {
    let daemon = SyncDaemon {
        role: Role::Backup,
        interface: "lo".to_owned(),
        sync_id: 7,
        group: SyncDaemon::GROUP,
        port: SyncDaemon::PORT,
    };
    let message = bytes(&[nested(number::DAEMON, &daemon.attributes())]);
    assert_eq!(parse_daemon(&message).unwrap(), daemon);
}

#[test]
fn timeouts_are_read() {
    let message =
        bytes(&[attribute(4, &[1, 0, 0, 0]), attribute(5, &[2, 0, 0, 0]), attribute(6, &[3, 0, 0, 0])]);
    assert_eq!(parse_timeouts(&message).unwrap(), Timeouts { tcp: 1, tcp_fin: 2, udp: 3 });
    assert_eq!(parse_timeouts(&[]), Err(Malformed::Attribute { of: MESSAGE, number: number::TIMEOUT_TCP }));
}

#[test]
fn every_damaged_message_is_an_error_or_another_value() {
    let messages = [
        bytes(&[nested(number::SERVICE, &service())]),
        bytes(&[nested(number::DESTINATION, &destination())]),
    ];
    for message in messages {
        let read = |bytes: &[u8]| {
            drop(parse_service(bytes));
            drop(parse_destination(bytes, &key()));
            drop(parse_daemon(bytes));
            drop(parse_timeouts(bytes));
        };
        for length in 0..message.len() {
            assert!(parse_service(&message[..length]).is_err(), "{length} bytes");
            read(&message[..length]);
        }
        for place in 0..message.len() {
            for value in [0, 1, 3, 0x7f, 0x80, 0xff] {
                let mut damaged = message.clone();
                damaged[place] = value;
                read(&damaged);
            }
        }
    }
}
