// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames for a scene: packets of clients, replies of reals, errors of routers, and packets that are not
//! ours.

use std::net::{IpAddr, SocketAddr};

use lb_model::{Desired, ServiceId};

use super::{
    damage::damage,
    random::Random,
    scene::address,
    wire::{Body, Wire, icmp, least},
};
use crate::{
    model::{
        Outcome, Tuple, Version,
        bytes::address_at,
        frame::{Frame, Macs, swapped},
        parse::{
            self, flag,
            number::{SCTP, TCP, UDP},
        },
    },
    packet::{Action, device::Devices, net::INGRESS},
};

/// Frames that are remembered, to be answered and quoted.
const REMEMBERED: usize = 64;
/// From a client, and from another one or another way.
const MACS: [Macs; 2] =
    [[2, 0, 0, 0, 0, 0xd1, 2, 0, 0, 0, 0, 0xc1], [2, 0, 0, 0, 0, 0xd1, 2, 0, 0, 0, 0, 0xc2]];
const TAGS: [&[[u8; 4]]; 7] = [
    &[[0x81, 0, 0, 10]],
    &[[0x81, 0, 0xa0, 10]],
    &[[0x81, 0, 0, 0]],
    &[[0x88, 0xa8, 0, 100], [0x81, 0, 0x60, 20]],
    &[[0x81, 0, 0x10, 10]],
    &[[0x88, 0xa8, 0xe0, 100], [0x81, 0, 0, 0]],
    &[[0x81, 0, 0, 1], [0x81, 0, 0, 2], [0x81, 0, 0, 3]],
];

/// The generator of frames.
pub struct Traffic {
    random: Random,
    /// Protocol and endpoint of each service.
    services: Vec<(u8, SocketAddr)>,
    devices: Devices,
    /// Frames that were sent on, as they came and as they left.
    forwarded: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Traffic {
    /// Frames for those services.
    pub fn new(random: Random, desired: &Desired, devices: Devices) -> Self {
        let endpoint = |id: &ServiceId| match id {
            ServiceId::Endpoint(endpoint) => (endpoint.protocol.number(), endpoint.address),
            ServiceId::Group { .. } => panic!("scenes have no groups"),
        };
        let services = desired.services.keys().map(endpoint).collect();
        Self { random, services, devices, forwarded: Vec::new() }
    }

    /// Remembers the fate of a frame.
    pub fn notice(&mut self, sent: &[u8], outcome: &Outcome) {
        if matches!(outcome.action, Action::Tx | Action::Redirect) && outcome.real.is_some() {
            let pair = (sent.to_vec(), outcome.frame.clone());
            if self.forwarded.len() < REMEMBERED {
                self.forwarded.push(pair);
            } else {
                let at = self.random.below(REMEMBERED);
                self.forwarded[at] = pair;
            }
        }
    }

    /// Returns the next frame, and the interface by which it arrives.
    pub fn frame(&mut self) -> (Vec<u8>, u32) {
        let mut bytes = self.valid();
        if self.random.one_in(3) {
            let other = self.valid();
            damage(&mut self.random, &mut bytes, &other);
        }
        let device = match self.random.below(20) {
            0 => self.devices.other,
            1 => self.devices.closed,
            _ => INGRESS,
        };
        (bytes, device)
    }

    fn valid(&mut self) -> Vec<u8> {
        match self.random.below(100) {
            0..50 => self.request(),
            50..72 => self.reply().unwrap_or_else(|| self.request()),
            72..80 => self.error_about_a_request().unwrap_or_else(|| self.request()),
            80..88 => self.error_about_a_reply().unwrap_or_else(|| self.request()),
            88..93 => self.message(),
            93..96 => self.directly().unwrap_or_else(|| self.stranger()),
            96..99 => self.stranger(),
            _ => {
                let length = 14 + self.random.below(60);
                let mut bytes = self.random.bytes(length);
                bytes[0] &= 0xfe;
                bytes
            }
        }
    }

    fn client(&mut self, six: bool) -> SocketAddr {
        if self.random.one_in(200) {
            // An address that no host has.
            let mapped = |v4: [u8; 4]| if six { [[0; 12].as_slice(), &v4].concat() } else { v4.to_vec() };
            let bytes = self.random.pick(&[[0; 4], [0, 0, 0, 1], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]]);
            let bytes = match bytes[0] {
                224 if six => vec![0xff; 16],
                255 if six => [&[0; 10][..], &[0xff; 6]].concat(),
                _ => mapped(bytes),
            };
            let ip = address_at(&bytes, 0, if six { Version::V6 } else { Version::V4 });
            return SocketAddr::new(ip.expect("there are bytes enough"), 1024);
        }
        let ip = address(six, [192, 0, 2, 10 + self.random.below(3) as u8]);
        SocketAddr::new(ip, 1024 + self.random.below(24) as u16)
    }

    fn router(&mut self, six: bool) -> IpAddr {
        address(six, [203, 0, 113, 1 + self.random.below(2) as u8])
    }

    fn service(&mut self) -> (u8, SocketAddr) {
        let (protocol, mut vip) = self.random.pick(&self.services);
        if vip.port() == 0 {
            vip.set_port(self.random.pick(&[22, 8080, 8081]));
        }
        (protocol, vip)
    }

    /// Returns a client's packet for a service.
    fn request(&mut self) -> Vec<u8> {
        let (protocol, vip) = self.service();
        let wire = self.wire(protocol, vip);
        self.of_a_client(&wire)
    }

    /// Returns a packet of this protocol from a client to `to`.
    fn wire(&mut self, protocol: u8, to: SocketAddr) -> Wire {
        let source = self.client(to.is_ipv6());
        let tuple = Tuple { protocol, source, destination: to };
        self.between(tuple)
    }

    /// Returns a packet with this 5-tuple.
    fn between(&mut self, tuple: Tuple) -> Wire {
        let random = &mut self.random;
        let length = match random.below(24) {
            0 => 1180 + random.below(320),
            1 => random.below(3000),
            _ => random.below(60),
        };
        let data = random.bytes(length);
        let flags = [flag::SYN, flag::SYN, flag::ACK, flag::ACK, flag::ACK, flag::FIN | flag::ACK];
        let rare = [flag::RST, flag::RST | flag::ACK, flag::SYN | flag::ACK, 0, flag::SYN | flag::RST];
        let flags = if random.one_in(8) { random.pick(&rare) } else { random.pick(&flags) };
        let body = match tuple.protocol {
            TCP => {
                let options = if random.one_in(4) { vec![1; 4 * random.below(11)] } else { Vec::new() };
                Body::Tcp(flags, options, data)
            }
            UDP => Body::Udp(data, !random.one_in(6)),
            SCTP => Body::Sctp(random.pick(&[0, 1, 1, 3, 6, 7, 8, 14]), data),
            protocol => least(protocol),
        };
        let fragment = match random.below(16) {
            0 => Some((0, true)),
            1 => Some((1 + random.below(300) as u16, random.one_in(2))),
            2 if random.one_in(4) => Some((0, false)),
            _ => None,
        };
        let six = tuple.source.is_ipv6();
        let plain = !random.one_in(5);
        Wire {
            source: tuple.source,
            destination: tuple.destination,
            protocol: tuple.protocol,
            body,
            ttl: if random.one_in(10) { random.pick(&[0, 1, 1, 2, 255]) } else { 64 },
            traffic_class: random.pick(&[0, 0, 0, 0x2e << 2, 1, 3]),
            id: random.pick(&[1, 2]),
            options: if six || plain { Vec::new() } else { vec![1; 4 * random.below(11)] },
            extensions: if six && !plain { extensions(random) } else { Vec::new() },
            fragment,
        }
    }

    /// Returns a reply from the receiver of an earlier frame.
    fn reply(&mut self) -> Option<Vec<u8>> {
        let (_, left) = self.remembered()?;
        let frame = Frame::read(&left)?;
        let packet = parse::packet(&frame.packet, frame.version)?;
        let wire = self.between(packet.tuple.reversed());
        Some(self.framed(swapped(frame.macs), &wire.packet(), frame.version))
    }

    /// Returns a client's packet to a real's own address.
    fn directly(&mut self) -> Option<Vec<u8>> {
        let (_, left) = self.remembered()?;
        let frame = Frame::read(&left)?;
        let packet = parse::packet(&frame.packet, frame.version)?;
        let wire = self.between(packet.tuple);
        Some(self.of_a_client(&wire))
    }

    /// Returns an ICMP error of a real, or of a router before it, about a packet to the real.
    fn error_about_a_request(&mut self) -> Option<Vec<u8>> {
        let (_, left) = self.remembered()?;
        let frame = Frame::read(&left)?;
        let packet = parse::packet(&frame.packet, frame.version)?;
        let (six, header) = (packet.tuple.source.is_ipv6(), packet.header);
        let from = if self.random.one_in(2) { header.destination } else { self.router(six) };
        let to = if self.random.one_in(16) { self.router(six) } else { header.source };
        let error = self.error(from, to, &frame.packet[..frame.packet.len().min(header.length)]);
        Some(self.framed(swapped(frame.macs), &error.packet(), frame.version))
    }

    /// Returns an ICMP error of a client, or of a router before it, about a packet of a real to the client.
    fn error_about_a_reply(&mut self) -> Option<Vec<u8>> {
        let (came, _) = self.remembered()?;
        let frame = Frame::read(&came)?;
        let packet = parse::packet(&frame.packet, frame.version)?;
        let mut tuple = packet.tuple.reversed();
        if self.random.one_in(4) {
            // A flow that is not tracked.
            tuple.destination.set_port(self.random.below(60_000) as u16);
        }
        let reply = self.between(tuple);
        let six = tuple.source.is_ipv6();
        let from = if self.random.one_in(2) { tuple.destination.ip() } else { self.router(six) };
        let to = if self.random.one_in(16) { self.service().1.ip() } else { tuple.source.ip() };
        if from.is_ipv6() != to.is_ipv6() {
            return None;
        }
        let error = self.error(from, to, &reply.packet());
        Some(self.of_a_client(&error))
    }

    /// Returns an ICMP error that quotes a packet.
    fn error(&mut self, from: IpAddr, to: IpAddr, quoted: &[u8]) -> Wire {
        let six = from.is_ipv6();
        let tuple = Tuple { protocol: icmp(six), source: (from, 0).into(), destination: (to, 0).into() };
        let wire = self.between(tuple);
        let random = &mut self.random;
        let kinds = if six { [1, 2, 3, 4, 100] } else { [3, 3, 4, 11, 12] };
        let length = match random.below(4) {
            0 => quoted.len(),
            1 => random.below(quoted.len() + 1),
            _ => quoted.len().min(if six { 1232 } else { 28 + random.below(3) * 10 }),
        };
        let kind = [random.pick(&kinds), random.below(5) as u8];
        let body = Body::Icmp(kind, [0, 0, 5, random.number() as u8], quoted[..length.min(1600)].to_vec());
        Wire { body, ..wire }
    }

    /// Returns a ping of a VIP, a message about the link, or another ICMP message that is no error.
    fn message(&mut self) -> Vec<u8> {
        let (_, vip) = self.service();
        let six = vip.is_ipv6();
        let wire = self.wire(icmp(six), vip);
        let random = &mut self.random;
        let kinds = if six { [128, 128, 129, 133, 135, 143, 139] } else { [8, 8, 0, 13, 17, 9, 30] };
        let body = Body::Icmp([random.pick(&kinds), 0], [0, 7, 0, 1], random.bytes(20));
        self.of_a_client(&Wire { body, ..wire })
    }

    /// Returns a packet for another host, or for a port or of a protocol that no service has.
    fn stranger(&mut self) -> Vec<u8> {
        let (_, vip) = self.service();
        let other = SocketAddr::new(address(vip.is_ipv6(), [198, 51, 100, 7]), 80);
        let to = self.random.pick(&[vip, other, SocketAddr::new(vip.ip(), 9)]);
        let protocol = self.random.pick(&[TCP, UDP, SCTP, 47, 2, 50, 59, 4, 41]);
        let wire = self.wire(protocol, to);
        self.of_a_client(&wire)
    }

    fn remembered(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        match self.forwarded.len() {
            0 => None,
            known => Some(self.forwarded[self.random.below(known)].clone()),
        }
    }

    fn of_a_client(&mut self, wire: &Wire) -> Vec<u8> {
        let macs = if self.random.one_in(12) { MACS[1] } else { MACS[0] };
        self.framed(macs, &wire.packet(), wire.version())
    }

    fn framed(&mut self, mut macs: Macs, packet: &[u8], version: Version) -> Vec<u8> {
        let random = &mut self.random;
        if random.one_in(200) {
            macs[0] |= 1;
        }
        let tags = if random.one_in(6) { random.pick(&TAGS) } else { &[] };
        let tags: Vec<u8> = tags.concat();
        let mut bytes = [&macs[..], &tags, &version.ether_type(), packet].concat();
        if random.one_in(4) && bytes.len() < 60 {
            bytes.resize(60, 0xa5);
        }
        bytes.truncate(super::damage::LONGEST);
        bytes
    }
}

/// Returns extension headers of every kind: options, routing, and headers that hide the rest.
fn extensions(random: &mut Random) -> Vec<(u8, Vec<u8>)> {
    let count = if random.one_in(10) { random.below(9) } else { 1 + random.below(2) };
    (0..count)
        .map(|_| {
            let kind = random.pick(&[0, 60, 60, 60, 43, 43]);
            let kind =
                if random.one_in(24) { random.pick(&[44, 51, 135, 139, 140, 253, 254, 50]) } else { kind };
            let words = match random.below(12) {
                0 => 100 + random.below(27),
                1 => random.below(128),
                _ => random.below(4),
            };
            let mut content = vec![0; 8 * (words + 1) - 1];
            content[0] = words as u8;
            if kind == 43 {
                content[1] = 2;
                content[2] = u8::from(random.one_in(6));
            }
            if kind == 44 {
                content.truncate(7);
                content[0] = 0;
            }
            (kind, content)
        })
        .collect()
}
