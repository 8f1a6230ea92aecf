// SPDX-License-Identifier: MIT OR Apache-2.0
//! UDP sockets of sender and receiver.
#![forbid(unsafe_code)]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use lb_control::sync::Link;
use lb_model::failure::{ErrorCode, Failure};
use nix::net::if_::if_nametoindex;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Size of the receive buffer in bytes, as far as the kernel permits: a second of messages.
const BUFFER: usize = 4 << 20;

/// Opens the socket of a receiver.
///
/// # Errors
/// If there is no such interface (the failure is wrong input), or the kernel refuses.
pub(super) fn receiver(link: &Link) -> Result<UdpSocket, Failure> {
    let index = index_of(link)?;
    let has_peers = !link.peers.is_empty();
    let is_v6 = link.destinations().iter().any(IpAddr::is_ipv6);
    let open = || -> io::Result<UdpSocket> {
        let socket = new(link, is_v6)?;
        socket.set_reuse_address(true)?;
        // The kernel's limit applies.
        let _smaller = socket.set_recv_buffer_size(BUFFER);
        let address = match (has_peers, link.group) {
            (true, _) if is_v6 => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), link.port),
            (true, _) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), link.port),
            (false, IpAddr::V6(group)) => SocketAddrV6::new(group, link.port, 0, index).into(),
            (false, group) => SocketAddr::new(group, link.port),
        };
        socket.bind(&address.into())?;
        if !has_peers {
            match link.group {
                IpAddr::V4(group) => {
                    socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?;
                }
                IpAddr::V6(group) => socket.join_multicast_v6(&group, index)?,
            }
        }
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket.into())
    };
    open().map_err(|error| {
        Failure::failed(format!("cannot receive announcements on port {}: {error}", link.port))
            .hint("does another program use the port? `ss -ulpn` lists them")
    })
}

/// Opens the socket of a sender, and returns it with the destinations of messages.
///
/// # Errors
/// As [`receiver`].
pub(super) fn sender(link: &Link) -> Result<(UdpSocket, Vec<SocketAddr>), Failure> {
    let index = index_of(link)?;
    let is_v6 = link.destinations().iter().any(IpAddr::is_ipv6);
    let open = || -> io::Result<UdpSocket> {
        let socket = new(link, is_v6)?;
        if is_v6 {
            socket.set_multicast_loop_v6(false)?;
            socket.set_multicast_hops_v6(link.ttl.into())?;
            socket.set_multicast_if_v6(index)?;
        } else {
            socket.set_multicast_loop_v4(false)?;
            socket.set_multicast_ttl_v4(link.ttl.into())?;
        }
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket.into())
    };
    let socket = open().map_err(|error| Failure::failed(format!("cannot send announcements: {error}")))?;
    let to = |ip: &IpAddr| match ip {
        IpAddr::V6(v6) if v6.is_multicast() => SocketAddrV6::new(*v6, link.port, 0, index).into(),
        IpAddr::V4(v4) if is_v6 => SocketAddr::new(v4.to_ipv6_mapped().into(), link.port),
        ip => SocketAddr::new(*ip, link.port),
    };
    Ok((socket, link.destinations().iter().map(to).collect()))
}

/// Returns a socket on the interface.
fn new(link: &Link, is_v6: bool) -> io::Result<Socket> {
    let domain = if is_v6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(interface) = &link.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    Ok(socket)
}

/// Returns the index of the interface if it has another one than `known`: it was removed and created again.
pub(super) fn changed_index(link: &Link, known: u32) -> Option<u32> {
    index_of(link).ok().filter(|index| *index != known)
}

/// Returns the index of the interface, 0 if the link has none.
///
/// # Errors
/// If there is no such interface; the failure is wrong input.
pub(super) fn index_of(link: &Link) -> Result<u32, Failure> {
    let Some(name) = &link.interface else { return Ok(0) };
    if_nametoindex(name.as_str()).map_err(|_| {
        Failure::wrong_input(format!("there is no interface {name}"))
            .hint("`ip -brief link` lists the interfaces of this host")
            .because(ErrorCode::NoInterface)
    })
}
