// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signs that the checker is sick, and not the reals.
//!
//! If nearly all targets that are up fail at about the same time, across services and hosts, the cause may be the
//! director rather than the reals. Targets that have been down for long cannot testify: they count on neither side.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    fmt,
    hash::Hash,
    net::IpAddr,
};

use lb_model::ServiceId;

/// Percent of the targets that must fail together.
const MAJORITY: usize = 90;
/// Least number of targets, services and hosts that must fail together.
const LEAST: (usize, usize, usize) = (4, 2, 2);

/// Reason for frozen states.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Nearly all targets fail.
    Majority {
        /// Targets that fail.
        failing: usize,
        /// Targets that were up.
        of: usize,
    },
    /// The probe to the director itself fails.
    Canary(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Majority { failing, of } => {
                write!(f, "{failing} of {of} targets that were up fail at the same time")
            }
            Self::Canary(why) => write!(f, "the probe of the director to itself fails: {why}"),
        }
    }
}

/// Frozen states: no target goes down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frozen {
    /// Begin, in milliseconds since 1970.
    pub since_ms: u64,
    /// Reason.
    pub why: Cause,
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

/// States that are frozen because nearly all targets fail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Majority {
    pub frozen: Frozen,
    /// End of the freeze, by the monotonic clock: it begins to run when the first target would have gone down.
    pub until: Option<u64>,
}

/// Part that a target has in the decision.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Part {
    /// The target is down for long, or has no state.
    #[default]
    None,
    /// The target is up, and the latest probe succeeded.
    Healthy,
    /// The target is up, and the latest probe failed.
    Failing,
    /// The target went down within the last interval.
    Fell,
}

impl Part {
    /// Returns whether the target fails, or has just gone down.
    const fn turns(self) -> bool {
        matches!(self, Self::Failing | Self::Fell)
    }
}

/// Numbers of targets by part, and of targets that turn by host and by service.
#[derive(Clone, Debug, Default)]
pub(super) struct Census {
    healthy: usize,
    failing: usize,
    fell: usize,
    hosts: HashMap<IpAddr, usize>,
    services: HashMap<ServiceId, usize>,
}

impl Census {
    /// Moves a target of a host and of these services from one part to another.
    pub fn change(&mut self, host: IpAddr, services: &BTreeSet<ServiceId>, from: Part, to: Part) {
        if let Some(number) = self.number(from) {
            *number -= 1;
        }
        if let Some(number) = self.number(to) {
            *number += 1;
        }
        if from.turns() != to.turns() {
            count(&mut self.hosts, host, to.turns());
            for service in services {
                count(&mut self.services, *service, to.turns());
            }
        }
    }

    fn number(&mut self, part: Part) -> Option<&mut usize> {
        match part {
            Part::None => None,
            Part::Healthy => Some(&mut self.healthy),
            Part::Failing => Some(&mut self.failing),
            Part::Fell => Some(&mut self.fell),
        }
    }

    /// Returns the number of targets that turn, and of those that were up.
    pub fn turning(&self) -> (usize, usize) {
        let turning = self.failing + self.fell;
        (turning, turning + self.healthy)
    }

    /// Returns whether enough targets turn to suspect the checker, whatever their services and hosts.
    pub fn is_suspicious(&self) -> bool {
        let (turning, all) = self.turning();
        turning >= LEAST.0 && turning * 100 >= all * MAJORITY
    }

    /// Returns whether the targets that turn are of enough services and hosts to suspect the checker.
    pub fn is_wide(&self) -> bool {
        self.services.len() >= LEAST.1 && self.hosts.len() >= LEAST.2
    }

    /// Returns whether a target has gone down within the last interval.
    pub fn has_fallen(&self) -> bool {
        self.fell > 0
    }
}

/// Adds one to the number of `key`, or takes one away; a number of 0 has no entry.
fn count<K: Eq + Hash>(numbers: &mut HashMap<K, usize>, key: K, is_more: bool) {
    match numbers.entry(key) {
        Entry::Occupied(mut entry) if is_more => *entry.get_mut() += 1,
        Entry::Occupied(mut entry) if *entry.get() > 1 => *entry.get_mut() -= 1,
        Entry::Occupied(entry) => {
            entry.remove();
        }
        Entry::Vacant(entry) if is_more => {
            entry.insert(1);
        }
        Entry::Vacant(_) => {}
    }
}
