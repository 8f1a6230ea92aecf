// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel devices that decapsulate packets.

use std::net::Ipv4Addr;

use nix::libc;
use rtnetlink::{LinkIp6Tnl, LinkIpIp, LinkSit};

use super::{Netlink, NetlinkError, address::Added, errno};

/// A device that decapsulates packets from every sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TunnelDevice {
    /// IPv4 within IPv4, to every address of this host.
    Ipip,
    /// Either version within IPv6, to every address of this host.
    Ip6tnl,
    /// IPv6 within IPv4, to this address.
    Sit(Ipv4Addr),
}

impl TunnelDevice {
    /// Returns the kernel's name of the kind.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Ip6tnl => "ip6tnl",
            Self::Sit(_) => "sit",
        }
    }
}

impl Netlink {
    /// Creates a device that decapsulates packets.
    ///
    /// A plain device without end points would collide with the one that the kernel creates when the module
    /// is loaded (`tunl0`, `ip6tnl0`, `sit0`). So ipip and ip6tnl devices are created in "external" mode; sit
    /// has no such mode, and gets a local address.
    ///
    /// # Errors
    /// [`NetlinkError::Unsupported`] if the kernel has no devices of that kind.
    pub async fn add_tunnel(&self, name: &str, device: TunnelDevice) -> Result<Added, NetlinkError> {
        let message = match device {
            TunnelDevice::Ipip => LinkIpIp::new(name).collect_metadata(true).build(),
            TunnelDevice::Ip6tnl => LinkIp6Tnl::new(name).collect_metadata(true).build(),
            TunnelDevice::Sit(local) => LinkSit::new(name).local(local).build(),
        };
        match self.handle.link().add(message).execute().await {
            Ok(()) => Ok(Added::Now),
            Err(e) if errno(&e) == Some(libc::EEXIST) && self.interface(name).await.is_ok() => {
                Ok(Added::AlreadyThere)
            }
            Err(e) => Err(NetlinkError::new(format!("make the {} device {name}", device.kind()), &e)),
        }
    }
}
