// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rows of the benchmark, and their names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An enum whose variants have a word in the names of rows.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the word in names.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// The method, and for those through which replies come back, the direction.
    Path {
        /// Direct routing.
        Dr = "dr",
        /// Tunnelling, IP in IP.
        Tun = "tun",
        /// Requests by masquerading.
        Nat = "nat",
        /// Replies by masquerading.
        NatReply = "nat-reply",
        /// Requests by full NAT.
        Fnat = "fnat",
        /// Replies by full NAT.
        FnatReply = "fnat-reply",
    }
}

words! {
    /// Version of IP.
    Version {
        /// IPv4.
        V4 = "v4",
        /// IPv6.
        V6 = "v6",
    }
}

words! {
    /// The selection of the real of a flow, and its tracking.
    Choice {
        /// Maglev; only flows that a pool change endangers are tracked.
        MhAuto = "mh-auto",
        /// Maglev; every flow is tracked.
        MhFull = "mh-full",
        /// Weighted round robin.
        Wrr = "wrr",
        /// Weighted least connections.
        Wlc = "wlc",
    }
}

words! {
    /// The incoming traffic.
    Traffic {
        /// Packets of connections that are known, each in turn.
        Established = "established",
        /// Packets of known connections of one service, each connection in turn.
        OneService = "one-service",
        /// Connections of three packets: SYN, ACK, FIN. A packet costs a third of the three.
        NewFlow = "new-flow",
        /// SYNs of connections that send nothing else.
        SynFlood = "syn-flood",
        /// TCP for another address.
        NotOurs = "not-ours",
        /// ARP.
        NotIp = "not-ip",
        /// ICMP errors about connections that are known.
        IcmpError = "icmp-error",
        /// Connections that are known, of a service without reals.
        NoReal = "no-real",
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Row {
    /// The method and direction.
    pub path: Path,
    /// Version of IP.
    pub version: Version,
    /// Selection of the real of a flow.
    pub choice: Choice,
    /// The incoming traffic.
    pub traffic: Traffic,
    /// Number of flows that take turns; 0: no flow comes twice.
    pub flows: u32,
    /// Services, all of which get packets.
    pub services: u32,
    /// Reals of each.
    pub reals: u32,
    /// True if packets leave by another interface than that by which they came.
    #[serde(default)]
    pub redirect: bool,
}

/// The set-up of the director. Rows with the same set-up are measured one after the other.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Setup {
    /// The method, as that of the request.
    pub path: Path,
    /// Version of IP.
    pub version: Version,
    /// Selection of the real of a flow.
    pub choice: Choice,
    /// Number of services.
    pub services: u32,
    /// Reals of each.
    pub reals: u32,
    /// True if the reals are behind another interface than that by which packets come.
    pub redirect: bool,
}

impl Row {
    /// Returns the set-up of the director for the row.
    #[must_use]
    pub const fn setup(&self) -> Setup {
        let reals = if matches!(self.traffic, Traffic::NoReal) { 0 } else { self.reals };
        let Self { path, version, choice, services, redirect, .. } = *self;
        Setup { path: path.request(), version, choice, services, reals, redirect }
    }

    /// Returns the row with this number of flows.
    #[must_use]
    pub const fn flows(self, flows: u32) -> Self {
        Self { flows, ..self }
    }

    /// Returns the row with another IP version.
    #[must_use]
    pub const fn version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// Returns the row with other traffic. If flows come once, there are as many as packets.
    #[must_use]
    pub const fn traffic(self, traffic: Traffic) -> Self {
        let flows = match traffic {
            Traffic::NewFlow | Traffic::SynFlood => 0,
            _ => self.flows,
        };
        Self { traffic, flows, ..self }
    }

    /// Returns the row with another path.
    #[must_use]
    pub const fn path(self, path: Path) -> Self {
        Self { path, ..self }
    }

    /// Returns the row with another scheduler.
    #[must_use]
    pub const fn choice(self, choice: Choice) -> Self {
        Self { choice, ..self }
    }

    /// Returns the row with this number of services, and this number of reals in each.
    #[must_use]
    pub const fn pool(self, services: u32, reals: u32) -> Self {
        Self { services, reals, ..self }
    }

    /// Returns the row with reals behind another interface.
    #[must_use]
    pub const fn redirected(self) -> Self {
        Self { redirect: true, ..self }
    }

    /// Returns whether the director forwards the packets.
    #[must_use]
    pub const fn is_forwarded(&self) -> bool {
        !matches!(self.traffic, Traffic::NotOurs | Traffic::NotIp | Traffic::NoReal)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, version, choice, traffic, flows, services, reals, redirect } = self;
        write!(f, "{path} {version} {choice} {traffic} flows={flows} services={services} reals={reals}")?;
        if *redirect { write!(f, " redirect") } else { Ok(()) }
    }
}

impl Path {
    /// Returns the method, as that of requests.
    #[must_use]
    pub const fn request(self) -> Self {
        match self {
            Self::NatReply => Self::Nat,
            Self::FnatReply => Self::Fnat,
            other => other,
        }
    }

    /// Returns whether the path is that of replies.
    #[must_use]
    pub const fn is_reply(self) -> bool {
        matches!(self, Self::NatReply | Self::FnatReply)
    }
}
