// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events about changes of links, addresses, routes or neighbours.

use std::{net::IpAddr, time::Duration};

use futures_util::{Stream, StreamExt as _};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    sys::SocketAddr,
};
use tokio::time::{Instant, timeout_at};

use super::{Netlink, NetlinkError, address::Address, neighbour};

const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
];

/// A change. The present state must be queried: several changes may lie between an event and its processing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// An interface was added or removed, or changed its state, name, MAC or MTU.
    Link {
        /// Index of the interface.
        ifindex: u32,
    },
    /// An interface gained or lost an address.
    Address {
        /// Address.
        ip: IpAddr,
        /// Index of the interface.
        ifindex: u32,
    },
    /// A route was added or removed.
    Route,
    /// A neighbour entry was added or removed, or changed its MAC or state.
    Neighbour {
        /// Index of the interface.
        ifindex: u32,
        /// Address of the neighbour.
        ip: IpAddr,
    },
    /// The socket's buffer overflowed: anything may have changed.
    Missed,
}

/// A stream of changes in one network namespace.
///
/// Changes wait in memory until they are read: keep reading.
pub struct Watch {
    messages: Messages,
    /// Kept for its socket: the connection ends when every handle is dropped.
    _netlink: Netlink,
}

type Messages =
    std::pin::Pin<Box<dyn Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)> + Send>>;

impl Watch {
    /// Watches the network namespace of the calling thread. Needs a tokio runtime.
    pub fn open() -> Result<Self, NetlinkError> {
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(&GROUPS).map_err(NetlinkError::Open)?;
        tokio::spawn(connection);
        Ok(Self { messages: Box::pin(messages), _netlink: Netlink { handle } })
    }

    /// Returns the next change; `None` if the socket broke (then open another one, and treat everything as
    /// changed).
    ///
    /// Cancelling this future loses nothing.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            let (message, _) = self.messages.next().await?;
            if let Some(change) = Change::parse(&message.payload) {
                return Some(change);
            }
        }
    }

    /// Waits for a change that `concerns` the caller, then until there was none for `quiet`, but not longer
    /// than ten times that. Returns `false` if the socket broke.
    ///
    /// A pulled cable causes hundreds of changes at once, and one response to all of them is enough.
    ///
    /// Cancelling this future loses the changes that it has read: in a `select!`, wait for
    /// [`next`](Self::next).
    pub async fn settled(&mut self, quiet: Duration, concerns: impl Fn(&Change) -> bool) -> bool {
        loop {
            match self.next().await {
                Some(change) if concerns(&change) => break,
                Some(_) => {}
                None => return false,
            }
        }
        let latest = Instant::now() + 10 * quiet;
        let mut deadline = Instant::now() + quiet;
        loop {
            match timeout_at(deadline.min(latest), self.next()).await {
                Ok(Some(change)) if concerns(&change) => deadline = Instant::now() + quiet,
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }
}

impl Change {
    fn parse(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<Self> {
        use RouteNetlinkMessage as Message;

        let message = match payload {
            NetlinkPayload::InnerMessage(message) => message,
            NetlinkPayload::Overrun(_) => return Some(Self::Missed),
            _ => return None,
        };
        match message {
            Message::NewLink(link) | Message::DelLink(link) => {
                Some(Self::Link { ifindex: link.header.index })
            }
            Message::NewAddress(address) | Message::DelAddress(address) => {
                let Address { net, ifindex, .. } = Address::parse(address)?;
                Some(Self::Address { ip: net.addr(), ifindex })
            }
            Message::NewRoute(_) | Message::DelRoute(_) => Some(Self::Route),
            Message::NewNeighbour(entry) | Message::DelNeighbour(entry) => {
                Some(Self::Neighbour { ifindex: entry.header.ifindex, ip: neighbour::destination(entry)? })
            }
            _ => None,
        }
    }
}
