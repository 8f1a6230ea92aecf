// SPDX-License-Identifier: MIT OR Apache-2.0
//! Permitted combinations of commands and options.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::{grammar::Verb, trouble::Trouble};

/// Topic of an option; options of one topic exclude each other. The order is that of ipvsadm's checks.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Topic {
    Numeric,
    Connection,
    Service,
    Scheduler,
    Persistent,
    Netmask,
    Server,
    Forward,
    Weight,
    Upper,
    Lower,
    McastInterface,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    NoSort,
    SyncId,
    Exact,
    Ops,
    Engine,
    SchedulerFlags,
    McastGroup,
    McastPort,
    McastTtl,
    SyncMaxlen,
    TunInfo,
    TunType,
    TunPort,
    TunNocsum,
    TunCsum,
    TunRemcsum,
}

impl Topic {
    /// Returns the name in messages of ipvsadm.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Numeric => "numeric",
            Self::Connection => "connection",
            Self::Service => "service-address",
            Self::Scheduler => "scheduler",
            Self::Persistent => "persistent",
            Self::Netmask => "netmask",
            Self::Server => "real-server",
            Self::Forward => "forwarding-method",
            Self::Weight => "weight",
            Self::Upper => "u-threshold",
            Self::Lower => "l-threshold",
            Self::McastInterface => "mcast-interface",
            Self::Timeout => "timeout",
            Self::Daemon => "daemon",
            Self::Stats => "stats",
            Self::Rate => "rate",
            Self::Thresholds => "thresholds",
            Self::PersistentConn => "persistent-conn",
            Self::NoSort => "nosort",
            Self::SyncId => "syncid",
            Self::Exact => "exact",
            Self::Ops => "ops",
            Self::Engine => "pe",
            Self::SchedulerFlags => "sched-flags",
            Self::McastGroup => "mcast-group",
            Self::McastPort => "mcast-port",
            Self::McastTtl => "mcast-ttl",
            Self::SyncMaxlen => "sync-maxlen",
            Self::TunInfo => "tun-info",
            Self::TunType => "tun-type",
            Self::TunPort => "tun-port",
            Self::TunNocsum => "tun-nocsum",
            Self::TunCsum => "tun-csum",
            Self::TunRemcsum => "tun-remcsum",
        }
    }
}

/// Options of a command: required ones, permitted ones, and those of which one is permitted.
struct Rules {
    needs: &'static [Topic],
    may: &'static [Topic],
    one_of: &'static [Topic],
}

fn rules(verb: Verb) -> Rules {
    use Topic as T;
    let (needs, may, one_of): (&[T], &[T], &[T]) = match verb {
        Verb::Add | Verb::Edit => (
            &[T::Service],
            &[T::Scheduler, T::Persistent, T::Netmask, T::Ops, T::Engine, T::SchedulerFlags],
            &[],
        ),
        Verb::Delete => (&[T::Service], &[], &[]),
        Verb::AddServer | Verb::EditServer => (
            &[T::Service, T::Server],
            &[
                T::Forward,
                T::Weight,
                T::Upper,
                T::Lower,
                T::TunType,
                T::TunPort,
                T::TunNocsum,
                T::TunCsum,
                T::TunRemcsum,
            ],
            &[],
        ),
        Verb::DeleteServer => (&[T::Service, T::Server], &[], &[]),
        Verb::List => (
            &[],
            &[
                T::Numeric,
                T::Stats,
                T::Rate,
                T::Thresholds,
                T::PersistentConn,
                T::NoSort,
                T::Exact,
                T::TunInfo,
            ],
            &[T::Connection, T::Service, T::Timeout, T::Daemon],
        ),
        Verb::StartDaemon => (
            &[],
            &[T::McastInterface, T::SyncId, T::McastGroup, T::McastPort, T::McastTtl, T::SyncMaxlen],
            &[],
        ),
        Verb::StopDaemon => (&[], &[T::SyncId], &[]),
        Verb::Save => (&[], &[T::Numeric], &[]),
        Verb::Zero => (&[], &[T::Service], &[]),
        Verb::Flush | Verb::Set | Verb::Restore | Verb::Help | Verb::Version => (&[], &[], &[]),
    };
    Rules { needs, may, one_of }
}

/// Checks that a command has its required options, and only permitted ones.
///
/// # Errors
/// Fails as ipvsadm does.
pub fn check(verb: Verb, given: &BTreeSet<Topic>) -> Result<(), Trouble> {
    let Rules { needs, may, one_of } = rules(verb);
    let mut only: Option<Topic> = None;
    let all: BTreeSet<Topic> = given.iter().chain(needs).copied().collect();
    for topic in all {
        let (name, command) = (topic.name(), verb.name());
        if !given.contains(&topic) {
            return Err(Trouble::usage(format!(
                "You need to supply the '{name}' option for the '{command}' command"
            )));
        }
        if one_of.contains(&topic) {
            if let Some(other) = only {
                return Err(Trouble::usage(format!(
                    "The option '{name}' conflicts with the '{}' option in the '{command}' command",
                    other.name()
                )));
            }
            only = Some(topic);
        } else if !needs.contains(&topic) && !may.contains(&topic) {
            return Err(Trouble::usage(format!("Illegal '{name}' option with the '{command}' command")));
        }
    }
    Ok(())
}

/// Checks the combination of options of a list.
///
/// # Errors
/// Fails as ipvsadm does.
pub fn check_list(given: &BTreeSet<Topic>) -> Result<(), Trouble> {
    use Topic as T;
    let any = |topics: &[T]| topics.iter().any(|topic| given.contains(topic));
    let counters = any(&[T::Stats, T::Rate, T::Thresholds]);
    if any(&[T::Connection, T::Timeout, T::Daemon]) && counters
        || any(&[T::Timeout, T::Daemon]) && any(&[T::PersistentConn])
    {
        return Err(Trouble::usage("options conflicts in the list command"));
    }
    Ok(())
}
