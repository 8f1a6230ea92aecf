// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of services and reals.
#![forbid(unsafe_code)]

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use super::written::{self, ip_address, socket_address};
use crate::text;
use lb_common::protocol;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A protocol that services can have.
#[derive(
    Clone,
    Copy,
    Debug,
    Deserialize,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
    clap::ValueEnum,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission Control Protocol
    Tcp,
    /// User Datagram Protocol
    Udp,
    /// Stream Control Transmission Protocol
    Sctp,
}

impl Protocol {
    /// Returns the IANA number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
            Self::Sctp => protocol::SCTP,
        }
    }

    /// Returns the protocol with that IANA number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            protocol::TCP => Some(Self::Tcp),
            protocol::UDP => Some(Self::Udp),
            protocol::SCTP => Some(Self::Sctp),
            _ => None,
        }
    }

    /// Returns the name in commands and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(unknown_protocol(text, &["tcp", "udp", "sctp"])),
        }
    }
}

/// Returns the message for an unknown protocol, with the protocol that may be meant.
fn unknown_protocol(word: &str, known: &[&str]) -> String {
    if let Some(sentence) = written::port_with_protocol(word) {
        return sentence;
    }
    let meant = text::likely(word, known.iter().copied());
    let meant = meant.map_or(String::new(), |meant| format!(" (did you mean {meant}?)"));
    format!("unknown protocol '{word}'{meant}: {}", known.join(", "))
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An endpoint to which clients connect: protocol, VIP and port (0: every port).
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, schemars::JsonSchema,
)]
pub struct Endpoint {
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// VIP and port.
    pub address: SocketAddr,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, self.address)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("'{text}' is not a protocol and an address, such as 'tcp 10.0.0.100:80'");
        let (protocol, address) = text.trim().split_once(' ').ok_or_else(wrong)?;
        Ok(Self { protocol: protocol.parse()?, address: socket_address(address.trim())? })
    }
}

/// Number of a group of endpoints that share one service, like firewall marks in IPVS. Never 0.
pub type GroupId = u32;

/// Identity of a service: one endpoint, or a group of them.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, schemars::JsonSchema,
)]
#[serde(untagged)]
pub enum ServiceId {
    /// One endpoint.
    Endpoint(Endpoint),
    /// A group.
    Group {
        /// Number of the group.
        group: GroupId,
        /// The service has only the IPv6 endpoints of the group. In IPVS, a mark has one service per IP
        /// version. Without an IPv6 service, the other service has all endpoints of the group.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ipv6: bool,
    },
}

/// Suffix of the group number in the name of a service with a group's IPv6 endpoints.
const OF_IPV6: &str = "/ipv6";

impl ServiceId {
    /// Creates the id of a service with one endpoint.
    #[must_use]
    pub const fn new(protocol: Protocol, address: SocketAddr) -> Self {
        Self::Endpoint(Endpoint { protocol, address })
    }

    /// Creates the id of a service with a group's endpoints, except those of a separate IPv6 service.
    #[must_use]
    pub const fn group(group: GroupId) -> Self {
        Self::Group { group, ipv6: false }
    }

    /// Returns the endpoint, unless the service has a group.
    #[must_use]
    pub const fn endpoint(&self) -> Option<Endpoint> {
        match self {
            Self::Endpoint(endpoint) => Some(*endpoint),
            Self::Group { .. } => None,
        }
    }

    /// Returns whether a real at that address is the director itself, whichever host that is: the address is
    /// a loopback address, or the VIP.
    #[must_use]
    pub fn is_served_here(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.endpoint().is_some_and(|endpoint| endpoint.address.ip() == ip)
    }

    /// Returns the default port of reals; 0 stands for the destination port of the client's packet.
    #[must_use]
    pub const fn port(&self) -> u16 {
        match self {
            Self::Endpoint(endpoint) => endpoint.address.port(),
            Self::Group { .. } => 0,
        }
    }

    /// Returns the first column of lists: the protocol, or the word `group`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Endpoint(endpoint) => endpoint.protocol.as_str(),
            Self::Group { .. } => "group",
        }
    }

    /// Returns the second column of lists: VIP and port, or the group's number.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Endpoint(endpoint) => endpoint.address.to_string(),
            Self::Group { group, ipv6: false } => group.to_string(),
            Self::Group { group, ipv6: true } => format!("{group}{OF_IPV6}"),
        }
    }

    /// Parses the two words of a service's name: `tcp 10.0.0.100:80`, `group 7` or `group 7/ipv6`.
    ///
    /// # Errors
    /// If the text is invalid; the message shows the valid forms.
    pub fn parse(kind: &str, name: &str) -> Result<Self, String> {
        if kind == "group" {
            let (number, ipv6) = match name.strip_suffix(OF_IPV6) {
                Some(number) => (number, true),
                None => (name, false),
            };
            return match number.parse() {
                Ok(group) if group != 0 => Ok(Self::Group { group, ipv6 }),
                _ => Err(format!("'{name}' is not the number of a group; write 1 to {}", GroupId::MAX)),
            };
        }
        let known = ["tcp", "udp", "sctp", "group"];
        let protocol = kind.parse().map_err(|_| unknown_protocol(kind, &known))?;
        Ok(Self::new(protocol, socket_address(name)?))
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

/// Address of a real as written: `RIP` or `RIP:PORT`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RealAddress {
    /// RIP.
    pub ip: IpAddr,
    /// Port, if given.
    pub port: Option<u16>,
}

impl RealAddress {
    /// Returns the address; without a port, it gets that of the service.
    #[must_use]
    pub fn of_service(self, service: &ServiceId) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(service.port()))
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
            Err(_) if text.contains(':') || text.starts_with('[') => {
                Err(socket_address(text).err().unwrap_or_default())
            }
            Err(_) => Err(ip_address(text).err().unwrap_or_default()),
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

crate::text_schema!(RealAddress, "RIP and optional port.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_by_two_words_and_shown_by_the_same() {
        for words in ["tcp 10.0.0.100:80", "udp 10.0.0.100:0", "group 7", "group 7/ipv6"] {
            let (kind, name) = words.split_once(' ').unwrap();
            let id = ServiceId::parse(kind, name).unwrap();
            assert_eq!(id.to_string(), words);
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(serde_json::from_str::<ServiceId>(&json).unwrap(), id, "{json}");
        }
        for (kind, name) in [
            ("group", "0"),
            ("group", "x"),
            ("group", "7/ipv4"),
            ("group", "/ipv6"),
            ("dccp", "10.0.0.1:1"),
            ("tcp", "10.0.0.1"),
        ] {
            assert!(ServiceId::parse(kind, name).is_err(), "{kind} {name}");
        }
    }

    #[test]
    fn capitals_are_understood_and_a_port_with_a_protocol_is_named() {
        assert_eq!(ServiceId::parse("TCP", "10.0.0.1:80"), ServiceId::parse("tcp", "10.0.0.1:80"));
        let why = |kind, name| ServiceId::parse(kind, name).unwrap_err();
        assert_eq!(
            why("80/TCP", "10.0.0.1"),
            "'80/TCP' is a port and a protocol in one; write them apart: tcp VIP:80"
        );
        assert_eq!(why("tcp/80", "10.0.0.1"), why("80/tcp", "10.0.0.1").replace("80/tcp", "tcp/80"));
        assert_eq!(
            why("tcp", "10.0.0.1:53/udp"),
            "'53/udp' is a port and a protocol in one; write them apart: udp VIP:53"
        );
        assert_eq!(why("x/80", "10.0.0.1:80"), "unknown protocol 'x/80': tcp, udp, sctp, group");
    }
}
