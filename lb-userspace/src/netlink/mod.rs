// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xvs asks of the kernel's routing tables: links, addresses, routes and neighbours.
//!
//! A thin layer over `rtnetlink` that speaks in plain values and in errors an operator can act on.
//! A netlink socket belongs to the network namespace of the thread that opens it, for good: [`Netlink::open`] and
//! [`Watch::open`] open theirs on the calling thread, and everything done through them happens in that namespace.
#![forbid(unsafe_code)]

mod address; //    which addresses are where; add, remove
mod link; //       interfaces by name and index
mod neighbour; //  ARP and neighbour discovery: look up, keep alive
pub mod neighbour_frames; // questions and answers of ARP and neighbour discovery
mod route; //      which way to an address
mod tunnel; //     devices that unwrap packets
mod watch; //      told when any of this changes

use std::{io, net::IpAddr};

use futures_util::TryStreamExt as _;
use netlink_packet_route::AddressFamily;
use nix::libc;

use crate::failure::Failure;

pub use address::{Added, Address, Removed};
pub use link::{Interface, Vlan, XdpPlace};
pub use neighbour::{Neighbour, NeighbourState};
pub use route::{Route, RouteKind};
pub use tunnel::TunnelDevice;
pub use watch::{Change, Watch};

/// An Ethernet address, as on the wire.
pub type Mac = [u8; 6];

/// A connection to the kernel's routing tables in one network namespace. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

impl Netlink {
    /// Connects to the network namespace of the calling thread. Needs a tokio runtime.
    pub fn open() -> Result<Self, NetlinkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }
}

/// Why the kernel did not do, or did not tell, what was asked over netlink.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket: a sandbox, or no descriptors left.
    #[error("cannot open a netlink socket: {0}")]
    Open(io::Error),
    /// By name, or as `#7` by index.
    #[error("there is no interface {0}")]
    NoSuchInterface(String),
    /// `CAP_NET_ADMIN` is missing.
    #[error("not permitted to {doing}")]
    NotPermitted {
        /// What was asked for, as an infinitive.
        doing: String,
    },
    /// The kernel was built without what this needs and has no module for it.
    #[error("this kernel cannot {doing}")]
    Unsupported {
        /// What was asked for, as an infinitive.
        doing: String,
    },
    /// The kernel refused for another reason.
    #[error("cannot {doing}: {reason}")]
    Refused {
        /// What was asked for, as an infinitive.
        doing: String,
        /// The kernel's reason.
        reason: io::Error,
    },
    /// The connection broke, or an answer made no sense.
    #[error("cannot {doing}: {detail}")]
    Broken {
        /// What was asked for, as an infinitive.
        doing: String,
        /// What came instead of an answer.
        detail: String,
    },
}

impl NetlinkError {
    /// Sorts an error of `rtnetlink`; `doing` completes "cannot …".
    fn new(doing: impl Into<String>, error: &rtnetlink::Error) -> Self {
        let doing = doing.into();
        match errno(error) {
            Some(libc::EPERM) => Self::NotPermitted { doing },
            Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => Self::Unsupported { doing },
            Some(errno) => Self::Refused { doing, reason: io::Error::from_raw_os_error(errno) },
            None => Self::Broken { doing, detail: error.to_string() },
        }
    }
}

impl From<NetlinkError> for Failure {
    fn from(error: NetlinkError) -> Self {
        let message = error.to_string();
        match error {
            NetlinkError::NoSuchInterface(_) => {
                Self::wrong_input(message).hint("`ip -brief link` lists the interfaces of this host")
            }
            NetlinkError::NotPermitted { .. } => {
                Self::failed(message).hint("run as root, or with CAP_NET_ADMIN")
            }
            NetlinkError::Open(_)
            | NetlinkError::Unsupported { .. }
            | NetlinkError::Refused { .. }
            | NetlinkError::Broken { .. } => Self::failed(message),
        }
    }
}

/// The positive errno the kernel answered with, if it answered with one.
fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(answer) => answer.code.map(|code| code.get().abs()),
        _ => None,
    }
}

/// The first answer to a request that has at most one.
async fn first<T>(
    answers: impl futures_util::Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Option<T>, rtnetlink::Error> {
    std::pin::pin!(answers).try_next().await
}

/// The family of an address, as netlink headers want it.
const fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
