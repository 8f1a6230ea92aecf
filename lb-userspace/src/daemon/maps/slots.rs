// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots of services with a hashing scheduler.
#![forbid(unsafe_code)]

use lb_common::{
    ids::RealId,
    schema::{self, Tracking},
};

use super::{Maps, maps_failed};
use lb_control::{
    apply::{self, Time, was_never_asked},
    slots::{Clock, Slots},
};
use lb_dataplane::{TableError, clock};
use lb_model::ServiceId;
use lb_model::failure::Failure;

impl Maps {
    /// Returns the number of slots of a service with a hashing scheduler; 0 for others.
    pub(in super::super) fn slots(&self, id: &ServiceId) -> u32 {
        let number = self.ids.services.get(id);
        let value = self.image.services.values().find(|value| Some(&value.id) == number);
        value.filter(|value| schema::Scheduler::hashes(value.scheduler)).map_or(0, |value| value.slots)
    }

    /// Returns the slots of a service with tracking `auto`, and the clock for them.
    pub(in super::super) fn moving_slots(&mut self, id: &ServiceId) -> Option<(Slots, Clock)> {
        self.try_moving_slots(id).ok()?
    }

    /// Returns the number of slots of a service in transition.
    pub(in super::super) fn slots_in_transition(&mut self, id: &ServiceId) -> u32 {
        self.moving_slots(id).map_or(0, |(slots, _)| slots.moved())
    }

    /// Returns whether no packet ever went to a real of a service.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(in super::super) fn was_never_asked(&mut self, id: &ServiceId) -> Result<bool, Failure> {
        let Some(spec) = self.ids.services.get(id).and_then(|number| self.image.tables.get(number)) else {
            return Ok(true);
        };
        was_never_asked(self.plane.tables(), spec).map_err(|e| maps_failed(&e))
    }

    /// Returns whether untracked flows may still be on a real.
    pub(super) fn has_untracked_flows(
        &mut self,
        id: &ServiceId,
        real: Option<RealId>,
    ) -> Result<bool, TableError> {
        let Some(real) = real else { return Ok(false) };
        let slots = self.try_moving_slots(id)?;
        Ok(slots.is_some_and(|(slots, clock)| slots.bases(clock).contains_key(&real)))
    }

    fn try_moving_slots(&mut self, id: &ServiceId) -> Result<Option<(Slots, Clock)>, TableError> {
        let spec = self.ids.services.get(id).and_then(|service| self.image.tables.get(service));
        let Some(spec) = spec.filter(|spec| spec.tracking == Tracking::Auto) else { return Ok(None) };
        let clock = Time { now: clock::now(), timeouts: &self.timeouts }.clock(spec.protocol);
        Ok(Some((apply::read_slots(self.plane.tables(), spec.span)?, clock)))
    }
}
