// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses of this host.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use nix::libc;
use serde::{Deserialize, Serialize};

use super::{Interface, Netlink, NetlinkError, errno};

/// An address on an interface.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Address {
    /// Address and prefix length.
    pub net: IpNet,
    /// Index of the interface.
    pub ifindex: u32,
    /// The address is valid inside this host only, as `ip address add … scope host` makes it: `arp_ignore=3`
    /// does not answer for it.
    pub host_scope: bool,
    /// Whether IPv6 duplicate address detection failed: another machine has the address, and the kernel does not use
    /// it.
    #[serde(default)]
    pub duplicate: bool,
}

/// Result of adding something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Added {
    /// It was added.
    Now,
    /// It existed before.
    AlreadyThere,
}

/// Result of removing something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Removed {
    /// It was removed.
    Now,
    /// It did not exist.
    NotThere,
}

impl Netlink {
    /// Returns every address of every interface of the namespace.
    pub async fn addresses(&self) -> Result<Vec<Address>, NetlinkError> {
        let messages = self.handle.address().get().execute();
        messages
            .try_filter_map(|message| async move { Ok(Address::parse(&message)) })
            .try_collect()
            .await
            .map_err(|e| NetlinkError::new("list addresses", &e))
    }

    /// Returns the entries of `ip` among the addresses of this host: one for each interface that has it.
    pub async fn holders(&self, ip: IpAddr) -> Result<Vec<Address>, NetlinkError> {
        let mut all = self.addresses().await?;
        all.retain(|address| address.net.addr() == ip);
        Ok(all)
    }

    /// Adds `net` to an interface.
    ///
    /// IPv6 addresses are added without duplicate address detection: a VIP is meant to be on several hosts.
    pub async fn add_address(&self, interface: &Interface, net: IpNet) -> Result<Added, NetlinkError> {
        self.add_address_of_scope(interface, net, AddressScope::Universe).await
    }

    /// Adds `net` to an interface as [`Netlink::add_address`] does, but valid inside this host only.
    pub async fn add_host_address(&self, interface: &Interface, net: IpNet) -> Result<Added, NetlinkError> {
        self.add_address_of_scope(interface, net, AddressScope::Host).await
    }

    async fn add_address_of_scope(
        &self,
        interface: &Interface,
        net: IpNet,
        scope: AddressScope,
    ) -> Result<Added, NetlinkError> {
        let mut request = self.handle.address().add(interface.index, net.addr(), net.prefix_len());
        request.message_mut().header.scope = scope;
        if net.addr().is_ipv6() {
            let message = request.message_mut();
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        match request.execute().await {
            Ok(()) => Ok(Added::Now),
            Err(e) if errno(&e) == Some(libc::EEXIST) => Ok(Added::AlreadyThere),
            Err(e) => {
                let doing = format!("add the address {net} to {}", interface.name);
                // The kernel reports EACCES, which would read as a lack of privileges.
                if net.addr().is_ipv6() && errno(&e) == Some(libc::EACCES) {
                    let detail =
                        format!("IPv6 is off there (sysctl net.ipv6.conf.{}.disable_ipv6)", interface.name);
                    return Err(NetlinkError::Broken { doing, detail });
                }
                Err(NetlinkError::new(doing, &e))
            }
        }
    }

    /// Removes `net` from an interface.
    pub async fn remove_address(&self, interface: &Interface, net: IpNet) -> Result<Removed, NetlinkError> {
        // The request that adds builds the message, so that both refer to the same address.
        let mut add = self.handle.address().add(interface.index, net.addr(), net.prefix_len());
        let message = std::mem::take(add.message_mut());
        match self.handle.address().del(message).execute().await {
            Ok(()) => Ok(Removed::Now),
            Err(e) if matches!(errno(&e), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(Removed::NotThere),
            Err(e) => Err(NetlinkError::new(format!("remove the address {net} from {}", interface.name), &e)),
        }
    }
}

impl Address {
    /// Parses an address message; `None` for multicast and anycast memberships.
    pub(super) fn parse(message: &AddressMessage) -> Option<Self> {
        // On a point-to-point link IFA_ADDRESS is the peer and IFA_LOCAL is this host; IPv6 sends only
        // IFA_ADDRESS.
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(ip) => Some(*ip),
            _ => None,
        });
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        });
        let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
        let host_scope = message.header.scope == AddressScope::Host;
        let duplicate = message.header.flags.contains(AddressHeaderFlags::Dadfailed);
        Some(Self { net, ifindex: message.header.index, host_scope, duplicate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_point_to_point_link_the_address_is_ours_not_the_peers() {
        let mut message = AddressMessage::default();
        message.header.prefix_len = 32;
        message.header.index = 4;
        message.attributes.push(AddressAttribute::Address([10, 0, 0, 2].into()));
        message.attributes.push(AddressAttribute::Local([10, 0, 0, 1].into()));
        let expected =
            Address { net: "10.0.0.1/32".parse().unwrap(), ifindex: 4, host_scope: false, duplicate: false };
        assert_eq!(Address::parse(&message), Some(expected));
    }
}
