// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The synchronisation protocol of IPVS: connections that one director announces to others.
//!
//! The kernel's IPVS sends them by UDP to 224.0.0.81, port 8848 (`net/netfilter/ipvs/ip_vs_sync.c`). All numbers are in
//! network byte order. There is no acknowledgement, no order and no authentication. [`decode`] reads messages of versions
//! 0 and 1, and accepts and refuses what the kernel does; [`encode`] writes version 1. [`snapshot`] reads the kernel's
//! list of connections, whose idle ones the kernel never announces.
//!
//! # Message of version 1
//!
//! | offset | field |
//! |---:|---|
//! | 0 | `u8`, 0; the number of entries in a message of version 0 |
//! | 1 | `u8`, sync ID of the sender |
//! | 2 | `u16`, length of the message, which is that of the datagram |
//! | 4 | `u8`, number of entries |
//! | 5 | `u8`, version: 1 |
//! | 6 | `u16`, 0 |
//! | 8 | entries, each padded to a multiple of 4 bytes, except the last one |
//!
//! # Entry of version 1
//!
//! | offset | field |
//! |---:|---|
//! | 0 | `u8`, 0: IPv4; with bit 0: IPv6 |
//! | 1 | `u8`, IANA number of the protocol; 0 in a template of a fwmark service |
//! | 2 | `u16`, 4 bits of version: 0; 12 bits of length: with parameters, without padding |
//! | 4 | `u32`, [`Flags`] |
//! | 8 | `u16`, state: [`state`] |
//! | 10 | `u16`, ports of the client, of the VIP, and of the real |
//! | 16 | `u32`, firewall mark |
//! | 20 | `u32`, idle timeout of the state in seconds; 0: that of the receiver |
//! | 24 | addresses of the client, the VIP, and the real |
//! | 36, 72 | [parameters](Parameter): `u8` type, `u8` length, data |

use core::net::SocketAddr;

pub mod decode;
pub mod encode;
mod error;
mod flags;
mod parameter;
pub mod snapshot;
pub mod state;
mod version0;

#[cfg(test)]
mod tests;

pub use decode::{Entry, Message};
pub use encode::Writer;
pub use error::{EntryError, MessageError, Refused};
pub use flags::{Flags, Method};
pub use parameter::{Parameter, Parameters};
pub use snapshot::{Format, Line, LineError};

/// UDP port of the kernel's first synchronisation thread; thread n uses port 8848 + n (`sync_ports`).
pub const PORT: u16 = 8848;
/// Multicast group of the kernel.
pub const GROUP: core::net::Ipv4Addr = core::net::Ipv4Addr::new(224, 0, 0, 81);
/// Length of a message in an Ethernet frame of 1,500 bytes with IPv4.
pub const MESSAGE: usize = 1472;

/// Length of the header of a message of version 1 in bytes.
const HEADER: usize = 8;
/// Length of an entry of version 1 before its addresses in bytes.
const FIXED: usize = 24;
/// Length of an IPv4 entry of version 1 without parameters in bytes.
const V4_ENTRY: usize = FIXED + 3 * 4;
/// Length of an IPv6 entry of version 1 without parameters in bytes.
const V6_ENTRY: usize = FIXED + 3 * 16;

/// A connection or a persistence template of IPVS, as it is announced or listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Connection {
    /// IANA number of the protocol; 0 in a template of a fwmark service.
    pub protocol: u8,
    /// Address and port of the client. In a template, the address of the client's network, and port 0.
    pub client: SocketAddr,
    /// The VIP and its port. In a template of a fwmark service, the mark as an address; in a template that covers
    /// all ports, port 0.
    pub vip: SocketAddr,
    /// Address and port of the real.
    pub real: SocketAddr,
    /// The flags.
    pub flags: Flags,
    /// Number of the state, which depends on the protocol: [`state`].
    pub state: u16,
    /// Firewall mark of the service; 0: none.
    pub mark: u32,
    /// Seconds for which the connection lives without packets; 0 if the message does not contain them.
    pub timeout: u32,
}

/// The properties that no two connections share: protocol, client, VIP, and whether it is a template.
pub type Identity = (u8, SocketAddr, SocketAddr, bool);

impl Connection {
    /// Returns the properties that no other connection shares.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        (self.protocol, self.client, self.vip, self.is_template())
    }

    /// Returns whether this is a persistence template.
    #[must_use]
    pub const fn is_template(&self) -> bool {
        self.flags.has(Flags::TEMPLATE)
    }

    /// Returns the mark of a template of a fwmark service, which is the address of its VIP.
    #[must_use]
    pub const fn template_mark(&self) -> Option<u32> {
        if !self.is_template() || self.protocol != 0 {
            return None;
        }
        Some(match self.vip {
            SocketAddr::V4(vip) => vip.ip().to_bits(),
            SocketAddr::V6(vip) => (vip.ip().to_bits() >> 96) as u32,
        })
    }
}
