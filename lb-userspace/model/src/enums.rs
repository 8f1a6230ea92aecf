// SPDX-License-Identifier: MIT OR Apache-2.0
//! Enums of option values: schedulers and their flags, tracking, methods, removal policies. They have the
//! names of IPVS where it has one.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use lb_common::schema::Method;
use serde::{Deserialize, Serialize};

/// Declares an enum of option values: one list for serde, clap and output.
macro_rules! option_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, clap::ValueEnum, schemars::JsonSchema)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] #[value(name = $word)] $variant,)*
        }

        impl $name {
            /// All values.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name in commands and output.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().find(|word| word.as_str() == text).copied().ok_or_else(|| {
                    let known: Vec<&str> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    format!("'{text}' is none of {}", known.join(", "))
                })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(crate) use option_enum;

option_enum! {
    /// How a new connection picks a real; names and rules are those of IPVS.
    #[derive(Default)]
    Scheduler {
        /// Maglev hashing of the 5-tuple: few flows move when the pool changes
        #[default]
        Mh = "mh",
        /// Round robin, without weights
        Rr = "rr",
        /// Weighted round robin
        Wrr = "wrr",
        /// Least connections
        Lc = "lc",
        /// Weighted least connections
        Wlc = "wlc",
        /// Shortest expected delay
        Sed = "sed",
        /// Never queue: an idle real, otherwise as sed
        Nq = "nq",
        /// Weighted failover: the available real with the highest weight
        Fo = "fo",
        /// Weighted overflow: the real with the highest weight that has fewer active connections than its
        /// weight
        Ovf = "ovf",
        /// Power of two random choices: the less loaded of two reals
        Twos = "twos",
        /// Source address hashing
        Sh = "sh",
        /// Destination address hashing
        Dh = "dh",
        /// Locality-based least connections: a destination keeps its real
        Lblc = "lblc",
        /// Locality-based least connections with replication: a destination keeps a set of reals
        Lblcr = "lblcr",
    }
}

option_enum! {
    /// A flag of a scheduler, as `ipvsadm -b` has it.
    SchedulerFlag {
        /// sh: another real where the hashed one is overloaded
        ShFallback = "sh-fallback",
        /// sh: the client's port counts too
        ShPort = "sh-port",
        /// mh: another real where the hashed one is overloaded
        MhFallback = "mh-fallback",
        /// mh: the whole 5-tuple counts, not the client's address alone
        MhPort = "mh-port",
        /// IPVS's first flag: with sh and mh their fallback, with others nothing
        Flag1 = "flag-1",
        /// IPVS's second flag: with sh and mh their port, with others nothing
        Flag2 = "flag-2",
        /// IPVS's third flag: nothing
        Flag3 = "flag-3",
    }
}

option_enum! {
    /// Choice of the flows that have a flow table entry.
    #[derive(Default)]
    Tracking {
        /// With hashing schedulers, only flows that a pool change could move; with others, all flows
        #[default]
        Auto = "auto",
        /// All flows
        Full = "full",
        /// No flows: a pool change may move established connections to another real
        None = "none",
    }
}

option_enum! {
    /// How packets reach a real.
    #[derive(Default)]
    Forward {
        /// Direct routing: rewrite the MAC addresses; the real replies to the client directly
        #[default]
        Dr = "dr",
        /// Tunnelling by IP in IP, GRE or GUE; the real replies to the client directly
        Tun = "tun",
        /// Masquerading: rewrite the destination; the real must route replies through the director
        Nat = "nat",
        /// Full NAT: rewrite source and destination; the real replies to the director
        Fnat = "fnat",
        /// The director itself is the real server
        Local = "local",
    }
}

option_enum! {
    /// What becomes of the TCP connections of a real that is removed. UDP moves at once.
    #[derive(Default)]
    OnRemoval {
        /// The next packet of each connection is answered with a TCP reset
        #[default]
        Reset = "reset",
        /// The next packet of each connection goes to another real, which resets it
        Reschedule = "reschedule",
        /// Connections stay on the real until they end
        Drain = "drain",
    }
}

impl Scheduler {
    /// Returns the default flags: with the 5-tuple, the connections of a client are distributed over the
    /// reals.
    #[must_use]
    pub fn default_flags(self) -> BTreeSet<SchedulerFlag> {
        if self == Self::Mh { [SchedulerFlag::MhPort].into() } else { BTreeSet::new() }
    }

    /// Returns whether the packet alone determines the real, so that flows need no tracking while the pool is
    /// unchanged.
    #[must_use]
    pub const fn hashes(self) -> bool {
        matches!(self, Self::Mh | Self::Sh | Self::Dh)
    }
}

impl SchedulerFlag {
    /// Returns the scheduler to which the flag belongs. A numbered flag can be stored for any other scheduler
    /// than these, which ignores it.
    #[must_use]
    pub const fn scheduler(self) -> Option<Scheduler> {
        match self {
            Self::ShFallback | Self::ShPort => Some(Scheduler::Sh),
            Self::MhFallback | Self::MhPort => Some(Scheduler::Mh),
            Self::Flag1 | Self::Flag2 | Self::Flag3 => None,
        }
    }

    /// Returns a list of schedulers and their flags, first the one to which this flag belongs.
    #[must_use]
    pub fn who_takes_it(self) -> String {
        let mut schedulers = [Scheduler::Sh, Scheduler::Mh];
        schedulers.sort_by_key(|scheduler| self.scheduler() != Some(*scheduler));
        let takes = schedulers.map(|scheduler| {
            let flags = Self::ALL.iter().filter(|flag| flag.scheduler() == Some(scheduler));
            let flags: Vec<&str> = flags.map(|flag| flag.as_str()).collect();
            format!("--scheduler {scheduler} takes {}", flags.join(" and "))
        });
        format!("{}; to others no flag means anything, and `--flags none` leaves them off", takes.join(", "))
    }

    /// Returns the name of the flag with a scheduler; `None` if the flag has no effect with it and is not
    /// stored.
    ///
    /// # Errors
    /// If the flag belongs to another scheduler, which is the error.
    pub const fn with(self, scheduler: Scheduler) -> Result<Option<Self>, Scheduler> {
        Ok(match (self, scheduler) {
            (Self::Flag1, Scheduler::Sh) => Some(Self::ShFallback),
            (Self::Flag2, Scheduler::Sh) => Some(Self::ShPort),
            (Self::Flag1, Scheduler::Mh) => Some(Self::MhFallback),
            (Self::Flag2, Scheduler::Mh) => Some(Self::MhPort),
            (Self::Flag3, Scheduler::Sh | Scheduler::Mh) => None,
            (Self::Flag1 | Self::Flag2 | Self::Flag3, _)
            | (Self::ShFallback | Self::ShPort, Scheduler::Sh)
            | (Self::MhFallback | Self::MhPort, Scheduler::Mh) => Some(self),
            (Self::ShFallback | Self::ShPort, _) => return Err(Scheduler::Sh),
            (Self::MhFallback | Self::MhPort, _) => return Err(Scheduler::Mh),
        })
    }
}

impl Forward {
    /// Returns the number of the method in the programs.
    #[must_use]
    pub const fn method(self) -> Method {
        match self {
            Self::Dr => Method::Dr,
            Self::Tun => Method::Tun,
            Self::Nat => Method::Nat,
            Self::Local => Method::Local,
            Self::Fnat => Method::Fnat,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for scheduler in Scheduler::ALL {
            assert_eq!(scheduler.as_str().parse(), Ok(*scheduler));
            assert_eq!(serde_json::to_string(scheduler).unwrap(), format!("\"{scheduler}\""));
        }
        assert!("xx".parse::<Scheduler>().unwrap_err().contains("wlc"));
        for flag in SchedulerFlag::ALL {
            let belongs = flag.scheduler().map_or("flag", Scheduler::as_str);
            assert!(flag.as_str().starts_with(belongs), "{flag}");
        }
    }
}
