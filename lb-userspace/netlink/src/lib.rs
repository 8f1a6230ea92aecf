// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access to the kernel's network configuration: links, addresses, routes and neighbours.
//!
//! A thin layer over `rtnetlink` with plain values, and with errors that an operator can act on. A netlink
//! socket belongs permanently to the network namespace of the thread that opens it: [`Netlink::open`] and
//! [`Watch::open`] open theirs on the calling thread, and all their operations happen in that namespace.
#![forbid(unsafe_code)]
// The print macros panic if stdout or stderr is closed.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod address; //              addresses: list, add, remove
pub mod ipvs; //             the kernel's IPVS
mod link; //                 interfaces by name and index
mod neighbour; //            neighbour entries: look up, keep alive
pub mod neighbour_frames; // frames of ARP and neighbour discovery
mod route; //                routes to addresses
pub mod sysctl; //           settings of interfaces below /proc/sys
mod tunnel; //               tunnel devices for decapsulation
mod veth; //                 veth pairs into other namespaces
mod watch; //                events about changes

use std::{io, net::IpAddr};

use futures_util::TryStreamExt as _;
use netlink_packet_route::AddressFamily;
use nix::libc;

use lb_model::failure::Failure;

pub use address::{Added, Address, Removed};
pub use link::{Interface, Vlan, XdpPlace};
pub use neighbour::{Neighbour, NeighbourState};
pub use route::{Route, RouteKind};
pub use tunnel::TunnelDevice;
pub use watch::{Change, Watch};

/// An Ethernet address in network byte order.
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

/// Reason why a netlink request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be opened: a sandbox, or no descriptors left.
    #[error("cannot open a netlink socket: {0}")]
    Open(io::Error),
    /// The interface, given by name, or as `#7` by index, does not exist.
    #[error("there is no interface {0}")]
    NoSuchInterface(String),
    /// `CAP_NET_ADMIN` is missing.
    #[error("not permitted to {doing}")]
    NotPermitted {
        /// Operation, as an infinitive.
        doing: String,
    },
    /// The kernel lacks a feature, and has no module for it.
    #[error("this kernel cannot {doing}")]
    Unsupported {
        /// Operation, as an infinitive.
        doing: String,
    },
    /// The kernel refused for another reason.
    #[error("cannot {doing}: {reason}")]
    Refused {
        /// Operation, as an infinitive.
        doing: String,
        /// Error of the kernel.
        reason: io::Error,
    },
    /// The connection broke, or an answer was invalid.
    #[error("cannot {doing}: {detail}")]
    Broken {
        /// Operation, as an infinitive.
        doing: String,
        /// Description of the error.
        detail: String,
    },
}

impl NetlinkError {
    /// Classifies an error of `rtnetlink`; `doing` completes "cannot …".
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

/// Returns the positive errno of the kernel's answer, if it has one.
fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(answer) => answer.code.map(|code| code.get().abs()),
        _ => None,
    }
}

/// Returns the first answer to a request that has at most one.
async fn first<T>(
    answers: impl futures_util::Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Option<T>, rtnetlink::Error> {
    std::pin::pin!(answers).try_next().await
}

/// Returns the family of an address, for netlink headers.
const fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
