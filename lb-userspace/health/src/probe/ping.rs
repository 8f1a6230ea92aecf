// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pings: an ICMP echo request (RFC 792, RFC 4443).
#![forbid(unsafe_code)]

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket},
};

use lb_model::health::ResultCode;
use rand::random;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;

use super::{
    Outcome, Way, connect,
    trace::{Stage, Trace},
};
use crate::{path::PingSocket, target::Target};

/// Length of the header of an echo message.
const HEADER: usize = 8;
/// Data of a request, which the answer repeats.
const DATA: [u8; 16] = *b"xvs health check";

/// Probes a target.
pub(super) async fn probe(target: &Target, way: &Way, trace: &Trace) -> Result<Outcome, Outcome> {
    let ip = connect::address(target).ip();
    let (_lease, ping) = match way {
        Way::Direct => (None, direct(ip).map_err(|error| connect::no_socket(&error))?),
        Way::Path(sockets) => connect::ping_by_path(sockets, target)?,
    };
    trace.enter(Stage::Datagram);
    let PingSocket { socket, identifier } = ping;
    socket.connect(&SockAddr::from(SocketAddr::new(ip, 0))).map_err(|error| connect::refused(&error))?;
    // The type of the socket does not matter to send and receive.
    let socket = UdpSocket::from_std(StdUdpSocket::from(socket));
    let socket = socket.map_err(|error| connect::no_socket(&error))?;
    let sequence = random();
    let request = request(ip, identifier.unwrap_or_default(), sequence);
    socket.send(&request).await.map_err(|error| connect::refused(&error))?;
    trace.step(|| format!("sent an ICMP echo request to {ip}"));
    let mut packet = vec![0; 1024];
    loop {
        let length = socket.recv(&mut packet).await.map_err(|error| connect::refused(&error))?;
        if is_answer(ip, identifier, sequence, &packet[..length]) {
            trace.step(|| format!("received an ICMP echo reply after {}", trace.elapsed()));
            return Ok(Outcome::new(ResultCode::L4Ok, ""));
        }
    }
}

/// Makes a socket: a datagram socket if the kernel allows this group to ping, otherwise a raw one.
fn direct(ip: IpAddr) -> io::Result<PingSocket> {
    let (domain, protocol) = match ip {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let new = |kind: Type| Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol));
    match new(Type::DGRAM) {
        Ok(socket) => Ok(PingSocket { socket, identifier: None }),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(PingSocket { socket: new(Type::RAW)?, identifier: Some(random()) })
        }
        Err(error) => Err(error),
    }
}

/// Returns an echo request. The kernel computes the checksum of `ICMPv6`.
fn request(ip: IpAddr, identifier: u16, sequence: u16) -> Vec<u8> {
    let mut packet = vec![if ip.is_ipv4() { 8 } else { 128 }, 0, 0, 0];
    packet.extend(identifier.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend(DATA);
    if ip.is_ipv4() {
        let checksum = checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&checksum);
    }
    packet
}

/// Returns the checksum of the Internet (RFC 1071) of an even number of bytes.
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// Returns whether a received packet answers the request. Raw IPv4 sockets receive the IP header too.
fn is_answer(ip: IpAddr, identifier: Option<u16>, sequence: u16, packet: &[u8]) -> bool {
    let has_header = ip.is_ipv4() && identifier.is_some();
    let header = if has_header { packet.first().map_or(0, |first| usize::from(first & 15) * 4) } else { 0 };
    let Some(message) = packet.get(header..).filter(|message| message.len() >= HEADER) else { return false };
    let word = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let is_reply = message[0] == if ip.is_ipv4() { 0 } else { 129 };
    is_reply
        && identifier.is_none_or(|own| own == word(4))
        && word(6) == sequence
        && message[HEADER..] == DATA
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_checksum_that_makes_the_sum_zero() {
        let packet = request("192.0.2.1".parse().unwrap(), 0x1234, 7);
        assert_eq!((packet[0], checksum(&packet)), (8, 0));
        assert_eq!(request("2001:db8::1".parse().unwrap(), 0, 0)[..4], [128, 0, 0, 0]);
    }

    #[test]
    fn only_the_reply_to_this_request_is_an_answer() {
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let mut packet = request(ip, 5, 7);
        assert!(!is_answer(ip, None, 7, &packet), "a request is no answer");
        packet[0] = 0;
        assert!(is_answer(ip, None, 7, &packet));
        assert!(!is_answer(ip, None, 8, &packet));
        let raw = [&[0x45][..], &[0; 19], &packet].concat();
        assert!(is_answer(ip, Some(5), 7, &raw) && !is_answer(ip, Some(6), 7, &raw));
        assert!(!is_answer(ip, Some(5), 7, &raw[..24]));
    }
}
