// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames of ARP (RFC 826) and of neighbour discovery (RFC 4861). These functions are pure.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;

use super::Mac;

/// Returns the frame in which `(mac, ip)` asks for `target`, which must have the same IP version. With the
/// unspecified address as `ip`, it is a probe, which updates no neighbour entries: RFC 5227, section 2.1.1,
/// and RFC 4862, section 5.4.2.
#[must_use]
pub fn question(mac: Mac, ip: IpAddr, target: IpAddr) -> Option<Vec<u8>> {
    match (ip, target) {
        (IpAddr::V4(ip), IpAddr::V4(target)) => Some(request(mac, ip, target)),
        (IpAddr::V6(ip), IpAddr::V6(target)) => Some(solicitation(mac, ip, target)),
        _ => None,
    }
}

/// Returns the Ethernet and IP address in an answer.
#[must_use]
pub fn answer(frame: &[u8]) -> Option<(Mac, IpAddr)> {
    match frame.get(12..14)? {
        [0x08, 0x06] if frame.get(20..22)? == [0, 2] => {
            let ip: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
            Some((frame.get(22..28)?.try_into().ok()?, ip.into()))
        }
        // Only advertisements without extension headers are parsed. The source Ethernet address of the frame
        // counts.
        [0x86, 0xdd] if frame.get(20) == Some(&58) && frame.get(54) == Some(&136) => {
            let ip: [u8; 16] = frame.get(62..78)?.try_into().ok()?;
            Some((frame.get(6..12)?.try_into().ok()?, ip.into()))
        }
        _ => None,
    }
}

/// Returns the sender's Ethernet and IP address in an ARP request: hosts that receive it update their entries
/// with them.
#[must_use]
pub fn asker(frame: &[u8]) -> Option<(Mac, IpAddr)> {
    let is_question = frame.get(12..14)? == [0x08, 0x06] && frame.get(20..22)? == [0, 1];
    let ip: [u8; 4] = frame.get(28..32).filter(|_| is_question)?.try_into().ok()?;
    Some((frame.get(22..28)?.try_into().ok()?, ip.into()))
}

/// Returns the sender's Ethernet address and the requested IP address of a question.
#[must_use]
pub fn asked(frame: &[u8]) -> Option<(Mac, IpAddr)> {
    let mac = frame.get(6..12)?.try_into().ok()?;
    match frame.get(12..14)? {
        [0x08, 0x06] if frame.get(20..22)? == [0, 1] => {
            let ip: [u8; 4] = frame.get(38..42)?.try_into().ok()?;
            Some((mac, ip.into()))
        }
        [0x86, 0xdd] if frame.get(20) == Some(&58) && frame.get(54) == Some(&135) => {
            let ip: [u8; 16] = frame.get(62..78)?.try_into().ok()?;
            Some((mac, ip.into()))
        }
        _ => None,
    }
}

/// Returns an ARP request.
#[must_use]
pub fn request(mac: Mac, ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    [
        &[0xff; 6][..],
        &mac,
        &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1],
        &mac,
        &ip.octets(),
        &[0; 6],
        &target.octets(),
    ]
    .concat()
}

fn solicitation(mac: Mac, ip: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    const SOLICITATION: u8 = 135;
    const SOURCE_LINK_LAYER: [u8; 2] = [1, 1];
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let payload = if ip.is_unspecified() {
        target.octets().to_vec()
    } else {
        [&target.octets()[..], &SOURCE_LINK_LAYER, &mac].concat()
    };
    let mut frame = Vec::new();
    // Writing to a vector cannot fail, and the packet is short enough.
    let _infallible = PacketBuilder::ethernet2(mac, [0x33, 0x33, 0xff, a, b, c])
        .ipv6(ip.octets(), group.octets(), 255)
        .icmpv6_raw(SOLICITATION, 0, [0; 4])
        .write(&mut frame, &payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 1];

    #[test]
    fn a_probe_names_no_sender() {
        let probe = question(MAC, Ipv4Addr::UNSPECIFIED.into(), "192.0.2.1".parse().unwrap()).unwrap();
        assert_eq!(probe[22..32], [2, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(probe[38..42], [192, 0, 2, 1]);
        let probe = question(MAC, Ipv6Addr::UNSPECIFIED.into(), "2001:db8::1".parse().unwrap()).unwrap();
        // The option with the sender's address must be absent (RFC 4861, section 4.3).
        assert_eq!(probe.len(), 14 + 40 + 8 + 16);
        assert_eq!(asked(&probe), Some((MAC, "2001:db8::1".parse().unwrap())));
    }
}
