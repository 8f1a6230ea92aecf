// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the director should do: services and their reals, in the words of the operator.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use lb_common::{protocol, schema::Method};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A protocol that services can have.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission Control Protocol
    Tcp,
    /// User Datagram Protocol
    Udp,
}

impl Protocol {
    /// The IANA number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
        }
    }

    /// The protocol of that IANA number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            protocol::TCP => Some(Self::Tcp),
            protocol::UDP => Some(Self::Udp),
            _ => None,
        }
    }

    /// The name in commands and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a new connection picks a real; the names are those of IPVS.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Maglev hashing: by the flow's 5-tuple, with little disruption when the pool changes
    #[default]
    Mh,
    /// Round robin, whatever the weights
    Rr,
    /// Weighted round robin
    Wrr,
}

impl Scheduler {
    /// The name in commands and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mh => "mh",
            Self::Rr => "rr",
            Self::Wrr => "wrr",
        }
    }
}

/// Which flows are written down.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Tracking {
    /// Only flows that a pool change could hurt, where the scheduler hashes; else all
    Auto,
    /// All flows
    #[default]
    Full,
    /// None: a pool change may move living flows (nat still tracks)
    None,
}

impl Tracking {
    /// The name in commands and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Full => "full",
            Self::None => "none",
        }
    }
}

/// How packets reach a real.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// Direct routing: only the MAC addresses change; the real answers the client itself
    #[default]
    Dr,
    /// Tunnelling by IP in IP; the real answers the client itself
    Tun,
    /// Masquerading: addresses are rewritten; replies come back through the director
    Nat,
    /// The director itself serves
    Local,
}

impl Forward {
    /// The name in commands and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dr => "dr",
            Self::Tun => "tun",
            Self::Nat => "nat",
            Self::Local => "local",
        }
    }

    /// The method as the programs know it.
    #[must_use]
    pub const fn method(self) -> Method {
        match self {
            Self::Dr => Method::Dr,
            Self::Tun => Method::Tun,
            Self::Nat => Method::Nat,
            Self::Local => Method::Local,
        }
    }
}

/// What names a service: protocol, VIP and port (0 = every port).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ServiceId {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// VIP and port.
    pub address: SocketAddr,
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, self.address)
    }
}

/// A real's address as it is written: `RIP` or `RIP:PORT`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RealAddress {
    /// The RIP.
    pub ip: IpAddr,
    /// The port, if one was written.
    pub port: Option<u16>,
}

impl RealAddress {
    /// The address with the port of the service where none was written.
    #[must_use]
    pub fn of_service(self, service: &ServiceId) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(service.address.port()))
    }
}

impl FromStr for RealAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ip) = text.parse() {
            return Ok(Self { ip, port: None });
        }
        match text.parse::<SocketAddr>() {
            Ok(address) => Ok(Self { ip: address.ip(), port: Some(address.port()) }),
            Err(_) => {
                Err(format!("'{text}' is not an address; write 10.0.0.2, 10.0.0.2:80 or [2001:db8::2]:80"))
            }
        }
    }
}

impl fmt::Display for RealAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl Serialize for RealAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RealAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The largest weight, as IPVS has it.
pub const MAX_WEIGHT: u32 = 65535;

/// A real of a service.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Real {
    /// Its forwarding method.
    pub forward: Forward,
    /// Its share of new connections relative to the other reals; 0 = none, while its connections go on.
    pub weight: u32,
}

/// A service and its reals by address.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Service {
    /// How a new connection picks a real.
    pub scheduler: Scheduler,
    /// Which flows are written down.
    pub tracking: Tracking,
    /// The reals by RIP and port.
    pub reals: BTreeMap<SocketAddr, Real>,
}

/// Everything that the director should do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Desired {
    /// The services.
    pub services: BTreeMap<ServiceId, Service>,
}

impl Desired {
    /// Every RIP, except those that the director itself serves.
    pub fn rips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let reals = self.services.values().flat_map(|service| &service.reals);
        reals.filter(|(_, real)| real.forward != Forward::Local).map(|(address, _)| address.ip())
    }

    /// Every VIP.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.services.keys().map(|id| id.address.ip())
    }
}
