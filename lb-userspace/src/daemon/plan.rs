// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs plan`: the changes that a config would make, and their effect on open connections.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::{
    Director, change,
    change::Effect,
    impact::{Impact, impact},
    maps::FlowCounts,
};
use crate::api::config::Planned;
use lb_model::failure::Failure;
use lb_model::{Desired, Forward, RealKey, ServiceId, Tracking};

impl Director {
    /// Returns the changes that replacing all services with `desired` would make, without making them; `counts`
    /// are the flows.
    ///
    /// # Errors
    /// If `desired` is invalid, or a table is full.
    pub fn plan(&mut self, mut desired: Desired, counts: &FlowCounts) -> Result<Planned, Failure> {
        let old = self.store.desired().clone();
        change::carry_over(&old, &mut desired);
        self.may_become(&desired)?;
        self.maps.allocate(&desired)?;
        let untracked = self.with_untracked_flows(&old);
        let flows = |id: &ServiceId, key: &RealKey| {
            let count = self.maps.ids().real(id, key).and_then(|number| counts.by_real.get(&number));
            count.map_or(0, |count| count.active + count.inactive)
        };
        let mut planned = Planned::default();
        for difference in change::differences(&old, &desired) {
            match difference.effect {
                Effect::Add => planned.add += 1,
                Effect::Change => planned.change += 1,
                Effect::Remove => planned.remove += 1,
            }
            let impact: Impact = impact(&difference, &old, &desired, flows, |id| untracked.contains(id));
            planned.breaks += impact.breaks;
            planned.moves += impact.moves;
            planned.changes.push(difference.planned() + &impact.words());
        }
        Ok(planned)
    }

    /// Returns the services that got packets, and whose connections may have no entry in the flow table.
    fn with_untracked_flows(&mut self, desired: &Desired) -> BTreeSet<ServiceId> {
        let services = desired.services.iter().filter(|(id, service)| {
            let hashes = self.maps.slots(id) > 0 && service.persistence.is_none();
            let all_by_fnat = service.reals.values().all(|real| real.forward == Forward::Fnat);
            hashes && service.tracking != Tracking::Full && !all_by_fnat
        });
        let ids: Vec<ServiceId> = services.map(|(id, _)| *id).collect();
        // An error of a map is reported elsewhere: then there may be such connections.
        ids.into_iter().filter(|id| !self.maps.was_never_asked(id).unwrap_or(false)).collect()
    }
}
