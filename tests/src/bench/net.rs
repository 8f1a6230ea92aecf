// SPDX-License-Identifier: MIT OR Apache-2.0
//! The address plan. Each host has a number, which is the end of its address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::row::Version;

/// The port of every service.
pub const PORT: u16 = 80;
/// The port of reals that can have another one.
pub const REAL_PORT: u16 = 8080;

/// The kinds of hosts.
#[derive(Clone, Copy, Debug)]
pub enum Host {
    /// The network of the clients.
    Clients,
    /// A service, by its number.
    Service(u32),
    /// The director towards the reals.
    Director(u32),
    /// A router.
    Router,
    /// A real, by its number.
    Real(u32),
    /// A host whose packets are for no service.
    Stranger,
}

impl Host {
    /// Returns the host's address.
    #[must_use]
    pub fn ip(self, version: Version) -> IpAddr {
        let (network, network6, number) = match self {
            Self::Clients => (0x0a01_0000, 1, 0),
            Self::Service(number) => (0x0ac8_0000, 2, number),
            Self::Director(number) => (0x0a63_0000, 3, 1 + number),
            Self::Router => (0x0a62_0000, 4, 1),
            Self::Stranger => (0x0a40_0000, 5, 0),
            Self::Real(number) => (0x0a70_0000, 6, number),
        };
        match version {
            Version::V4 => Ipv4Addr::from_bits(network + number).into(),
            Version::V6 => {
                let high = 0xfd00_u128 << 112 | network6 << 32;
                Ipv6Addr::from_bits(high + u128::from(number)).into()
            }
        }
    }

    /// Returns the host's address with a port.
    #[must_use]
    pub fn at(self, version: Version, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(version), port)
    }
}

/// Returns the MAC address of a real.
#[must_use]
pub fn mac(real: u32) -> [u8; 6] {
    let number = real.to_be_bytes();
    [2, 1, number[0], number[1], number[2], number[3]]
}
