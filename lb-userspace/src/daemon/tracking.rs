// SPDX-License-Identifier: MIT OR Apache-2.0
//! Refusal of changes of the tracking mode that would lose flows.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use lb_common::schema::Tracking;

use super::Director;
use lb_control::image;
use lb_model::failure::Failure;
use lb_model::text::count;
use lb_model::{Desired, RealKey, Service, ServiceId};

impl Director {
    /// Refuses to leave `--tracking auto`, or to change the hash under it, if that would lose untracked flows, except
    /// those of services that the operator forces.
    pub(super) fn may_leave_auto(&mut self, desired: &Desired) -> Result<(), Failure> {
        let lost = self.lost_by(desired)?;
        let refused = lost.into_iter().find(|(id, _)| !self.forced.contains(id));
        refused.map_or(Ok(()), |(_, failure)| Err(failure))
    }

    /// Lets the next change lose the untracked flows of some services. Returns a warning for each that will.
    pub(super) fn force(
        &mut self,
        forced: BTreeSet<ServiceId>,
        desired: &Desired,
    ) -> Result<Vec<String>, Failure> {
        self.forced = forced;
        if self.forced.is_empty() {
            return Ok(Vec::new());
        }
        let lost = self.lost_by(desired)?;
        let lost: Vec<ServiceId> =
            lost.into_iter().map(|(id, _)| id).filter(|id| self.forced.contains(id)).collect();
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        let counts = self.maps.flow_counter()?.count()?;
        let line = |id: ServiceId| {
            let reals = self.store.desired().services.get(&id).into_iter().flat_map(Service::all_keys);
            let tracked = reals.filter_map(|key| counts.by_real.get(&self.maps.ids().real(&id, &key)?));
            let tracked: u64 = tracked.map(|count| count.active + count.inactive).sum();
            format!(
                "service {id}: connections without a flow table entry, which the director does not count, go to \
                 other reals and end; {} with an entry stay",
                count(tracked as usize, "connection")
            )
        };
        Ok(lost.into_iter().map(line).collect())
    }

    /// Returns the services whose untracked flows a change to `desired` would lose, with the reasons.
    fn lost_by(&mut self, desired: &Desired) -> Result<Vec<(ServiceId, Failure)>, Failure> {
        let mut lost = Vec::new();
        let is_auto = |service: &Service| image::tracking(service) == Tracking::Auto;
        let hashes_otherwise = |old: &Service, new: &Service| {
            old.scheduler != new.scheduler || old.hashes_ports() != new.hashes_ports()
        };
        let leaves =
            |old: &Service, new: &Service| is_auto(old) && (!is_auto(new) || hashes_otherwise(old, new));
        let services = self.store.desired().services.iter();
        let leaving: Vec<(ServiceId, Service)> = services
            .filter(|(id, _)| !desired.services.share(&self.store.desired().services, id))
            .filter(|(id, old)| desired.services.get(id).is_some_and(|new| leaves(old, new)))
            .map(|(id, old)| (*id, old.clone()))
            .collect();
        for (id, old) in leaving {
            let new = &desired.services[&id];
            if self.maps.was_never_asked(&id)? {
                continue;
            }
            if hashes_otherwise(&old, new) && (is_auto(new) || !new.scheduler.hashes()) {
                let [before, after] = [&old, new].map(Service::describe_scheduler);
                let failure = Failure::wrong_input(format!(
                    "service {id}: connections without a flow table entry (--tracking auto) are on the reals that {before} selected, which {after} cannot determine"
                ));
                lost.push((id, failure.hint("first set `--tracking full` with the old scheduler; set the new one when every connection has sent a packet; or end those connections: `xvs service edit` with `--force`")));
                continue;
            }
            let takes = |service: &Service| -> BTreeSet<RealKey> {
                let reals = service.reals.iter().filter(|(_, real)| real.weight > 0);
                reals.map(|(address, real)| real.key(*address)).collect()
            };
            if !is_auto(new) && takes(&old) != takes(new) {
                let failure = Failure::wrong_input(format!(
                    "service {id}: untracked connections would be lost, because this change tracks all connections and changes the reals"
                ));
                lost.push((id, failure.hint(format!(
                    "first run `xvs service edit {id} --tracking full`; make the change when every connection has sent a packet since"
                ))));
                continue;
            }
            let slots = self.maps.slots_in_transition(&id);
            if slots > 0 {
                let failure = Failure::failed(format!(
                    "service {id}: {slots} slots are in transition after a pool change"
                ));
                lost.push((id, failure.hint("connections in them would be lost; try again when `xvs service show` shows none, or end them: `xvs service edit` with `--force`")));
            }
        }
        Ok(lost)
    }
}
