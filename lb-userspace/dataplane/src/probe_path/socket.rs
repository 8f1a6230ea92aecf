// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets of probes.
#![forbid(unsafe_code)]

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    libc::linger,
    sys::socket::{
        AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
    },
};

use super::target::{Place, ProbeProtocol};

/// Opens a nonblocking socket in the calling thread's network namespace, bound to the source address of a
/// place and to `port`.
///
/// # Errors
/// If the kernel refuses: `EADDRINUSE` if the port's last probe still has it, `EADDRNOTAVAIL` if the source
/// address is not in the namespace.
pub(super) fn open(place: &Place, port: u16) -> io::Result<OwnedFd> {
    let from = SocketAddr::new(place.source, port);
    let (kind, protocol) = match (place.protocol, place.source) {
        (ProbeProtocol::Tcp, _) => (SockType::Stream, SockProtocol::Tcp),
        (ProbeProtocol::Udp, _) => return open_udp(from, place.ttl()),
        (ProbeProtocol::Echo, IpAddr::V4(_)) => (SockType::Datagram, SockProtocol::Icmp),
        (ProbeProtocol::Echo, IpAddr::V6(_)) => (SockType::Datagram, SockProtocol::IcmpV6),
    };
    let fd = unbound(from.ip(), kind, protocol, place.ttl())?;
    if place.protocol == ProbeProtocol::Tcp {
        // The port is free again at once after a close, which resets the connection.
        setsockopt(&fd, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from))?;
    Ok(fd)
}

/// Opens a nonblocking UDP socket in the calling thread's network namespace, bound to an address and a port.
///
/// # Errors
/// As [`open`].
pub(super) fn open_udp(from: SocketAddr, ttl: u8) -> io::Result<OwnedFd> {
    let fd = unbound(from.ip(), SockType::Datagram, SockProtocol::Udp, ttl)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from))?;
    Ok(fd)
}

/// Opens a nonblocking socket for the IP version of an address.
fn unbound(address: IpAddr, kind: SockType, protocol: SockProtocol, ttl: u8) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, protocol)?;
    let ttl = i32::from(ttl);
    match address {
        IpAddr::V4(_) => setsockopt(&fd, sockopt::Ipv4Ttl, &ttl)?,
        IpAddr::V6(_) => setsockopt(&fd, sockopt::Ipv6Ttl, &ttl)?,
    }
    Ok(fd)
}
