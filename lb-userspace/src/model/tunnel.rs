// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a packet travels inside another one: `ipip`, `gre` or `gue:PORT`; the latter two with `:csum` if they have a checksum.

use std::{fmt, str::FromStr};

use lb_common::schema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is between the outer header of `tun` and the packet.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Tunnel {
    /// Nothing: IP in IP.
    #[default]
    Ipip,
    /// A GRE header.
    Gre {
        /// Whether it has a checksum.
        csum: bool,
    },
    /// UDP, and a GUE header.
    Gue {
        /// The real's port.
        port: u16,
        /// Whether UDP has a checksum.
        csum: bool,
    },
}

impl Tunnel {
    /// The port of generic UDP encapsulation that IANA has assigned.
    pub const GUE_PORT: u16 = 6080;

    /// What the programs know it by.
    #[must_use]
    pub const fn programs(self) -> u16 {
        let kind = match self {
            Self::Ipip => schema::Tunnel::Ipip,
            Self::Gre { .. } => schema::Tunnel::Gre,
            Self::Gue { .. } => schema::Tunnel::Gue,
        };
        kind as u16 | if self.csum() { schema::Tunnel::CHECKED } else { 0 }
    }

    /// Returns the tunnel that the programs know by that number and port.
    #[must_use]
    pub const fn from_programs(number: u16, port: u16) -> Self {
        const GRE: u16 = schema::Tunnel::Gre as u16;
        const GUE: u16 = schema::Tunnel::Gue as u16;
        let csum = number & schema::Tunnel::CHECKED != 0;
        match schema::Tunnel::kind(number) {
            GRE => Self::Gre { csum },
            GUE => Self::Gue { port, csum },
            _ => Self::Ipip,
        }
    }

    /// Bytes that it adds behind the outer header.
    #[must_use]
    pub const fn length(self) -> usize {
        schema::Tunnel::length(self.programs())
    }

    /// Whether it has a checksum.
    #[must_use]
    pub const fn csum(self) -> bool {
        matches!(self, Self::Gre { csum: true } | Self::Gue { csum: true, .. })
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
            Self::Ipip | Self::Gre { .. } => 0,
            Self::Gue { port, .. } => port,
        }
    }

    /// Its kind by the name that ipvsadm has for it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gre { .. } => "gre",
            Self::Gue { .. } => "gue",
        }
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        if let Self::Gue { port, .. } = self {
            write!(f, ":{port}")?;
        }
        f.write_str(if self.csum() { ":csum" } else { "" })
    }
}

impl FromStr for Tunnel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is no tunnel; write ipip, gre or gue:{}, the latter two perhaps with :csum",
                Self::GUE_PORT
            )
        };
        let (kind, csum) = text.strip_suffix(":csum").map_or((text, false), |kind| (kind, true));
        match (kind.split_once(':'), kind) {
            (None, "ipip") if !csum => Ok(Self::Ipip),
            (None, "gre") => Ok(Self::Gre { csum }),
            (None, "gue") => Ok(Self::Gue { port: Self::GUE_PORT, csum }),
            (Some(("gue", port)), _) => match port.parse() {
                Ok(port @ 1..) => Ok(Self::Gue { port, csum }),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
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
    #[case("gre", Tunnel::Gre { csum: false })]
    #[case("gre:csum", Tunnel::Gre { csum: true })]
    #[case("gue:9999", Tunnel::Gue { port: 9999, csum: false })]
    #[case("gue:9999:csum", Tunnel::Gue { port: 9999, csum: true })]
    fn a_tunnel_is_read_as_it_is_written(#[case] text: &str, #[case] tunnel: Tunnel) {
        assert_eq!(text.parse(), Ok(tunnel));
        assert_eq!(tunnel.to_string(), text);
    }

    #[test]
    fn the_port_of_gue_goes_without_saying_and_nonsense_does_not() {
        assert_eq!("gue".parse(), Ok(Tunnel::Gue { port: 6080, csum: false }));
        assert_eq!("gue:csum".parse(), Ok(Tunnel::Gue { port: 6080, csum: true }));
        for wrong in
            ["", ":csum", "ipip:csum", "gue:csum:6080", "GRE", "gre:1", "gue:0", "gue:65536", "gue:", "vxlan"]
        {
            assert!(wrong.parse::<Tunnel>().is_err(), "{wrong}");
        }
    }
}
