// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small servers that answer with their name.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    ops::RangeInclusive,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::sys::{
    socket::{
        AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, listen,
        setsockopt, socket, sockopt::ReceiveTimeout,
    },
    time::{TimeVal, TimeValLike as _},
};

use super::Host;

/// Interval in which a server checks whether it must end, in milliseconds.
const TICK_MS: i64 = 50;

/// A server on a thread inside a host. Dropping it ends it.
#[must_use]
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a greeter that answers on all of these ports, over IPv4.
    #[track_caller]
    pub fn greeter_at_all(host: &Host, ports: RangeInclusive<u16>) -> Self {
        const PORT: u16 = 7000;
        let (first, last) = (ports.start(), ports.end());
        let redirect =
            "nft add table ip lab; add chain ip lab in { type nat hook prerouting priority -100; }";
        host.sh(&format!("{redirect}; add rule ip lab in tcp dport {first}-{last} redirect to :{PORT}"))
            .succeeds();
        Self::greeter(host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT))
    }

    /// Starts a TCP server that greets every connection with the host's name on a line, then echoes its
    /// input.
    #[track_caller]
    pub fn greeter(host: &Host, address: impl Into<SocketAddr>) -> Self {
        let address = address.into();
        let listener = host.run(|| TcpListener::bind(address));
        let listener = listener.unwrap_or_else(|error| panic!("tcp {address} on {}: {error}", host.name()));
        Self::greet_all(host, listener)
    }

    /// Starts a greeter over SCTP, in associations of one stream.
    #[track_caller]
    pub fn sctp_greeter(host: &Host, address: impl Into<SocketAddr>) -> Self {
        let address = address.into();
        let listener = host.run(|| -> nix::Result<OwnedFd> {
            let fd = sctp_socket(address)?;
            listen(&fd, Backlog::new(64)?)?;
            Ok(fd)
        });
        let listener = listener.unwrap_or_else(|error| panic!("sctp {address} on {}: {error}", host.name()));
        // The type only lends the methods that both protocols share.
        Self::greet_all(host, listener.into())
    }

    fn greet_all(host: &Host, listener: TcpListener) -> Self {
        limit_wait(&listener);
        let greeting = format!("{}\n", host.name());
        Self::start(host, move |stop| {
            while !stop.load(Ordering::Relaxed) {
                // A time-out is the occasion to check `stop`.
                let Ok((stream, _)) = listener.accept() else { continue };
                greet(stream, greeting.clone());
            }
        })
    }

    /// Starts a UDP server that answers every datagram with the host's name, a space, and the datagram's
    /// content.
    ///
    /// A reply has the address that the socket is bound to, so for `dr` and `tun` that is the VIP.
    #[track_caller]
    pub fn udp_echo(host: &Host, address: impl Into<SocketAddr>) -> Self {
        let address = address.into();
        let socket = host.run(|| UdpSocket::bind(address));
        let socket = socket.unwrap_or_else(|error| panic!("udp {address} on {}: {error}", host.name()));
        limit_wait(&socket);
        let name = host.name().to_owned();
        Self::start(host, move |stop| {
            let mut buffer = vec![0; 65_536];
            while !stop.load(Ordering::Relaxed) {
                // A time-out is the occasion to check `stop`; a refused reply is the client's loss.
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let _lost = socket.send_to(&[name.as_bytes(), b" ", &buffer[..length]].concat(), from);
            }
        })
    }

    fn start(host: &Host, serve: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Self { stop, thread: Some(host.ns().spawn(move || serve(&seen))) }
    }
}

/// Opens an SCTP association from one address to another, as a stream.
pub fn sctp_connect(from: &Host, address: SocketAddr, to: SocketAddr) -> nix::Result<TcpStream> {
    from.run(|| {
        let fd = sctp_socket(address)?;
        connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?;
        Ok(fd.into())
    })
}

/// Opens a socket at one address: at several addresses, SCTP would announce all of them to the peer.
fn sctp_socket(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, Some(SockProtocol::Sctp))?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd)
}

/// Makes `recv` and `accept` return now and then.
fn limit_wait(socket: &impl AsFd) {
    let tick = TimeVal::milliseconds(TICK_MS);
    setsockopt(socket, ReceiveTimeout, &tick).expect("a socket of ours");
}

/// Serves a connection in a thread that ends with the connection.
fn greet(mut stream: TcpStream, greeting: String) {
    let serve = move || -> io::Result<()> {
        // It has inherited the listener's; a client may be silent as long as it likes.
        stream.set_read_timeout(None)?;
        stream.write_all(greeting.as_bytes())?;
        io::copy(&mut &stream, &mut &stream).map(drop)
    };
    // Thousands of them are no exception.
    thread::Builder::new().stack_size(128 << 10).spawn(serve).expect("a thread for a connection");
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panicked)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("a server of the lab panicked: {panicked:?}");
        }
    }
}
