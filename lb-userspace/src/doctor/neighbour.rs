// SPDX-License-Identifier: MIT OR Apache-2.0
//! Questions and answers of ARP (RFC 826) and of neighbour discovery (RFC 4861).
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use etherparse::PacketBuilder;

use super::{Facts, wire::Wire};
use crate::netlink::Mac;

/// Who has `target`? Asked by `(mac, ip)`, which must be of the same version.
fn question(mac: Mac, ip: IpAddr, target: IpAddr) -> Option<Vec<u8>> {
    match (ip, target) {
        (IpAddr::V4(ip), IpAddr::V4(target)) => Some(request(mac, ip, target)),
        (IpAddr::V6(ip), IpAddr::V6(target)) => Some(solicitation(mac, ip, target)),
        _ => None,
    }
}

/// Says to everybody on its link where a VIP of IPv4 is.
pub(super) fn announce(facts: &Facts, wire: &Wire, vip: IpAddr) {
    let IpAddr::V4(ip) = vip else { return };
    let holders = facts.addresses.iter().filter(|address| address.net.addr() == vip);
    let holders =
        holders.filter_map(|holder| facts.interfaces.iter().find(|one| one.index == holder.ifindex));
    for (interface, mac) in
        holders.filter_map(|one| Some((one, one.mac?))).filter(|(one, _)| !one.is_loopback())
    {
        wire.send(interface.index, &request(mac, ip, ip));
    }
}

/// Asks for each of `wanted` on every interface.
pub(super) fn ask(facts: &Facts, wire: &Wire, wanted: &BTreeSet<IpAddr>) {
    let vips = facts.vips();
    for interface in facts.interfaces.iter().filter(|one| one.running && !one.is_loopback()) {
        let Some(mac) = interface.mac else { continue };
        let own = facts.addresses.iter().filter(|address| address.ifindex == interface.index);
        // Never as a VIP: who hears a question learns who asked.
        for ip in own.map(|address| address.net.addr()).filter(|ip| !vips.contains(ip)) {
            for target in wanted {
                if let Some(question) = question(mac, ip, *target) {
                    wire.send(interface.index, &question);
                }
            }
        }
    }
}

/// The Ethernet and IP address that an answer names.
pub(super) fn answer(frame: &[u8]) -> Option<(Mac, IpAddr)> {
    match frame.get(12..14)? {
        [0x08, 0x06] if frame.get(20..22)? == [0, 2] => {
            let ip: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
            Some((frame.get(22..28)?.try_into().ok()?, ip.into()))
        }
        // An advertisement comes without extension headers, and with whose Ethernet address it came is what counts.
        [0x86, 0xdd] if frame.get(20) == Some(&58) && frame.get(54) == Some(&136) => {
            let ip: [u8; 16] = frame.get(62..78)?.try_into().ok()?;
            Some((frame.get(6..12)?.try_into().ok()?, ip.into()))
        }
        _ => None,
    }
}

/// Who asks by ARP, and by which address, which who hears it believes.
pub(super) fn asker(frame: &[u8]) -> Option<(Mac, IpAddr)> {
    let is_question = frame.get(12..14)? == [0x08, 0x06] && frame.get(20..22)? == [0, 1];
    let ip: [u8; 4] = frame.get(28..32).filter(|_| is_question)?.try_into().ok()?;
    Some((frame.get(22..28)?.try_into().ok()?, ip.into()))
}

/// Who asks, and for which address.
pub(super) fn asked(frame: &[u8]) -> Option<(Mac, IpAddr)> {
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

fn request(mac: Mac, ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
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
    let payload = [&target.octets()[..], &SOURCE_LINK_LAYER, &mac].concat();
    let mut frame = Vec::new();
    // Writing to a vector cannot fail, and nothing here is too long.
    let _infallible = PacketBuilder::ethernet2(mac, [0x33, 0x33, 0xff, a, b, c])
        .ipv6(ip.octets(), group.octets(), 255)
        .icmpv6_raw(SOLICITATION, 0, [0; 4])
        .write(&mut frame, &payload);
    frame
}
