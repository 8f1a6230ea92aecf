// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capture of ARP and IPv6 neighbour discovery on the link.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket,
        sockopt::ReceiveTimeout,
    },
    time::TimeVal,
};

use super::Host;

/// Maximum wait for an expected packet.
const PATIENCE: TimeVal = TimeVal::new(20, 0);

/// A packet socket: sees every frame that a machine receives and sends, also those that its kernel then
/// ignores.
#[must_use]
pub struct Capture {
    socket: OwnedFd,
    host: String,
}

/// One message about an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Message {
    /// Question or answer.
    pub kind: Kind,
    /// The Ethernet address that it came from.
    pub mac: [u8; 6],
    /// The sender's address by its own claim. A host that receives a question learns it.
    pub sender: IpAddr,
    /// The address that is asked for, or that the answer is about.
    pub target: IpAddr,
}

/// Question or answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// An ARP request or a neighbour solicitation.
    Ask,
    /// An ARP reply or a neighbour advertisement.
    Answer,
}

impl Capture {
    /// Starts to listen on all interfaces of `host`.
    #[track_caller]
    pub fn on(host: &Host) -> Self {
        let socket = host.run(|| {
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
        });
        let socket = socket.expect("root may open a packet socket");
        setsockopt(&socket, ReceiveTimeout, &PATIENCE).expect("packet sockets have a timeout");
        Self { socket, host: host.name().to_owned() }
    }

    /// Waits for the next message about `target`.
    #[track_caller]
    pub fn next_about(&self, target: impl Into<IpAddr>) -> Message {
        let target = target.into();
        loop {
            let message = self.next();
            if message.target == target {
                return message;
            }
        }
    }

    /// Waits for the next message.
    #[track_caller]
    pub fn next(&self) -> Message {
        self.receive(MsgFlags::empty())
            .unwrap_or_else(|error| panic!("no ARP or neighbour discovery at {}: {error}", self.host))
    }

    /// Returns all messages so far.
    pub fn so_far(&self) -> Vec<Message> {
        std::iter::from_fn(|| self.receive(MsgFlags::MSG_DONTWAIT).ok()).collect()
    }

    fn receive(&self, flags: MsgFlags) -> nix::Result<Message> {
        let mut frame = [0; 256];
        loop {
            // A longer frame is cut off, which is all the same: it is neither.
            let length = recv(self.socket.as_raw_fd(), &mut frame, flags)?;
            if let Some(message) = parse(&frame[..length]) {
                return Ok(message);
            }
        }
    }
}

/// Parses a message (RFC 826, RFC 4861).
fn parse(frame: &[u8]) -> Option<Message> {
    let mac = array(frame, 6)?;
    let ipv4 = |at| array(frame, at).map(|octets: [u8; 4]| IpAddr::from(Ipv4Addr::from(octets)));
    let ipv6 = |at| array(frame, at).map(|octets: [u8; 16]| IpAddr::from(Ipv6Addr::from(octets)));
    match array(frame, 12)? {
        [0x08, 0x06] => match array(frame, 20)? {
            [0, 1] => Some(Message { kind: Kind::Ask, mac, sender: ipv4(28)?, target: ipv4(38)? }),
            [0, 2] => Some(Message { kind: Kind::Answer, mac, sender: ipv4(28)?, target: ipv4(28)? }),
            _ => None,
        },
        // Neighbour discovery comes without extension headers.
        [0x86, 0xdd] if frame.get(20) == Some(&58) => {
            let kind = match frame.get(54)? {
                135 => Kind::Ask,
                136 => Kind::Answer,
                _ => return None,
            };
            Some(Message { kind, mac, sender: ipv6(22)?, target: ipv6(62)? })
        }
        _ => None,
    }
}

fn array<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}
