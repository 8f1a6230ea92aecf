// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs' parser, which runs on the host too, beside the model's.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    packet::{self, ETHERNET_LEN, Ip, Packet, Parsed, Part},
    reason::Reason,
    schema::FlowKey,
    wire::{Be32, Be128},
};

use super::trial::Difference;
use crate::model::{Tuple, Version, parse};

/// A frame in memory.
struct Bytes(RefCell<Vec<u8>>);

impl Packet for Bytes {
    fn at<const N: usize>(&self, offset: usize) -> Result<*mut [u8; N], Reason> {
        let mut bytes = self.0.borrow_mut();
        let there = offset.checked_add(N).and_then(|end| bytes.get_mut(offset..end));
        there.map(|there| there.as_mut_ptr().cast()).ok_or(Reason::Truncated)
    }

    fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

/// Takes a frame apart by both, as a packet of either version.
///
/// # Errors
/// If they do not agree.
pub fn agree(frame: &[u8]) -> Result<(), Difference> {
    agree_as::<Be32>(frame, Version::V4)?;
    agree_as::<Be128>(frame, Version::V6)
}

/// The facts that both parsers find in a packet.
#[derive(Debug, Eq, PartialEq)]
struct Found {
    part: Part,
    tuple: Tuple,
    /// Offset of the transport header in the frame.
    transport: usize,
    length: usize,
    id: u32,
    flags: u8,
    /// The quote of an error: its 5-tuple, and the offsets of its headers.
    quote: Option<(Tuple, usize, usize)>,
}

fn agree_as<A: Ip>(frame: &[u8], version: Version) -> Result<(), Difference> {
    let programs = of_the_programs::<A>(frame);
    let model = of_the_model(frame, version);
    if programs == model {
        return Ok(());
    }
    Err(Difference(format!("{frame:02x?} as {version:?}\nthe model: {model:?}\nthe programs: {programs:?}")))
}

fn of_the_programs<A: Ip>(frame: &[u8]) -> Option<Found> {
    let bytes = Bytes(RefCell::new(frame.to_vec()));
    let parsed: Parsed<A> = packet::parse(&bytes).ok()?;
    let is_read = is_read(parsed.part);
    let quoted = if is_read && parsed.flow.protocol == u32::from(A::ICMP) {
        packet::quoted(&bytes, &parsed).ok()
    } else {
        None
    };
    let [i0, i1, i2, i3] = parsed.id.to_ne_bytes();
    // As it lies on the wire: two bytes in IPv4, four in IPv6.
    let id = if A::HEADER_LEN == 20 {
        u16::from_be_bytes([i0, i1]).into()
    } else {
        u32::from_be_bytes([i0, i1, i2, i3])
    };
    Some(Found {
        part: parsed.part,
        tuple: tuple(&parsed.flow, if is_unread(parsed.part) { 0 } else { parsed.flow.protocol as u8 }),
        transport: if is_read { parsed.l4() } else { 0 },
        length: parsed.length as usize,
        id: if is_unread(parsed.part) { 0 } else { id },
        flags: parsed.tcp_flags,
        quote: quoted.map(|quote| (tuple(&quote.flow, quote.flow.protocol as u8), quote.l3(), quote.l4())),
    })
}

fn of_the_model(frame: &[u8], version: Version) -> Option<Found> {
    let bytes = frame.get(ETHERNET_LEN..)?;
    let packet = parse::packet(bytes, version)?;
    let header = packet.header;
    let part = match header.part {
        parse::Part::Whole => Part::Whole,
        parse::Part::First => Part::First,
        parse::Part::Later => Part::Later,
        parse::Part::Tiny => Part::Tiny,
        parse::Part::Truncated => Part::Truncated,
        parse::Part::Hidden => Part::Hidden,
    };
    let is_read = is_read(part);
    let quote =
        if is_read && header.protocol == version.icmp() { parse::quote(bytes, &packet) } else { None };
    let protocol = if is_unread(part) { 0 } else { header.protocol };
    Some(Found {
        part,
        tuple: Tuple { protocol, ..packet.tuple },
        transport: if is_read { ETHERNET_LEN + header.transport } else { 0 },
        length: header.length,
        id: if is_unread(part) { 0 } else { header.id },
        flags: packet.flags,
        quote: quote.map(|quote| (quote.tuple, ETHERNET_LEN + quote.header, ETHERNET_LEN + quote.transport)),
    })
}

/// Returns whether the parser read the transport header.
const fn is_read(part: Part) -> bool {
    matches!(part, Part::Whole | Part::First)
}

/// Returns whether the parser found only the addresses.
const fn is_unread(part: Part) -> bool {
    matches!(part, Part::Truncated | Part::Hidden)
}

fn tuple<A: Ip>(flow: &FlowKey<A>, protocol: u8) -> Tuple {
    // Not by `IpAddr::from`, which converts an IPv4-mapped address in an IPv6 packet to an IPv4 address.
    let end = |address: A, port| {
        let last = address.wide().last().0;
        let bytes: Vec<u8> = address.wide().0.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let ip = match <[u8; 16]>::try_from(bytes) {
            Ok(bytes) if A::HEADER_LEN == 40 => IpAddr::from(bytes),
            _ => IpAddr::from(last.to_ne_bytes()),
        };
        SocketAddr::new(ip, port)
    };
    Tuple {
        protocol,
        source: end(flow.source, flow.source_port.get()),
        destination: end(flow.destination, flow.destination_port.get()),
    }
}
