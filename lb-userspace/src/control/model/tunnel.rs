// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a packet travels inside another one: `ipip`, `gre` or `gue:PORT`.

use std::{fmt, str::FromStr};

use lb_common::schema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is between the outer header of `tun` and the packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Tunnel {
    /// Nothing: IP in IP.
    #[default]
    Ipip,
    /// A GRE header.
    Gre,
    /// UDP to this port of the real, and a GUE header.
    Gue(u16),
}

impl Tunnel {
    /// The port of generic UDP encapsulation that IANA has assigned.
    pub const GUE_PORT: u16 = 6080;

    /// What the programs know it by.
    #[must_use]
    pub const fn programs(self) -> schema::Tunnel {
        match self {
            Self::Ipip => schema::Tunnel::Ipip,
            Self::Gre => schema::Tunnel::Gre,
            Self::Gue(_) => schema::Tunnel::Gue,
        }
    }

    /// Whether it is what it is by default.
    #[must_use]
    pub const fn is_ipip(&self) -> bool {
        matches!(self, Self::Ipip)
    }

    /// The real's port, 0 if there is none.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Ipip | Self::Gre => 0,
            Self::Gue(port) => port,
        }
    }

    /// Its kind by the name that ipvsadm has for it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gre => "gre",
            Self::Gue(_) => "gue",
        }
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipip | Self::Gre => f.write_str(self.kind()),
            Self::Gue(port) => write!(f, "gue:{port}"),
        }
    }
}

impl FromStr for Tunnel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no tunnel; write ipip, gre, gue or gue:{}", Self::GUE_PORT);
        match text.split_once(':') {
            None => match text {
                "ipip" => Ok(Self::Ipip),
                "gre" => Ok(Self::Gre),
                "gue" => Ok(Self::Gue(Self::GUE_PORT)),
                _ => Err(wrong()),
            },
            Some(("gue", port)) => match port.parse() {
                Ok(port @ 1..) => Ok(Self::Gue(port)),
                _ => Err(wrong()),
            },
            Some(_) => Err(wrong()),
        }
    }
}

impl Serialize for Tunnel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Tunnel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("ipip", Tunnel::Ipip)]
    #[case("gre", Tunnel::Gre)]
    #[case("gue:9999", Tunnel::Gue(9999))]
    fn a_tunnel_is_read_as_it_is_written(#[case] text: &str, #[case] tunnel: Tunnel) {
        assert_eq!(text.parse(), Ok(tunnel));
        assert_eq!(tunnel.to_string(), text);
    }

    #[test]
    fn the_port_of_gue_goes_without_saying_and_nonsense_does_not() {
        assert_eq!("gue".parse(), Ok(Tunnel::Gue(6080)));
        for wrong in ["", "GRE", "gre:1", "gue:0", "gue:65536", "gue:", "vxlan"] {
            assert!(wrong.parse::<Tunnel>().is_err(), "{wrong}");
        }
    }
}
