// SPDX-License-Identifier: MIT OR Apache-2.0
//! What others see of the engine: states, events, counts.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, sync::Arc};

use lb_model::health::{Health, LastResult};

use super::{Engine, Frozen, Now};
use crate::{
    target::{TargetKey, TargetState},
    totals::Totals,
};

/// A change of a state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Time, in milliseconds since 1970.
    pub at_ms: u64,
    /// The change.
    pub kind: EventKind,
}

/// Kind of a change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EventKind {
    /// A target turned.
    Turned {
        /// Target.
        key: Arc<TargetKey>,
        /// Health before, by verdicts or from before a restart.
        from: Health,
        /// Health now.
        to: Health,
        /// Result that caused the change.
        last: Option<LastResult>,
    },
    /// States are frozen.
    Frozen(Frozen),
    /// States are no longer frozen, because enough targets succeed.
    Thawed,
    /// States are no longer frozen, because the failures have lasted: states follow them.
    Accepted,
}

impl Engine {
    /// Returns the state of a target.
    #[must_use]
    pub fn state(&self, key: &TargetKey, now: Now) -> Option<TargetState> {
        let slot = self.slots[*self.by_key.get(key)?].as_ref()?;
        Some(slot.machine.state(&slot.target.check, now))
    }

    /// Returns the states of all targets.
    #[must_use]
    pub fn states(&self, now: Now) -> BTreeMap<Arc<TargetKey>, TargetState> {
        let state = |(key, index): (&Arc<TargetKey>, &usize)| {
            let slot = self.slots[*index].as_ref()?;
            Some((Arc::clone(key), slot.machine.state(&slot.target.check, now)))
        };
        self.by_key.iter().filter_map(state).collect()
    }

    /// Returns the events since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// Returns whether a state on which rotation depends has changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Returns whether states follow the failures of nearly all targets, because a freeze has ended by its time.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        self.is_accepted
    }

    /// Returns the counts of results and starts.
    #[must_use]
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Returns the number of probes in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}
