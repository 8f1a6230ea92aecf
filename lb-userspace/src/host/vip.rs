// SPDX-License-Identifier: MIT OR Apache-2.0
//! Right and wrong places of a VIP on a real server.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Done, Host, HostError, Outcome};
use lb_netlink::{Address, Interface, NetlinkError, Removed};

/// Place of a VIP on this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Placement {
    /// No interface has the VIP.
    Missing,
    /// An interface without ARP has the VIP: `lo`, a dummy, a tunnel.
    Quiet {
        /// Name of the interface.
        interface: String,
    },
    /// An interface with ARP has the VIP, and answers for it with any `arp_ignore`.
    Answering {
        /// Name of the interface.
        interface: String,
        /// Address with prefix length.
        net: IpNet,
    },
    /// `lo` has the VIP with a whole network, all of which the host treats as its own.
    Swallowing {
        /// Name of the interface.
        interface: String,
        /// Address with prefix length.
        net: IpNet,
    },
}

impl Placement {
    /// Returns whether the place is right.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Quiet { .. })
    }

    /// Returns the place of `vip`, given all addresses and interfaces. A wrong place takes precedence over a
    /// right one.
    #[must_use]
    pub fn of(vip: IpAddr, addresses: &[Address], interfaces: &[Interface]) -> Self {
        let mut placement = Self::Missing;
        for Address { net, ifindex, .. } in addresses.iter().filter(|address| address.net.addr() == vip) {
            let Some(found) = interfaces.iter().find(|interface| interface.index == *ifindex) else {
                continue;
            };
            let (interface, net) = (found.name.clone(), *net);
            if !found.noarp {
                return Self::Answering { interface, net };
            }
            if interface == "lo" && net.prefix_len() != net.max_prefix_len() {
                return Self::Swallowing { interface, net };
            }
            placement = Self::Quiet { interface };
        }
        placement
    }
}

impl std::fmt::Display for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("on no interface"),
            Self::Quiet { interface } => write!(f, "on {interface}"),
            Self::Answering { interface, net } => {
                write!(f, "{net} on {interface}, which answers ARP for it")
            }
            Self::Swallowing { interface, net } => {
                write!(f, "{net} on {interface}, which makes all of {} local", net.trunc())
            }
        }
    }
}

/// Adds an address to an interface; with `host_scope`, it is valid inside this host only.
pub(super) async fn add(
    host: &Host,
    address: IpNet,
    interface: &str,
    host_scope: bool,
) -> Result<(), HostError> {
    let device = host.netlink.interface(interface).await?;
    if host_scope {
        host.netlink.add_host_address(&device, address).await?;
    } else {
        host.netlink.add_address(&device, address).await?;
    }
    Ok(())
}

/// Removes an address that [`add`] added, and that may be gone already.
pub(super) async fn remove(host: &Host, address: IpNet, interface: &str) -> Result<Done, HostError> {
    let item = format!("{address} on {interface}");
    let removed = match host.netlink.interface(interface).await {
        Ok(device) => host.netlink.remove_address(&device, address).await?,
        Err(NetlinkError::NoSuchInterface(_)) => Removed::NotThere,
        Err(e) => return Err(e.into()),
    };
    let detail = match removed {
        Removed::Now => "removed",
        Removed::NotThere => "was gone already",
    };
    Ok(Done::new(item, Outcome::Restored, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::interface;

    #[test]
    fn a_vip_may_be_where_no_arp_is_spoken_and_alone() {
        let interfaces = [interface(1, "lo", true), interface(2, "eth0", false), interface(3, "d0", true)];
        let at = |ifindex, net: &str| Address {
            net: net.parse().unwrap(),
            ifindex,
            host_scope: false,
            duplicate: false,
        };
        let place =
            |addresses: &[Address]| Placement::of("10.0.0.100".parse().unwrap(), addresses, &interfaces);

        assert_eq!(place(&[]), Placement::Missing);
        assert_eq!(place(&[at(2, "10.0.0.101/32")]), Placement::Missing);
        assert_eq!(place(&[at(1, "10.0.0.100/32")]), Placement::Quiet { interface: "lo".into() });
        assert_eq!(place(&[at(3, "10.0.0.100/24")]), Placement::Quiet { interface: "d0".into() });
        assert!(matches!(place(&[at(1, "10.0.0.100/24")]), Placement::Swallowing { .. }));
        let both = [at(1, "10.0.0.100/32"), at(2, "10.0.0.100/32")];
        assert!(matches!(place(&both), Placement::Answering { .. }));
    }
}
