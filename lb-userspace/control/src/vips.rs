// SPDX-License-Identifier: MIT OR Apache-2.0
//! VIPs of the director: they are on the interface of their network while services need them, and are
//! announced to the link.
#![forbid(unsafe_code)]

mod home; // the interface for a VIP

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::Deserialize;

pub use home::home;

use super::announce::announce;
use lb_netlink::{Added, Address, Interface, Netlink, NetlinkError};

/// Condition under which VIPs answer pings.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum VipPing {
    /// Independent of the reals.
    #[default]
    Always,
    /// While a real of any of the VIP's services gets connections.
    Serving,
}

/// How the director makes its VIPs known to the network.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Announce {
    /// It adds them to the interface of their network, and announces them there by ARP and neighbour discovery.
    #[default]
    Arp,
    /// It adds each of them to one interface while it is ready and serves the VIP. A routing daemon announces the
    /// addresses of that interface.
    Address,
    /// It leaves them to others.
    None,
}

/// Where VIPs are added.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// The interface of their network, where no other machine may have them: see [`home`].
    Home,
    /// The interface of this name. No other machine on its link is asked for them.
    On(String),
}

/// Reason why a VIP could not be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum VipError {
    /// Looking it up, adding or removing it failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The VIP is on the interface, but could not be announced: neighbours may send elsewhere until they
    /// resolve it again.
    #[error("{vip} is on {interface} but could not be announced: {reason}")]
    NotAnnounced {
        /// Address.
        vip: IpAddr,
        /// Name of the interface.
        interface: String,
        /// Error of the system.
        reason: std::io::Error,
    },
}

/// Result of [`VipManager::reconcile`] for one VIP.
#[derive(Debug)]
pub enum VipEvent {
    /// The VIP was added to the interface of that name, and announced there.
    Added(IpAddr, String),
    /// The VIP was not added: this host had it already, so xvs will not remove it.
    AlreadyThere(IpAddr),
    /// The VIP was not added: other machines must be probed for it first.
    Unclaimed(IpAddr, Interface),
    /// The VIP was removed, because no service needs it any more.
    Removed(IpAddr),
    /// The change failed.
    Failed(IpAddr, VipError),
}

/// Adds VIPs to the interfaces where clients look for them, and removes only VIPs that it added.
#[derive(Debug)]
pub struct VipManager {
    netlink: Netlink,
    attached: Vec<String>,
    place: Place,
    added: BTreeSet<IpAddr>,
    /// VIPs are added even if other machines have them.
    takes_over: bool,
    /// VIPs that no other machine has, or that may be taken from it.
    claimed: BTreeSet<IpAddr>,
    /// The places of the VIPs of the earlier run are known.
    has_looked: bool,
}

/// Removes a VIP from every interface that has it as a host address, and returns the names of the interfaces.
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
    /// Creates the manager of a director that is attached to those interfaces; `added` are the VIPs that an
    /// earlier run added.
    #[must_use]
    pub const fn new(
        netlink: Netlink,
        attached: Vec<String>,
        added: BTreeSet<IpAddr>,
        takes_over: bool,
    ) -> Self {
        Self {
            netlink,
            attached,
            place: Place::Home,
            added,
            takes_over,
            claimed: BTreeSet::new(),
            has_looked: false,
        }
    }

    /// Adds VIPs there.
    #[must_use]
    pub fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// Returns where VIPs are added.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Allows addresses to be added, because no other machine has them, or because they may be taken from it.
    pub fn claim(&mut self, vips: impl IntoIterator<Item = IpAddr>) {
        self.claimed.extend(vips);
    }

    /// Returns those of `vips` that are not addresses of this host, and the interface for each.
    ///
    /// # Errors
    /// If the addresses or interfaces cannot be read.
    pub async fn missing(
        &self,
        vips: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Vec<(IpAddr, Interface)>, NetlinkError> {
        if self.place != Place::Home {
            return Ok(Vec::new());
        }
        let addresses = self.netlink.addresses().await?;
        let links = self.netlink.interfaces().await?;
        let is_here = |vip: &IpAddr| addresses.iter().any(|address| address.net.addr() == *vip);
        let missing = vips.into_iter().filter(|vip| !is_here(vip));
        let on = |vip| Some((vip, home(vip, &self.attached, &links, &addresses)?.clone()));
        Ok(missing.filter_map(on).collect())
    }

    /// Returns the VIPs that xvs added, which must be written to the state file after each change.
    #[must_use]
    pub const fn added(&self) -> &BTreeSet<IpAddr> {
        &self.added
    }

    /// Adds the `wanted` VIPs to this host, and removes added ones that are no longer wanted.
    ///
    /// An error with one VIP does not affect the others. Idempotent.
    pub async fn reconcile(&mut self, wanted: &BTreeSet<IpAddr>) -> Vec<VipEvent> {
        // A claim ends with its service, and with a change that failed.
        self.claimed.retain(|vip| wanted.contains(vip));
        let mut events = Vec::new();
        for vip in self.added.difference(wanted).copied().collect::<Vec<_>>() {
            match self.remove(vip).await {
                Ok(()) => events.push(VipEvent::Removed(vip)),
                Err(error) => events.push(VipEvent::Failed(vip, error)),
            }
        }
        let addresses = match self.netlink.addresses().await {
            Ok(addresses) => addresses,
            Err(error) => {
                events.extend(wanted.first().map(|vip| VipEvent::Failed(*vip, error.into())));
                return events;
            }
        };
        let mut here: BTreeSet<IpAddr> = addresses.iter().map(|address| address.net.addr()).collect();
        let mut links = None;
        for vip in self.misplaced(wanted, &addresses, &mut links).await {
            match self.remove(vip).await {
                Ok(()) => drop(here.remove(&vip)),
                Err(error) => events.push(VipEvent::Failed(vip, error)),
            }
        }
        for vip in wanted {
            if here.contains(vip) {
                // The VIP belongs to others, if xvs did not add it, on any interface.
                if !self.added.contains(vip) {
                    events.push(VipEvent::AlreadyThere(*vip));
                }
                continue;
            }
            match self.add(*vip, &mut links, &addresses).await {
                Ok(Ok(interface)) => events.push(VipEvent::Added(*vip, interface)),
                Ok(Err(interface)) => events.push(VipEvent::Unclaimed(*vip, interface)),
                Err(error) => events.push(VipEvent::Failed(*vip, error)),
            }
        }
        events
    }

    /// Returns the VIPs that an earlier run with another setting has added where they are of no use: [`Place::On`] is one
    /// interface, and neighbours ask for [`Place::Home`] on the attached ones.
    async fn misplaced(
        &mut self,
        wanted: &BTreeSet<IpAddr>,
        addresses: &[Address],
        links: &mut Option<Vec<Interface>>,
    ) -> Vec<IpAddr> {
        if self.has_looked {
            return Vec::new();
        }
        let own = |address: &&Address| {
            wanted.contains(&address.net.addr()) && self.added.contains(&address.net.addr())
        };
        let own: Vec<&Address> = addresses.iter().filter(own).collect();
        // Without the interfaces, all stay where they are.
        let Ok(all) = self.netlink.interfaces().await else { return Vec::new() };
        self.has_looked = true;
        let all = &*links.insert(all);
        let fits = |address: &Address| match &self.place {
            Place::Home => home::is_above(&self.attached, all, address.ifindex),
            Place::On(name) => all.iter().any(|link| link.index == address.ifindex && link.name == *name),
        };
        let right: BTreeSet<IpAddr> = own.iter().filter(|a| fits(a)).map(|a| a.net.addr()).collect();
        own.iter().map(|address| address.net.addr()).filter(|vip| !right.contains(vip)).collect()
    }

    /// Adds a VIP to its interface and announces it there. Returns the interface's name or, if the VIP is not
    /// claimed, the interface. `links` caches all interfaces.
    ///
    /// After [`VipError::NotAnnounced`] the VIP is on the interface nevertheless.
    async fn add(
        &mut self,
        vip: IpAddr,
        links: &mut Option<Vec<Interface>>,
        addresses: &[Address],
    ) -> Result<Result<String, Interface>, VipError> {
        let links = match links {
            Some(links) => links,
            none => none.insert(self.netlink.interfaces().await?),
        };
        if let Place::On(name) = &self.place {
            let interface = links.iter().find(|link| link.name == *name);
            let interface = interface.ok_or_else(|| NetlinkError::NoSuchInterface(name.clone()))?;
            if self.netlink.add_address(interface, IpNet::from(vip)).await? == Added::Now {
                self.added.insert(vip);
            }
            return Ok(Ok(interface.name.clone()));
        }
        let Some(interface) = home(vip, &self.attached, links, addresses) else {
            let first = self.attached.first().cloned().unwrap_or_default();
            return Err(NetlinkError::NoSuchInterface(first).into());
        };
        // A VIP that xvs added, and that vanished with its interface, counts as claimed.
        if !self.takes_over && !self.claimed.contains(&vip) && !self.added.contains(&vip) {
            return Ok(Err(interface.clone()));
        }
        if self.netlink.add_address(interface, IpNet::from(vip)).await? == Added::Now {
            self.added.insert(vip);
            // Without Ethernet, no announcement is needed.
            if let Some(mac) = interface.mac {
                announce(vip, mac, interface.index).map_err(|reason| VipError::NotAnnounced {
                    vip,
                    interface: interface.name.clone(),
                    reason,
                })?;
            }
        }
        Ok(Ok(interface.name.clone()))
    }

    /// Removes a VIP if xvs added it.
    pub async fn remove(&mut self, vip: IpAddr) -> Result<(), VipError> {
        self.claimed.remove(&vip);
        if self.added.contains(&vip) {
            // Look on all interfaces: an earlier run may have used another one.
            remove_everywhere(&self.netlink, vip).await?;
            self.added.remove(&vip);
        }
        Ok(())
    }
}
