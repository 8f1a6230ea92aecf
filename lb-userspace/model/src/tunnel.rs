// SPDX-License-Identifier: MIT OR Apache-2.0
//! Encapsulation of packets: `ipip`, `gre` or `gue:PORT`; the latter two with `:csum` if they have a
//! checksum.

use std::{fmt, str::FromStr};

use lb_common::schema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Headers between the outer IP header of `tun` and the packet.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Tunnel {
    /// No header: IP in IP.
    #[default]
    Ipip,
    /// A GRE header.
    Gre {
        /// The GRE header has a checksum.
        csum: bool,
    },
    /// UDP, and a GUE header.
    Gue {
        /// Destination port on the real.
        port: u16,
        /// UDP has a checksum.
        csum: bool,
    },
}

impl Tunnel {
    /// Port of generic UDP encapsulation, as assigned by IANA.
    pub const GUE_PORT: u16 = 6080;

    /// Returns the number of the encapsulation in the programs.
    #[must_use]
    pub const fn programs(self) -> u16 {
        let kind = match self {
            Self::Ipip => schema::Tunnel::Ipip,
            Self::Gre { .. } => schema::Tunnel::Gre,
            Self::Gue { .. } => schema::Tunnel::Gue,
        };
        kind as u16 | if self.csum() { schema::Tunnel::CHECKED } else { 0 }
    }

    /// Returns the encapsulation with that number in the programs, and that port.
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

    /// Returns the number of bytes that the encapsulation adds after the outer header.
    #[must_use]
    pub const fn length(self) -> usize {
        schema::Tunnel::length(self.programs())
    }

    /// Returns whether the encapsulation has a checksum.
    #[must_use]
    pub const fn csum(self) -> bool {
        matches!(self, Self::Gre { csum: true } | Self::Gue { csum: true, .. })
    }

    /// Returns whether this is the default.
    #[must_use]
    pub const fn is_ipip(&self) -> bool {
        matches!(self, Self::Ipip)
    }

    /// Returns the port on the real; 0 if there is none.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Ipip | Self::Gre { .. } => 0,
            Self::Gue { port, .. } => port,
        }
    }

    /// Returns the kind, by its name in ipvsadm.
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

crate::text_schema!(Tunnel, "Encapsulation: ipip, gre[:csum] or gue[:PORT][:csum].");

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
