// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fields of a frame, and the differences between two frames.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Fields of a frame by name, from the outermost header to the innermost.
pub type Fields = Vec<(&'static str, String)>;

/// A field that was rewritten.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Difference {
    /// Name of the field.
    pub field: String,
    /// Value before; `None` if the field did not exist.
    pub before: Option<String>,
    /// Value after; `None` if the field was removed.
    pub after: Option<String>,
}

/// Names of the fields of an IP header, which differ for the outer header of a tunnel.
struct Names {
    source: &'static str,
    destination: &'static str,
    ttl: &'static str,
    protocol: &'static str,
}

const OUTER: Names = Names {
    source: "outer source",
    destination: "outer destination",
    ttl: "outer TTL",
    protocol: "outer protocol",
};
const INNER: Names = Names { source: "source", destination: "destination", ttl: "TTL", protocol: "protocol" };

/// Decodes the fields of a frame as far as possible. `wrapped` means that the packet has an outer tunnel
/// header.
#[must_use]
pub fn fields(frame: &[u8], wrapped: bool) -> Fields {
    let mut fields = Vec::new();
    // A truncated frame has only the fields before its end.
    let _ended = ethernet(frame, wrapped, &mut fields);
    fields
}

fn ethernet(frame: &[u8], wrapped: bool, fields: &mut Fields) -> Option<()> {
    fields.push(("MAC destination", mac(frame.get(..6)?)));
    fields.push(("MAC source", mac(frame.get(6..12)?)));
    let mut rest = frame.get(12..)?;
    let mut names = ["VLAN", "inner VLAN"].into_iter();
    while matches!(be16(rest, 0)?, 0x8100 | 0x88a8) {
        fields.push((names.next()?, (be16(rest, 2)? & 0xfff).to_string()));
        rest = rest.get(4..)?;
    }
    let packet = rest.get(2..)?;
    if !wrapped {
        let (protocol, segment) = ip(packet, &INNER, fields)?;
        return ports(protocol, segment, fields);
    }
    let (protocol, rest) = ip(packet, &OUTER, fields)?;
    let between = match protocol {
        // With a checksum.
        47 if rest.first()? & 0x80 != 0 => 8,
        47 => 4,
        17 => {
            fields.push(("outer destination port", be16(rest, 2)?.to_string()));
            12
        }
        _ => 0,
    };
    let (protocol, segment) = ip(rest.get(between..)?, &INNER, fields)?;
    ports(protocol, segment, fields)
}

/// Decodes an IP header, and returns protocol and payload.
fn ip<'a>(packet: &'a [u8], names: &Names, fields: &mut Fields) -> Option<(u8, &'a [u8])> {
    let (source, destination, ttl, protocol, length) = match packet.first()? >> 4 {
        4 => {
            let address = |at: usize| {
                let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
                Some(Ipv4Addr::from(octets).to_string())
            };
            (address(12)?, address(16)?, packet[8], packet[9], usize::from(packet[0] & 15) * 4)
        }
        6 => {
            let address = |at: usize| {
                let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                Some(Ipv6Addr::from(octets).to_string())
            };
            (address(8)?, address(24)?, packet[7], packet[6], 40)
        }
        _ => return None,
    };
    fields.push((names.source, source));
    fields.push((names.destination, destination));
    fields.push((names.ttl, ttl.to_string()));
    fields.push((names.protocol, protocol_name(protocol)));
    Some((protocol, packet.get(length..)?))
}

fn ports(protocol: u8, segment: &[u8], fields: &mut Fields) -> Option<()> {
    if !matches!(protocol, 6 | 17 | 132) {
        return None;
    }
    fields.push(("source port", be16(segment, 0)?.to_string()));
    fields.push(("destination port", be16(segment, 2)?.to_string()));
    if protocol == 6 {
        let bits = *segment.get(13)?;
        let names = [(2, "syn"), (16, "ack"), (1, "fin"), (4, "rst"), (8, "psh")];
        let set: Vec<&str> = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
        fields.push(("flags", set.join(",")));
    }
    Some(())
}

/// Returns the fields that differ.
#[must_use]
pub fn differences(before: &Fields, after: &Fields) -> Vec<Difference> {
    let value = |fields: &Fields, name: &str| {
        fields.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone())
    };
    let added = after.iter().filter(|(name, _)| value(before, name).is_none());
    let names = added.chain(before).map(|(name, _)| *name);
    let difference = |name: &'static str| Difference {
        field: name.to_owned(),
        before: value(before, name),
        after: value(after, name),
    };
    names.map(difference).filter(|difference| difference.before != difference.after).collect()
}

/// Returns a frame in a line: `tcp 10.0.0.1:4000 -> 10.0.0.9:80, syn, 54 bytes`.
#[must_use]
pub fn summary(frame: &[u8]) -> String {
    let fields = fields(frame, false);
    let value = |name| fields.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str());
    let bytes = format!("{} bytes", frame.len());
    let (Some(protocol), Some(source), Some(destination)) =
        (value("protocol"), value("source"), value("destination"))
    else {
        return format!("no IP packet, {bytes}");
    };
    let end = |address: &str, port: Option<&str>| match port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    };
    let (source, destination) =
        (end(source, value("source port")), end(destination, value("destination port")));
    let flags = value("flags").map(|flags| format!(", {flags}")).unwrap_or_default();
    format!("{protocol} {source} -> {destination}{flags}, {bytes}")
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn protocol_name(number: u8) -> String {
    let name = match number {
        1 => "icmp",
        4 => "ipip",
        6 => "tcp",
        17 => "udp",
        41 => "ipv6",
        47 => "gre",
        58 => "icmpv6",
        132 => "sctp",
        other => return format!("protocol {other}"),
    };
    name.to_owned()
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Flag, Flow};
    use lb_model::Protocol;

    fn frame(client: &str, service: &str) -> Vec<u8> {
        let (client, service) = (client.parse().unwrap(), service.parse().unwrap());
        let flow = Flow { protocol: Protocol::Tcp, client, service, flag: Flag::Syn, length: 0 };
        flow.frame().unwrap()
    }

    #[test]
    fn a_frame_is_told_in_a_line() {
        assert_eq!(
            summary(&frame("10.0.0.1:4000", "10.0.0.9:80")),
            "tcp 10.0.0.1:4000 -> 10.0.0.9:80, syn, 54 bytes"
        );
        assert_eq!(
            summary(&frame("[fd00::1]:4000", "[fd00::9]:80")),
            "tcp [fd00::1]:4000 -> [fd00::9]:80, syn, 74 bytes"
        );
        assert_eq!(summary(&[0; 20]), "no IP packet, 20 bytes");
    }

    #[test]
    fn a_tunnel_adds_its_header_and_nothing_inside_changes() {
        let inner = frame("10.0.0.1:4000", "10.0.0.9:80");
        for (protocol, between) in [(4, 0), (47, 4), (17, 12)] {
            let mut outer = inner[..34].to_vec();
            outer[14 + 9] = protocol;
            outer[26..34].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 11]);
            outer.extend(vec![0; between]);
            outer.extend(&inner[14..]);
            let changes = differences(&fields(&inner, false), &fields(&outer, true));
            assert!(
                changes.iter().all(|change| change.field.starts_with("outer ") && change.before.is_none())
            );
            let to = changes.iter().find(|change| change.field == "outer destination").unwrap();
            assert_eq!(to.after.as_deref(), Some("10.0.0.11"));
        }
    }

    #[test]
    fn what_ends_early_has_the_fields_before() {
        let frame = frame("10.0.0.1:4000", "10.0.0.9:80");
        for end in 0..frame.len() {
            assert!(fields(&frame[..end], false).len() <= 9 && fields(&frame[..end], true).len() <= 9);
        }
    }

    #[test]
    fn tags_are_fields() {
        let plain = frame("10.0.0.1:4000", "10.0.0.9:80");
        let tagged = [&plain[..12], &[0x81, 0, 0x20, 7], &plain[12..]].concat();
        let changes = differences(&fields(&plain, false), &fields(&tagged, false));
        assert_eq!(changes, [Difference { field: "VLAN".into(), before: None, after: Some("7".into()) }]);
    }
}
