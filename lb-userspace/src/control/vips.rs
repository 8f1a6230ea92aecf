// SPDX-License-Identifier: MIT OR Apache-2.0
//! The director's VIPs: on the ingress interface while services need them, and announced to the link; and when they answer pings.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::Deserialize;

use super::announce::announce;
use crate::netlink::{Added, Interface, Netlink, NetlinkError};

/// When VIPs answer pings.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum VipPing {
    /// Whatever becomes of the reals.
    #[default]
    Always,
    /// While a real of any of the VIP's services takes connections.
    Serving,
}

/// Why a VIP is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum VipError {
    /// It could not be looked up, added or removed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// It is on the interface, but nobody on the link was told: neighbours may send elsewhere until they ask again.
    #[error("{vip} is on {interface} but could not be announced: {reason}")]
    NotAnnounced {
        /// The address.
        vip: IpAddr,
        /// The interface's name.
        interface: String,
        /// The system's reason.
        reason: std::io::Error,
    },
}

/// What [`VipManager::reconcile`] did about one VIP.
#[derive(Debug)]
pub enum VipEvent {
    /// Added to the interface and announced.
    Added(IpAddr),
    /// Not added: this host had it already, so it is somebody else's to remove.
    AlreadyThere(IpAddr),
    /// Removed: no service needs it any more.
    Removed(IpAddr),
    /// Not done.
    Failed(IpAddr, VipError),
}

/// Adds VIPs to the ingress interface, and removes those, and only those, that it added.
#[derive(Debug)]
pub struct VipManager {
    netlink: Netlink,
    interface: Interface,
    added: BTreeSet<IpAddr>,
}

/// Removes a VIP from every interface that has it as a host address; their names.
///
/// # Errors
/// If it cannot be looked up or removed.
pub async fn remove_everywhere(netlink: &Netlink, vip: IpAddr) -> Result<Vec<String>, NetlinkError> {
    let mut names = Vec::new();
    for holder in netlink.holders(vip).await? {
        if holder.net == IpNet::from(vip) {
            let interface = netlink.interface_by_index(holder.ifindex).await?;
            netlink.remove_address(&interface, holder.net).await?;
            names.push(interface.name);
        }
    }
    Ok(names)
}

impl VipManager {
    /// Manages the VIPs of `interface`; `added` are those that an earlier run says it added.
    #[must_use]
    pub const fn new(netlink: Netlink, interface: Interface, added: BTreeSet<IpAddr>) -> Self {
        Self { netlink, interface, added }
    }

    /// The VIPs that are there because of us: to be written to the state file after each change.
    #[must_use]
    pub const fn added(&self) -> &BTreeSet<IpAddr> {
        &self.added
    }

    /// Makes `wanted` be addresses of this host, and removes what was added and is not wanted any more.
    ///
    /// A VIP that fails does not keep the others from being done. Idempotent.
    pub async fn reconcile(&mut self, wanted: &BTreeSet<IpAddr>) -> Vec<VipEvent> {
        let mut events = Vec::new();
        for vip in self.added.difference(wanted).copied().collect::<Vec<_>>() {
            match self.remove(vip).await {
                Ok(()) => events.push(VipEvent::Removed(vip)),
                Err(error) => events.push(VipEvent::Failed(vip, error)),
            }
        }
        for vip in wanted {
            match self.add(*vip).await {
                Ok(Added::Now) => events.push(VipEvent::Added(*vip)),
                Ok(Added::AlreadyThere) if self.added.contains(vip) => {}
                Ok(Added::AlreadyThere) => events.push(VipEvent::AlreadyThere(*vip)),
                Err(error) => events.push(VipEvent::Failed(*vip, error)),
            }
        }
        events
    }

    /// Adds a VIP and announces it, unless it is an address of this host already, on whatever interface.
    ///
    /// # Errors
    /// After [`VipError::NotAnnounced`] it has been added nevertheless.
    pub async fn add(&mut self, vip: IpAddr) -> Result<Added, VipError> {
        if !self.netlink.holders(vip).await?.is_empty() {
            return Ok(Added::AlreadyThere);
        }
        let added = self.netlink.add_address(&self.interface, IpNet::from(vip)).await?;
        if added == Added::Now {
            self.added.insert(vip);
            self.announce(vip)?;
        }
        Ok(added)
    }

    /// Removes a VIP if it was added here; others are left alone.
    pub async fn remove(&mut self, vip: IpAddr) -> Result<(), VipError> {
        if self.added.contains(&vip) {
            // Wherever it is: an earlier run may have had another interface.
            remove_everywhere(&self.netlink, vip).await?;
            self.added.remove(&vip);
        }
        Ok(())
    }

    /// Tells the link again that the VIP is here. Nothing to do on an interface without Ethernet.
    pub fn announce(&self, vip: IpAddr) -> Result<(), VipError> {
        let Some(mac) = self.interface.mac else { return Ok(()) };
        announce(vip, mac, self.interface.index).map_err(|reason| VipError::NotAnnounced {
            vip,
            interface: self.interface.name.clone(),
            reason,
        })
    }
}
