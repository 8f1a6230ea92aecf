// SPDX-License-Identifier: MIT OR Apache-2.0
//! A packet socket: sends whole frames by one interface, and sees what every interface receives.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    ifaddrs::getifaddrs,
    sys::{
        socket::{
            AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto,
            setsockopt, socket, sockopt::ReceiveTimeout,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

/// How long a single look for a frame takes.
const TICK_MS: i64 = 10;

pub(super) struct Wire {
    socket: OwnedFd,
    links: HashMap<u32, LinkAddr>,
}

impl Wire {
    /// Opens it in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        // Of an address only the index counts for SOCK_RAW; nix makes none of these, but the system lists them.
        let links = getifaddrs()?
            .filter_map(|entry| entry.address?.as_link_addr().copied())
            .map(|address| (address.ifindex() as u32, address))
            .collect();
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(TICK_MS))?;
        Ok(Self { socket, links })
    }

    /// Sends a frame. One that is lost shows as an answer that does not come.
    pub(super) fn send(&self, ifindex: u32, frame: &[u8]) {
        let Some(link) = self.links.get(&ifindex) else { return };
        if let Err(error) = sendto(self.socket.as_raw_fd(), frame, link, MsgFlags::empty()) {
            tracing::debug!(ifindex, %error, "doctor: a probe was not sent");
        }
    }

    /// Hands every frame over that passes, and the interface that it passes by, until `heard` says that it has enough, or `patience` is over.
    pub(super) fn listen(&self, patience: Duration, mut heard: impl FnMut(u32, &[u8]) -> bool) {
        let end = Instant::now() + patience;
        let mut frame = [0; 2048];
        while Instant::now() < end {
            // A time-out is the chance to look at the clock.
            let Ok((length, from)) = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame) else {
                continue;
            };
            let ifindex = from.map_or(0, |from| from.ifindex() as u32);
            if heard(ifindex, &frame[..length.min(frame.len())]) {
                return;
            }
        }
    }
}
