// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services of IPVS.

use std::net::SocketAddr;

use netlink_packet_core::DefaultNla;
use nix::libc;

use super::attributes::{self, Attributes, Malformed};

/// Numbers of the attributes (`IPVS_SVC_ATTR_*`).
mod number {
    pub(super) const FAMILY: u16 = 1;
    pub(super) const PROTOCOL: u16 = 2;
    pub(super) const ADDRESS: u16 = 3;
    pub(super) const PORT: u16 = 4;
    pub(super) const MARK: u16 = 5;
    pub(super) const SCHEDULER: u16 = 6;
    pub(super) const FLAGS: u16 = 7;
    pub(super) const TIMEOUT: u16 = 8;
    pub(super) const NETMASK: u16 = 9;
    pub(super) const ENGINE: u16 = 11;
}

/// Name of the structure in error messages.
pub(super) const SERVICE: &str = "a service of IPVS";

/// Name of a service.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Key {
    /// A protocol, an address and a port; port 0 stands for every port.
    Address {
        /// IANA number of the protocol.
        protocol: u16,
        /// VIP and port.
        address: SocketAddr,
    },
    /// Packets that the firewall has marked.
    Mark {
        /// The mark, which is not 0.
        mark: u32,
        /// The service is for IPv6.
        ipv6: bool,
    },
}

/// A service.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Service {
    /// Name.
    pub key: Key,
    /// Name of the scheduler; `none` if it has none.
    pub scheduler: String,
    /// Flags: see [`Service::PERSISTENT`] and the following.
    pub flags: u32,
    /// Persistence timeout in seconds.
    pub timeout: u32,
    /// Bits of a client's address that count for persistence: a netmask in network byte order for IPv4, as it is in
    /// the message, or a prefix length for IPv6.
    pub netmask: u32,
    /// Name of the persistence engine, if it has one.
    pub engine: Option<String>,
}

impl Service {
    /// Clients are persistent (`IP_VS_SVC_F_PERSISTENT`).
    pub const PERSISTENT: u32 = 0x1;
    /// One-packet scheduling (`IP_VS_SVC_F_ONEPACKET`).
    pub const ONE_PACKET: u32 = 0x4;
    /// First flag of the scheduler (`IP_VS_SVC_F_SCHED1`): `sh-fallback`, `mh-fallback`.
    pub const FLAG_1: u32 = 0x8;
    /// Second flag of the scheduler (`IP_VS_SVC_F_SCHED2`): `sh-port`, `mh-port`.
    pub const FLAG_2: u32 = 0x10;
    /// Third flag of the scheduler (`IP_VS_SVC_F_SCHED3`).
    pub const FLAG_3: u32 = 0x20;

    /// Reads the attributes of a service.
    ///
    /// # Errors
    /// If they are not those of a service.
    pub(super) fn of(attributes: &Attributes) -> Result<Self, Malformed> {
        let family = attributes.short(number::FAMILY)?;
        let ipv6 = match i32::from(family) {
            libc::AF_INET => false,
            libc::AF_INET6 => true,
            _ => return Err(attributes.impossible(number::FAMILY, family)),
        };
        let key = if attributes.has(number::MARK) {
            Key::Mark { mark: attributes.word(number::MARK)?, ipv6 }
        } else {
            let address = attributes.address(number::ADDRESS, family)?;
            Key::Address {
                protocol: attributes.short(number::PROTOCOL)?,
                address: SocketAddr::new(address, attributes.port(number::PORT)?),
            }
        };
        let engine = attributes.has(number::ENGINE).then(|| attributes.text(number::ENGINE)).transpose()?;
        Ok(Self {
            key,
            scheduler: attributes.text(number::SCHEDULER)?,
            flags: attributes.flags(number::FLAGS)?,
            timeout: attributes.word(number::TIMEOUT)?,
            netmask: attributes.word(number::NETMASK)?,
            engine: engine.filter(|name| !name.is_empty()),
        })
    }

    /// Returns whether a flag is set.
    #[must_use]
    pub const fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

impl Key {
    /// Returns whether the service is for IPv6.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        match self {
            Self::Address { address, .. } => address.is_ipv6(),
            Self::Mark { ipv6, .. } => *ipv6,
        }
    }

    /// Returns the address family.
    pub(super) const fn family(&self) -> u16 {
        if self.is_ipv6() { libc::AF_INET6 as u16 } else { libc::AF_INET as u16 }
    }

    /// Returns the attributes that name the service in a request.
    pub(super) fn attributes(&self) -> Vec<DefaultNla> {
        let family = attributes::attribute(number::FAMILY, &self.family().to_ne_bytes());
        match self {
            Self::Mark { mark, .. } => {
                vec![family, attributes::attribute(number::MARK, &mark.to_ne_bytes())]
            }
            Self::Address { protocol, address } => vec![
                family,
                attributes::attribute(number::PROTOCOL, &protocol.to_ne_bytes()),
                attributes::attribute(number::ADDRESS, &attributes::address(address.ip())),
                attributes::attribute(number::PORT, &address.port().to_be_bytes()),
            ],
        }
    }
}
