// SPDX-License-Identifier: MIT OR Apache-2.0
//! A packet socket that sends whole frames through one interface, and receives from every interface.
#![forbid(unsafe_code)]

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashMap},
    io,
    net::SocketAddr,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lb_common::protocol;
use nix::{
    ifaddrs::getifaddrs,
    sys::{
        socket::{
            AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto,
            setsockopt, socket,
            sockopt::{RcvBufForce, ReceiveTimeout},
        },
        time::{TimeVal, TimeValLike as _},
    },
};

use lb_model::failure::chain;

/// Timeout of a single receive call, in milliseconds.
const TICK_MS: i64 = 10;

/// Size of the receive buffer, in bytes: all reals of all services are probed before the first answer is read.
const ROOM: usize = 64 << 20;

/// Number of frames after which sending pauses for the link and the machines that answer.
const BURST: u32 = 64;
const MOMENT: Duration = Duration::from_millis(1);

pub(super) struct Wire {
    socket: OwnedFd,
    links: HashMap<u32, LinkAddr>,
    loopback: Option<u32>,
    /// Protocols and destinations of connections that began on the loopback device while listening.
    local: RefCell<BTreeSet<(u8, SocketAddr)>>,
    /// Number of frames sent.
    sent: Cell<u32>,
}

impl Wire {
    /// Opens the socket in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        // SOCK_RAW uses only the index of the address. nix cannot construct such addresses, but `getifaddrs`
        // lists them.
        let links: Vec<_> = getifaddrs()?
            .filter_map(|entry| Some((entry.interface_name, entry.address?.as_link_addr().copied()?)))
            .collect();
        let loopback =
            links.iter().find(|(name, _)| name == "lo").map(|(_, address)| address.ifindex() as u32);
        let links = links.into_iter().map(|(_, address)| (address.ifindex() as u32, address)).collect();
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(TICK_MS))?;
        if let Err(error) = setsockopt(&socket, RcvBufForce, &ROOM) {
            tracing::debug!(error = chain(&error), "doctor: answers of many reals may be lost");
        }
        Ok(Self { socket, links, loopback, local: RefCell::default(), sent: Cell::default() })
    }

    /// Sends a frame. A lost frame shows as a missing answer.
    pub(super) fn send(&self, ifindex: u32, frame: &[u8]) {
        let Some(link) = self.links.get(&ifindex) else { return };
        self.sent.set(self.sent.get().wrapping_add(1));
        if self.sent.get().is_multiple_of(BURST) {
            #[expect(
                clippy::disallowed_methods,
                reason = "a pause of 1 ms between probes, which are not async"
            )]
            std::thread::sleep(MOMENT);
        }
        if let Err(error) = sendto(self.socket.as_raw_fd(), frame, link, MsgFlags::empty()) {
            tracing::debug!(ifindex, error = chain(&error), "doctor: a probe was not sent");
        }
    }

    /// Passes every received frame with its interface to `receive`, until `receive` returns true or `patience`
    /// has elapsed.
    pub(super) fn listen(&self, patience: Duration, mut receive: impl FnMut(u32, &[u8]) -> bool) {
        let end = Instant::now() + patience;
        let mut frame = [0; 2048];
        while Instant::now() < end {
            // A timeout gives the chance to check the time.
            let Ok((length, from)) = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame) else {
                continue;
            };
            let ifindex = from.map_or(0, |from| from.ifindex() as u32);
            if Some(ifindex) == self.loopback {
                self.local.borrow_mut().extend(begun(&frame[..length.min(frame.len())]));
            }
            if receive(ifindex, &frame[..length.min(frame.len())]) {
                return;
            }
        }
    }

    /// Returns the destinations to which programs of this host began to send on the loopback device while listening.
    pub(super) fn local_clients(&self) -> BTreeSet<(u8, SocketAddr)> {
        self.local.borrow().clone()
    }
}

/// Returns protocol and destination of a frame that begins a TCP connection, or is a UDP datagram.
fn begun(frame: &[u8]) -> Option<(u8, SocketAddr)> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let to = match sliced.net? {
        NetSlice::Ipv4(ip) => ip.header().destination_addr().into(),
        NetSlice::Ipv6(ip) => ip.header().destination_addr().into(),
        NetSlice::Arp(_) => return None,
    };
    match sliced.transport? {
        TransportSlice::Tcp(tcp) if tcp.syn() && !tcp.ack() => {
            Some((protocol::TCP, SocketAddr::new(to, tcp.destination_port())))
        }
        TransportSlice::Udp(udp) => Some((protocol::UDP, SocketAddr::new(to, udp.destination_port()))),
        _ => None,
    }
}
