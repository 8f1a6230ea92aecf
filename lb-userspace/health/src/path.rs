// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets of probes that travel the forwarding path of clients.
#![forbid(unsafe_code)]

use std::{io, net::SocketAddr};

use lb_model::{Forward, Protocol, Tunnel};
use socket2::Socket;

use crate::target::Target;

/// A real to which a probe travels by the forwarding path.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PathTarget {
    /// VIP and port, to which the socket connects.
    pub vip: SocketAddr,
    /// Protocol of the service.
    pub protocol: Protocol,
    /// RIP and port.
    pub real: SocketAddr,
    /// Id of the real in the maps.
    pub real_id: u32,
    /// Forward method.
    pub forward: Forward,
    /// Encapsulation for `tun`.
    pub tunnel: Tunnel,
}

impl PathTarget {
    /// Returns the part of a target that the path needs.
    #[must_use]
    pub const fn of(target: &Target) -> Self {
        Self {
            vip: target.vip,
            protocol: target.key.protocol,
            real: target.key.real,
            real_id: target.real_id,
            forward: target.forward,
            tunnel: target.key.tunnel,
        }
    }
}

/// A socket for ICMP echo requests.
#[derive(Debug)]
pub struct PingSocket {
    /// The socket: non-blocking, of protocol ICMP or `ICMPv6`.
    pub socket: Socket,
    /// Identifier of the requests, for raw sockets; `None`: a datagram socket, whose identifier the kernel sets.
    pub identifier: Option<u16>,
}

/// Maker of sockets whose packets the data plane forwards to one real. It lives on one thread, in a network
/// namespace of its own.
pub trait PathSockets {
    /// Makes a TCP socket: bound, non-blocking and not yet connected.
    ///
    /// # Errors
    /// If no socket or port is available; the probe then has no verdict.
    fn tcp(&mut self, target: &PathTarget) -> io::Result<Socket>;

    /// Makes a UDP socket: bound, non-blocking and not connected.
    ///
    /// # Errors
    /// As [`Self::tcp`].
    fn udp(&mut self, target: &PathTarget) -> io::Result<Socket>;

    /// Makes a socket for ICMP echo requests to the VIP.
    ///
    /// # Errors
    /// As [`Self::tcp`], or if pings do not travel the path.
    fn ping(&mut self, target: &PathTarget) -> io::Result<PingSocket>;

    /// Takes back the port of a socket, which is closed by now. `local` is the address to which it was bound,
    /// and `is_ping` tells sockets of [`Self::ping`] from the others.
    fn release(&mut self, target: &PathTarget, local: SocketAddr, is_ping: bool);

    /// Returns whether the path is lost for good. The thread then ends, and a later one makes a new path.
    fn is_lost(&self) -> bool {
        false
    }

    /// Makes a UDP socket, bound and non-blocking, and returns the address to connect it to: the first link of the
    /// path returns every datagram. If none comes back, the director is sick and not the reals. `None`: the path
    /// returns no datagrams. The port is not given back by [`Self::release`]: the socket is closed within two seconds.
    fn canary(&mut self) -> Option<io::Result<(Socket, SocketAddr)>> {
        None
    }
}
