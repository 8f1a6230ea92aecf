// SPDX-License-Identifier: MIT OR Apache-2.0
//! A frame taken apart by etherparse, layer by layer, and a verdict on each checksum.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::header::Ends;
use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv6Header, IpNumber, Ipv4Header, Ipv6Extensions,
    Ipv6FragmentHeader, Ipv6Header, SingleVlanHeader, TcpHeader, UdpHeader, checksum::Sum16BitWords,
};

/// One header as text, and its checksum if it has one that can be judged.
struct Layer {
    text: String,
    checksum: Option<Checksum>,
}

#[derive(Clone, Copy)]
struct Checksum {
    is: u16,
    should_be: u16,
}

/// Decodes a frame to text, a line for each header.
pub fn decode(frame: &[u8]) -> String {
    let mut text = String::new();
    for Layer { text: layer, checksum } in layers(frame) {
        let verdict = match checksum {
            None => String::new(),
            Some(Checksum { is, should_be }) if is == should_be => format!(" checksum {is:04x} right"),
            Some(Checksum { is, should_be }) => {
                format!(" checksum {is:04x} WRONG, should be {should_be:04x}")
            }
        };
        writeln!(text, "  {layer}{verdict}").expect("a string takes everything");
    }
    text
}

/// Returns the headers with wrong checksums. Checksums over missing bytes (a fragment's, a quoted transport
/// header's) are not judged.
pub fn wrong_checksums(frame: &[u8]) -> Vec<String> {
    let wrong = |layer: &Layer| layer.checksum.is_some_and(|checksum| checksum.is != checksum.should_be);
    layers(frame).into_iter().filter(wrong).map(|layer| layer.text).collect()
}

fn layers(frame: &[u8]) -> Vec<Layer> {
    let mut layers = Vec::new();
    let Ok((ethernet, rest)) = Ethernet2Header::from_slice(frame) else {
        layers.push(payload(frame));
        return layers;
    };
    let (mut rest, Ethernet2Header { source, destination, mut ether_type }) = (rest, ethernet);
    layers.push(plain(format!("eth {} > {} {:04x}", mac(source), mac(destination), ether_type.0)));
    while matches!(ether_type.0, 0x8100 | 0x88a8)
        && let Ok((tag, behind)) = SingleVlanHeader::from_slice(rest)
    {
        (ether_type, rest) = (tag.ether_type, behind);
        layers.push(plain(format!(
            "vlan {} priority {} {:04x}",
            tag.vlan_id.value(),
            tag.pcp.value(),
            ether_type.0
        )));
    }
    if ether_type == EtherType::IPV4 {
        ipv4(&mut layers, rest);
    } else if ether_type == EtherType::IPV6 {
        ipv6(&mut layers, rest);
    } else {
        layers.push(payload(rest));
    }
    layers
}

fn ipv4(layers: &mut Vec<Layer>, packet: &[u8]) {
    let Ok((ip, rest)) = Ipv4Header::from_slice(packet) else { return layers.push(payload(packet)) };
    let (source, destination) = (Ipv4Addr::from(ip.source), Ipv4Addr::from(ip.destination));
    let text = format!(
        "ip {source} > {destination} {:?} ttl {} tos {:02x} id {:04x} length {}{}{}{}{}",
        ip.protocol,
        ip.time_to_live,
        ip.dscp.value() << 2 | ip.ecn.value(),
        ip.identification,
        ip.total_len,
        if ip.dont_fragment { " DF" } else { "" },
        if ip.more_fragments { " MF" } else { "" },
        if ip.is_fragmenting_payload() {
            format!(" offset {}", ip.fragment_offset.byte_offset())
        } else {
            String::new()
        },
        if ip.options.is_empty() {
            String::new()
        } else {
            format!(" options {:02x?}", ip.options.as_slice())
        },
    );
    let checksum = Checksum { is: ip.header_checksum, should_be: ip.calc_header_checksum() };
    layers.push(Layer { text, checksum: Some(checksum) });

    let announced = usize::from(ip.total_len).saturating_sub(ip.header_len());
    let (body, padding) = rest.split_at(announced.min(rest.len()));
    let whole = body.len() == announced && !ip.is_fragmenting_payload();
    if ip.fragment_offset.value() != 0 {
        layers.push(payload(body));
    } else {
        let ends = Ends::V4(ip.source, ip.destination);
        transport(layers, ends, ip.protocol, body, whole);
    }
    if !padding.is_empty() {
        layers.push(plain(format!("padding {} bytes", padding.len())));
    }
}

fn ipv6(layers: &mut Vec<Layer>, packet: &[u8]) {
    let Ok((ip, rest)) = Ipv6Header::from_slice(packet) else { return layers.push(payload(packet)) };
    let (source, destination) = (Ipv6Addr::from(ip.source), Ipv6Addr::from(ip.destination));
    layers.push(plain(format!(
        "ip6 {source} > {destination} {:?} hops {} class {:02x} label {:05x} length {}",
        ip.next_header,
        ip.hop_limit,
        ip.traffic_class,
        ip.flow_label.value(),
        ip.payload_length,
    )));
    let announced = usize::from(ip.payload_length);
    let (body, padding) = rest.split_at(announced.min(rest.len()));
    let mut whole = body.len() == announced;
    let extensions = Ipv6Extensions::from_slice(ip.next_header, body);
    if let Ok((extensions, protocol, behind)) = extensions {
        if body.len() > behind.len() {
            layers.push(plain(format!("extensions {:02x?}", &body[..body.len() - behind.len()])));
        }
        let fragment = extensions.fragment.filter(Ipv6FragmentHeader::is_fragmenting_payload);
        whole &= fragment.is_none();
        // The checksums of a packet that is still on its way to its true destination cover that one.
        whole &= extensions.routing.is_none();
        if fragment.is_some_and(|fragment| fragment.fragment_offset.value() != 0) {
            layers.push(payload(behind));
        } else {
            transport(layers, Ends::V6(ip.source, ip.destination), protocol, behind, whole);
        }
    } else {
        layers.push(payload(body));
    }
    if !padding.is_empty() {
        layers.push(plain(format!("padding {} bytes", padding.len())));
    }
}

fn transport(layers: &mut Vec<Layer>, ends: Ends, protocol: IpNumber, body: &[u8], whole: bool) {
    let (text, checksum, rest) = match (protocol, ends) {
        (IpNumber::TCP, _) => {
            let Ok((tcp, data)) = TcpHeader::from_slice(body) else { return layers.push(payload(body)) };
            let sum = match ends {
                Ends::V4(source, destination) => tcp.calc_checksum_ipv4_raw(source, destination, data),
                Ends::V6(source, destination) => tcp.calc_checksum_ipv6_raw(source, destination, data),
            };
            (tcp_text(&tcp), judged(tcp.checksum, sum.ok()), data)
        }
        (IpNumber::UDP, _) => {
            let Ok((udp, data)) = UdpHeader::from_slice(body) else { return layers.push(payload(body)) };
            let text = format!("udp {} > {} length {}", udp.source_port, udp.destination_port, udp.length);
            let sum = match ends {
                Ends::V4(source, destination) => udp.calc_checksum_ipv4_raw(source, destination, data),
                Ends::V6(source, destination) => udp.calc_checksum_ipv6_raw(source, destination, data),
            };
            let sum = sum.ok().filter(|_| udp.checksum != 0 && usize::from(udp.length) == body.len());
            (text, judged(udp.checksum, sum), data)
        }
        (IpNumber::ICMP, Ends::V4(..)) => {
            let Ok((icmp, data)) = Icmpv4Header::from_slice(body) else { return layers.push(payload(body)) };
            let sum = Icmpv4Header::with_checksum(icmp.icmp_type.clone(), data).checksum;
            (format!("icmp {:?}", icmp.icmp_type), judged(icmp.checksum, Some(sum)), data)
        }
        (IpNumber::IPV6_ICMP, Ends::V6(source, destination)) => {
            let Ok((icmp, data)) = Icmpv6Header::from_slice(body) else { return layers.push(payload(body)) };
            let sum = icmp.icmp_type.calc_checksum(source, destination, data);
            (format!("icmp6 {:?}", icmp.icmp_type), judged(icmp.checksum, sum.ok()), data)
        }
        (IpNumber::IPV4, _) => return ipv4(layers, body),
        (IpNumber::IPV6, _) => return ipv6(layers, body),
        (IpNumber::GRE, _) => return gre(layers, body, whole),
        _ => return layers.push(payload(body)),
    };
    layers.push(Layer { text, checksum: checksum.filter(|_| whole) });
    match protocol {
        IpNumber::ICMP if matches!(body[0], 3 | 4 | 5 | 11 | 12) => ipv4(layers, rest),
        IpNumber::IPV6_ICMP if body[0] < 128 => ipv6(layers, rest),
        IpNumber::UDP if body[2..4] == GUE_PORT => gue(layers, rest),
        _ => layers.push(payload(rest)),
    }
}

/// Default port of GUE (RFC draft-ietf-intarea-gue).
const GUE_PORT: [u8; 2] = 6080_u16.to_be_bytes();

/// Decodes a GUE header and its content.
fn gue(layers: &mut Vec<Layer>, body: &[u8]) {
    let Some((header @ [0, protocol, 0, 0], inner)) = body.split_first_chunk() else {
        return layers.push(payload(body));
    };
    layers.push(plain(format!("gue version 0 data {:?} flags {:02x?}", IpNumber(*protocol), &header[2..])));
    match IpNumber(*protocol) {
        IpNumber::IPV4 => ipv4(layers, inner),
        IpNumber::IPV6 => ipv6(layers, inner),
        _ => layers.push(payload(inner)),
    }
}

/// Decodes a GRE header (RFC 2784) and its content.
fn gre(layers: &mut Vec<Layer>, body: &[u8], whole: bool) {
    let (ether_type, inner, checksum) = match body {
        [0, 0, e0, e1, inner @ ..] => (u16::from_be_bytes([*e0, *e1]), inner, None),
        [0x80, 0, e0, e1, c0, c1, 0, 0, inner @ ..] => {
            let sum = Sum16BitWords::new().add_slice(&body[..4]).add_slice(&body[8..]).ones_complement();
            let checksum = Checksum { is: u16::from_be_bytes([*c0, *c1]), should_be: sum.to_be() };
            (u16::from_be_bytes([*e0, *e1]), inner, Some(checksum).filter(|_| whole))
        }
        _ => return layers.push(payload(body)),
    };
    layers.push(Layer { text: format!("gre {ether_type:04x}"), checksum });
    match EtherType(ether_type) {
        EtherType::IPV4 => ipv4(layers, inner),
        EtherType::IPV6 => ipv6(layers, inner),
        _ => layers.push(payload(inner)),
    }
}

fn judged(is: u16, should_be: Option<u16>) -> Option<Checksum> {
    should_be.map(|should_be| Checksum { is, should_be })
}

fn tcp_text(tcp: &TcpHeader) -> String {
    let flags = [(tcp.syn, "SYN"), (tcp.ack, "ACK"), (tcp.fin, "FIN"), (tcp.rst, "RST"), (tcp.psh, "PSH")];
    let flags: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    let (from, to, sequence) = (tcp.source_port, tcp.destination_port, tcp.sequence_number);
    format!(
        "tcp {from} > {to} {} sequence {sequence:08x} options {:02x?}",
        flags.join("+"),
        tcp.options.as_slice()
    )
}

fn payload(bytes: &[u8]) -> Layer {
    let shown: String = bytes.iter().take(48).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    });
    plain(format!("{} bytes: {shown}{}", bytes.len(), if bytes.len() > 48 { "…" } else { "" }))
}

fn plain(text: String) -> Layer {
    Layer { text, checksum: None }
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
