// SPDX-License-Identifier: MIT OR Apache-2.0
//! Destinations of IPVS, which are the reals of a service.

use std::net::SocketAddr;

use super::attributes::{Attributes, Malformed};

/// Numbers of the attributes (`IPVS_DEST_ATTR_*`).
mod number {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const PORT: u16 = 2;
    pub(super) const METHOD: u16 = 3;
    pub(super) const WEIGHT: u16 = 4;
    pub(super) const UPPER: u16 = 5;
    pub(super) const LOWER: u16 = 6;
    pub(super) const ACTIVE: u16 = 7;
    pub(super) const INACTIVE: u16 = 8;
    pub(super) const FAMILY: u16 = 11;
    pub(super) const TUNNEL: u16 = 13;
    pub(super) const TUNNEL_PORT: u16 = 14;
    pub(super) const TUNNEL_FLAGS: u16 = 15;
}

/// Name of the structure in error messages.
pub(super) const DESTINATION: &str = "a destination of IPVS";

/// Mask of the method in the flags of a connection (`IP_VS_CONN_F_FWD_MASK`).
const METHOD_MASK: u32 = 0x7;

/// Forward method of a destination (`IP_VS_CONN_F_*`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Method {
    /// Address translation.
    Masquerade,
    /// The director itself.
    Local,
    /// A tunnel.
    Tunnel,
    /// Direct routing.
    Route,
    /// Past the director, to the packet's destination.
    Bypass,
}

/// Encapsulation for [`Method::Tunnel`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Encapsulation {
    /// IP in IP.
    #[default]
    Ipip,
    /// Generic UDP encapsulation.
    Gue {
        /// Port on the destination.
        port: u16,
        /// Checksum.
        checksum: Checksum,
    },
    /// Generic routing encapsulation.
    Gre {
        /// Checksum.
        checksum: Checksum,
    },
    /// An encapsulation that is newer than this program.
    Other(u8),
}

/// Checksum of an encapsulation (`IP_VS_TUNNEL_ENCAP_FLAG_*`).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Checksum {
    /// None.
    #[default]
    None,
    /// Of the outer packet.
    Outer,
    /// Left to the receiver.
    Remote,
}

/// A destination.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Destination {
    /// RIP and port.
    pub address: SocketAddr,
    /// Forward method.
    pub method: Method,
    /// Weight.
    pub weight: u32,
    /// Upper threshold of connections; 0 is none.
    pub upper: u32,
    /// Lower threshold of connections.
    pub lower: u32,
    /// Encapsulation.
    pub encapsulation: Encapsulation,
}

/// Connections of a destination.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Connections {
    /// Established ones.
    pub active: u32,
    /// Others.
    pub inactive: u32,
}

impl Destination {
    /// Reads the attributes of a destination. `family` is that of the service: kernels before 3.18 do not have it
    /// for each destination.
    ///
    /// # Errors
    /// If they are not those of a destination.
    pub(super) fn of(attributes: &Attributes, family: u16) -> Result<(Self, Connections), Malformed> {
        let own = attributes.has(number::FAMILY).then(|| attributes.short(number::FAMILY)).transpose()?;
        let ip = attributes.address(number::ADDRESS, own.unwrap_or(family))?;
        let word = attributes.word(number::METHOD)?;
        let method = match word & METHOD_MASK {
            0 => Method::Masquerade,
            1 => Method::Local,
            2 => Method::Tunnel,
            3 => Method::Route,
            4 => Method::Bypass,
            _ => return Err(attributes.impossible(number::METHOD, word)),
        };
        let destination = Self {
            address: SocketAddr::new(ip, attributes.port(number::PORT)?),
            method,
            weight: attributes.word(number::WEIGHT)?,
            upper: attributes.word(number::UPPER)?,
            lower: attributes.word(number::LOWER)?,
            encapsulation: encapsulation(attributes)?,
        };
        let connections = Connections {
            active: attributes.word(number::ACTIVE)?,
            inactive: attributes.word(number::INACTIVE)?,
        };
        Ok((destination, connections))
    }
}

/// Returns the encapsulation; kernels before 5.2 have no attribute for it.
fn encapsulation(attributes: &Attributes) -> Result<Encapsulation, Malformed> {
    if !attributes.has(number::TUNNEL) {
        return Ok(Encapsulation::Ipip);
    }
    let optional = |number| attributes.has(number).then(|| attributes.short(number)).transpose();
    let checksum = match optional(number::TUNNEL_FLAGS)?.unwrap_or(0) {
        0 => Checksum::None,
        flags if flags & 2 != 0 => Checksum::Remote,
        _ => Checksum::Outer,
    };
    Ok(match attributes.byte(number::TUNNEL)? {
        0 => Encapsulation::Ipip,
        1 => Encapsulation::Gue { port: attributes.port(number::TUNNEL_PORT)?, checksum },
        2 => Encapsulation::Gre { checksum },
        kind => Encapsulation::Other(kind),
    })
}
