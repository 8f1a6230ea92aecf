// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets and connections of probes, by path and direct.
#![forbid(unsafe_code)]

use std::{
    cell::RefCell,
    io,
    net::{SocketAddr, TcpStream as StdTcpStream, UdpSocket as StdUdpSocket},
    rc::Rc,
    time::Duration,
};

use lb_model::health::ResultCode;
use nix::errno::Errno;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::{
    Outcome, Way,
    trace::{Stage, Trace},
};
use crate::{
    path::{PathSockets, PathTarget, PingSocket},
    target::Target,
};

/// Port of a socket by path, which is given back when the socket is closed: drop it after the socket.
pub(super) struct Lease {
    sockets: Rc<RefCell<Box<dyn PathSockets>>>,
    target: PathTarget,
    local: SocketAddr,
    is_ping: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.sockets.borrow_mut().release(&self.target, self.local, self.is_ping);
    }
}

/// Returns the address to which probes of a target go.
pub(super) fn address(target: &Target) -> SocketAddr {
    if target.check.via == lb_model::check::Via::Path {
        return target.vip;
    }
    let real = target.key.real;
    SocketAddr::new(real.ip(), target.check.port.unwrap_or(real.port()))
}

/// Refuses an address without a port.
fn with_port(address: SocketAddr) -> Result<SocketAddr, Outcome> {
    if address.port() == 0 {
        let why = "the service has every port, so the check needs a port of its own: use via direct and port";
        return Err(Outcome::new(ResultCode::SocketError, why));
    }
    Ok(address)
}

/// Opens a TCP connection to a target.
pub(super) async fn tcp(
    target: &Target,
    way: &Way,
    trace: &Trace,
) -> Result<(Option<Lease>, TcpStream), Outcome> {
    let address = with_port(address(target))?;
    let (lease, socket) = tcp_socket(target, way, address);
    let socket = socket.map_err(|error| no_socket(&error))?;
    trace.step(|| format!("connect to {address} …"));
    trace.enter(Stage::Connect);
    let (lease, stream) = match (connect(socket, address).await, way) {
        // Another probe of the real has the port, which `bind` permits: the next port may be free.
        (Err(error), Way::Path(_)) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            drop(lease);
            let (lease, socket) = tcp_socket(target, way, address);
            let socket = socket.map_err(|error| no_socket(&error))?;
            (lease, connect(socket, address).await)
        }
        (result, _) => (lease, result),
    };
    let stream = stream.map_err(|error| refused(&error))?;
    trace.step(|| format!("connected after {}", trace.elapsed()));
    Ok((lease, stream))
}

/// Makes a TCP socket for a target.
fn tcp_socket(target: &Target, way: &Way, address: SocketAddr) -> (Option<Lease>, io::Result<Socket>) {
    match way {
        Way::Direct => (None, plain(address, Type::STREAM)),
        Way::Path(sockets) => lease(sockets, target, |sockets, target| sockets.tcp(target)),
    }
}

/// Connects a TCP socket.
pub(crate) async fn connect(socket: Socket, address: SocketAddr) -> io::Result<TcpStream> {
    // Closing sends a RST instead of a FIN: no TIME_WAIT blocks the port.
    socket.set_linger(Some(Duration::ZERO))?;
    TcpSocket::from_std_stream(StdTcpStream::from(socket)).connect(address).await
}

/// Opens a UDP socket that is connected to a target.
pub(super) async fn udp(
    target: &Target,
    way: &Way,
    trace: &Trace,
) -> Result<(Option<Lease>, UdpSocket), Outcome> {
    let address = with_port(address(target))?;
    let (lease, socket) = match way {
        Way::Direct => (None, plain(address, Type::DGRAM)),
        Way::Path(sockets) => lease(sockets, target, |sockets, target| sockets.udp(target)),
    };
    let socket = socket.and_then(|socket| UdpSocket::from_std(StdUdpSocket::from(socket)));
    let socket = socket.map_err(|error| no_socket(&error))?;
    trace.enter(Stage::Datagram);
    socket.connect(address).await.map_err(|error| refused(&error))?;
    Ok((lease, socket))
}

/// Makes a socket for pings by path.
pub(super) fn ping_by_path(
    sockets: &Rc<RefCell<Box<dyn PathSockets>>>,
    target: &Target,
) -> Result<(Option<Lease>, PingSocket), Outcome> {
    let target = PathTarget::of(target);
    let ping = sockets.borrow_mut().ping(&target).map_err(|error| no_socket(&error))?;
    let local = ping.socket.local_addr().ok().and_then(|local| local.as_socket());
    let lease = local.map(|local| Lease { sockets: Rc::clone(sockets), target, local, is_ping: true });
    Ok((lease, ping))
}

fn plain(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    Socket::new(Domain::for_address(address), kind.nonblocking().cloexec(), None)
}

fn lease(
    sockets: &Rc<RefCell<Box<dyn PathSockets>>>,
    target: &Target,
    make: impl FnOnce(&mut dyn PathSockets, &PathTarget) -> io::Result<Socket>,
) -> (Option<Lease>, io::Result<Socket>) {
    let target = PathTarget::of(target);
    let socket = make(&mut **sockets.borrow_mut(), &target);
    let local = socket.as_ref().ok().and_then(|socket| socket.local_addr().ok()?.as_socket());
    let lease = local.map(|local| Lease { sockets: Rc::clone(sockets), target, local, is_ping: false });
    (lease, socket)
}

/// Returns the outcome if the director has no socket for a probe.
pub(super) fn no_socket(error: &io::Error) -> Outcome {
    if error.kind() == io::ErrorKind::HostUnreachable && error.raw_os_error().is_none() {
        // The maker of the sockets knows that no packet can reach the real.
        return Outcome::new(ResultCode::L4Connection, error.to_string());
    }
    Outcome::new(ResultCode::SocketError, format!("cannot make a socket: {}", words(error)))
}

/// Returns the outcome if the kernel refuses to connect or to send, or an ICMP error arrives.
pub(super) fn refused(error: &io::Error) -> Outcome {
    let code = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ETIMEDOUT) => ResultCode::L4Timeout,
        Some(
            Errno::ECONNREFUSED
            | Errno::ECONNRESET
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::ENOPROTOOPT
            | Errno::ENOTCONN
            | Errno::EPIPE
            | Errno::EPROTO,
        ) => ResultCode::L4Connection,
        // The director lacks ports, memory or permission: the real is not to blame.
        _ => ResultCode::SocketError,
    };
    Outcome::new(code, words(error))
}

/// Returns the words of an error, without its number.
pub(super) fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    }
}
