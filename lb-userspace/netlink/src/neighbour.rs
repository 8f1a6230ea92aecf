// SPDX-License-Identifier: MIT OR Apache-2.0
//! Neighbour entries: the Ethernet addresses of IP addresses on a link.

use std::net::IpAddr;

use futures_util::StreamExt as _;
pub use netlink_packet_route::neighbour::NeighbourState;
use netlink_packet_route::{
    RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage},
};
use nix::libc;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};

use super::{Mac, Netlink, NetlinkError, errno, family};

/// An entry of the kernel's neighbour table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Neighbour {
    /// Ethernet address of the neighbour; only valid while [`Neighbour::usable_mac`] returns it.
    pub mac: Option<Mac>,
    /// State of the entry.
    pub state: NeighbourState,
    /// The kernel keeps the entry alive by itself (`NTF_EXT_MANAGED`, since 5.16).
    pub managed: bool,
    /// Another program keeps the entry: it was added by hand, or by a routing daemon (`NTF_EXT_LEARNED`).
    pub foreign: bool,
}

impl Neighbour {
    /// Returns the Ethernet address, if the kernel itself would send to it now.
    #[must_use]
    pub fn usable_mac(&self) -> Option<Mac> {
        match self.state {
            // NUD_VALID of include/net/neighbour.h
            NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp => self.mac,
            _ => None,
        }
    }
}

impl Netlink {
    /// Returns the neighbour entry of `ip` on an interface; `None` if there is none.
    pub async fn neighbour(&self, ifindex: u32, ip: IpAddr) -> Result<Option<Neighbour>, NetlinkError> {
        let doing = || format!("look up the neighbour {ip}");
        let mut question = NeighbourMessage::default();
        question.header.family = family(ip);
        question.header.ifindex = ifindex;
        question.attributes.push(NeighbourAttribute::Destination(ip.into()));
        // rtnetlink only lists whole tables; since Linux 5.0 the kernel returns single entries.
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(question));
        request.header.flags = NLM_F_REQUEST;

        let mut answers = self.handle.clone().request(request).map_err(|e| NetlinkError::new(doing(), &e))?;
        let Some(answer) = answers.next().await else { return Ok(None) };
        match answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) => {
                Ok(Some(Neighbour::from(&message)))
            }
            NetlinkPayload::Error(answer) => match rtnetlink::Error::NetlinkError(answer) {
                e if errno(&e) == Some(libc::ENOENT) => Ok(None),
                e => Err(NetlinkError::new(doing(), &e)),
            },
            other => Err(NetlinkError::Broken { doing: doing(), detail: format!("answer {other:?}") }),
        }
    }

    /// Makes the kernel resolve the Ethernet address of `ip`, and keep the entry alive from then on.
    ///
    /// Kernels before 5.16 ignore the flag that keeps the entry alive: there, the entry stays unmanaged and
    /// this must be called periodically. Returns at once; the answer, or its absence, causes a change event
    /// of the neighbour. Must not be called for a [`foreign`](Neighbour::foreign) entry, which would become
    /// an ordinary one.
    pub async fn keep_neighbour(&self, ifindex: u32, ip: IpAddr) -> Result<(), NetlinkError> {
        self.use_neighbour(ifindex, ip, NeighbourExtFlags::Managed)
            .await
            .map_err(|e| NetlinkError::new(format!("ask for the neighbour {ip}"), &e))
    }

    /// Lets an entry age again that [`Netlink::keep_neighbour`] kept alive.
    pub async fn release_neighbour(&self, ifindex: u32, ip: IpAddr) -> Result<(), NetlinkError> {
        match self.neighbour(ifindex, ip).await? {
            Some(neighbour) if neighbour.managed => {}
            _ => return Ok(()),
        }
        match self.use_neighbour(ifindex, ip, NeighbourExtFlags::empty()).await {
            Ok(()) => Ok(()),
            Err(e) if errno(&e) == Some(libc::ENODEV) => Ok(()), // removed with its interface
            Err(e) => Err(NetlinkError::new(format!("release the neighbour {ip}"), &e)),
        }
    }

    /// Does the same as `ip neighbour replace IP dev IF use [managed]`.
    async fn use_neighbour(
        &self,
        ifindex: u32,
        ip: IpAddr,
        flags: NeighbourExtFlags,
    ) -> Result<(), rtnetlink::Error> {
        let mut request = self
            .handle
            .neighbours()
            .add(ifindex, ip)
            .replace()
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use);
        request.message_mut().attributes.push(NeighbourAttribute::ExtFlags(flags));
        request.execute().await
    }
}

impl From<&NeighbourMessage> for Neighbour {
    fn from(message: &NeighbourMessage) -> Self {
        let mut neighbour = Self {
            mac: None,
            state: message.header.state,
            managed: false,
            foreign: message.header.state == NeighbourState::Permanent
                || message.header.flags.contains(NeighbourFlags::ExtLearned),
        };
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    neighbour.mac = bytes.as_slice().try_into().ok();
                }
                NeighbourAttribute::ExtFlags(flags) => {
                    neighbour.managed = flags.contains(NeighbourExtFlags::Managed);
                }
                _ => {}
            }
        }
        neighbour
    }
}

/// Returns the address of a neighbour message.
pub(super) fn destination(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some((*v4).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    })
}
