// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured, and by which name.

use std::fmt;

use lb_userspace::model::{Forward, Scheduler, Tracking};
use serde::{Deserialize, Serialize};

/// An enum whose variants have a word in names of rows.
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

            /// The word in names.
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
    /// How a flow gets its real, and what is written down of it.
    Choice {
        /// Maglev; only flows that a pool change could hurt are written down.
        MhAuto = "mh-auto",
        /// Maglev; every flow is written down.
        MhFull = "mh-full",
        /// Weighted round robin.
        Wrr = "wrr",
        /// Weighted least connections.
        Wlc = "wlc",
    }
}

words! {
    /// What comes in.
    Traffic {
        /// Packets of connections that are known, each in turn.
        Established = "established",
        /// The same, all of one of the services.
        OneService = "one-service",
        /// Connections of three packets: SYN, ACK, FIN. Each costs a third of what is measured for all three.
        NewFlow = "new-flow",
        /// SYNs of connections that never go on.
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
    /// How a flow gets its real.
    pub choice: Choice,
    /// What comes in.
    pub traffic: Traffic,
    /// How many flows take turns; 0: none comes twice.
    pub flows: u32,
    /// Services, all of which get packets.
    pub services: u32,
    /// Reals of each.
    pub reals: u32,
    /// Whether packets leave by another device than that by which they came.
    #[serde(default)]
    pub redirect: bool,
}

/// What the director is set up with: rows that have it in common are measured one after the other.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Setup {
    /// The method, as that of the request.
    pub path: Path,
    /// Version of IP.
    pub version: Version,
    /// How a flow gets its real.
    pub choice: Choice,
    /// Services.
    pub services: u32,
    /// Reals of each.
    pub reals: u32,
    /// Whether they are behind another device than that by which packets come.
    pub redirect: bool,
}

impl Row {
    /// What the director is set up with for it.
    #[must_use]
    pub const fn setup(&self) -> Setup {
        let reals = if matches!(self.traffic, Traffic::NoReal) { 0 } else { self.reals };
        let Self { path, version, choice, services, redirect, .. } = *self;
        Setup { path: path.request(), version, choice, services, reals, redirect }
    }

    /// The same with as many flows.
    #[must_use]
    pub const fn flows(self, flows: u32) -> Self {
        Self { flows, ..self }
    }

    /// The same of another version of IP.
    #[must_use]
    pub const fn version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// The same with other traffic; flows that come once are as many as there are packets.
    #[must_use]
    pub const fn traffic(self, traffic: Traffic) -> Self {
        let flows = match traffic {
            Traffic::NewFlow | Traffic::SynFlood => 0,
            _ => self.flows,
        };
        Self { traffic, flows, ..self }
    }

    /// The same on another way.
    #[must_use]
    pub const fn path(self, path: Path) -> Self {
        Self { path, ..self }
    }

    /// The same with another scheduler.
    #[must_use]
    pub const fn choice(self, choice: Choice) -> Self {
        Self { choice, ..self }
    }

    /// The same with so many services of so many reals.
    #[must_use]
    pub const fn pool(self, services: u32, reals: u32) -> Self {
        Self { services, reals, ..self }
    }

    /// The same with reals behind another device.
    #[must_use]
    pub const fn redirected(self) -> Self {
        Self { redirect: true, ..self }
    }

    /// Whether the director forwards the packets.
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
    /// The method, as that of requests.
    #[must_use]
    pub const fn request(self) -> Self {
        match self {
            Self::NatReply => Self::Nat,
            Self::FnatReply => Self::Fnat,
            other => other,
        }
    }

    /// Whether it is the way back.
    #[must_use]
    pub const fn is_reply(self) -> bool {
        matches!(self, Self::NatReply | Self::FnatReply)
    }

    /// The forwarding method.
    #[must_use]
    pub const fn forward(self) -> Forward {
        match self {
            Self::Dr => Forward::Dr,
            Self::Tun => Forward::Tun,
            Self::Nat | Self::NatReply => Forward::Nat,
            Self::Fnat | Self::FnatReply => Forward::Fnat,
        }
    }
}

impl Choice {
    /// The scheduler and what is tracked.
    #[must_use]
    pub const fn scheduler(self) -> (Scheduler, Tracking) {
        match self {
            Self::MhAuto => (Scheduler::Mh, Tracking::Auto),
            Self::MhFull => (Scheduler::Mh, Tracking::Full),
            Self::Wrr => (Scheduler::Wrr, Tracking::Auto),
            Self::Wlc => (Scheduler::Wlc, Tracking::Auto),
        }
    }
}
