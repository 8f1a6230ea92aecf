// SPDX-License-Identifier: MIT OR Apache-2.0
//! Daemons of IPVS that synchronize connections between directors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::DefaultNla;
use nix::libc;

use super::attributes::{self, Attributes, Malformed};

/// Numbers of the attributes (`IPVS_DAEMON_ATTR_*`).
mod number {
    pub(super) const STATE: u16 = 1;
    pub(super) const INTERFACE: u16 = 2;
    pub(super) const SYNC_ID: u16 = 3;
    pub(super) const GROUP: u16 = 5;
    pub(super) const GROUP6: u16 = 6;
    pub(super) const PORT: u16 = 7;
}

/// Role of a daemon (`IP_VS_STATE_*`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Role {
    /// Sends the kernel's connections.
    Master = 1,
    /// Receives connections.
    Backup = 2,
}

/// A daemon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SyncDaemon {
    /// Role.
    pub role: Role,
    /// Interface whose multicast groups it uses.
    pub interface: String,
    /// Number that both sides must have in common; a backup with 0 takes messages of every number.
    pub sync_id: u8,
    /// Multicast group.
    pub group: IpAddr,
    /// UDP port of the first thread.
    pub port: u16,
}

impl SyncDaemon {
    /// Multicast group of IPVS.
    pub const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 81));
    /// UDP port of IPVS.
    pub const PORT: u16 = 8848;

    /// Reads the attributes of a daemon.
    ///
    /// # Errors
    /// If they are not those of a daemon.
    pub(super) fn of(attributes: &Attributes) -> Result<Self, Malformed> {
        let role = match attributes.word(number::STATE)? {
            1 => Role::Master,
            2 => Role::Backup,
            other => return Err(attributes.impossible(number::STATE, other)),
        };
        let sync_id = attributes.word(number::SYNC_ID)?;
        // The kernel's group is 4 bytes long, and a group of IPv6 is in an attribute of its own.
        let group = if attributes.has(number::GROUP6) {
            attributes.address(number::GROUP6, libc::AF_INET6 as u16)?
        } else if attributes.has(number::GROUP) {
            IpAddr::V4(Ipv4Addr::from(attributes.word(number::GROUP)?.to_ne_bytes()))
        } else {
            Self::GROUP
        };
        let port = attributes.has(number::PORT).then(|| attributes.short(number::PORT)).transpose()?;
        Ok(Self {
            role,
            interface: attributes.text(number::INTERFACE)?,
            sync_id: u8::try_from(sync_id).map_err(|_| attributes.impossible(number::SYNC_ID, sync_id))?,
            group,
            port: port.filter(|port| *port != 0).unwrap_or(Self::PORT),
        })
    }

    /// Returns the attributes of a request that starts this daemon.
    pub(super) fn attributes(&self) -> Vec<DefaultNla> {
        let group = match self.group {
            IpAddr::V4(group) => attributes::attribute(number::GROUP, &group.octets()),
            IpAddr::V6(group) => attributes::attribute(number::GROUP6, &Ipv6Addr::octets(&group)),
        };
        vec![
            attributes::attribute(number::STATE, &(self.role as u32).to_ne_bytes()),
            attributes::text(number::INTERFACE, &self.interface),
            attributes::attribute(number::SYNC_ID, &u32::from(self.sync_id).to_ne_bytes()),
            group,
            attributes::attribute(number::PORT, &self.port.to_ne_bytes()),
        ]
    }
}

impl Role {
    /// Returns the attributes of a request that stops the daemon of this role.
    pub(super) fn attributes(self) -> Vec<DefaultNla> {
        vec![attributes::attribute(number::STATE, &(self as u32).to_ne_bytes())]
    }
}
