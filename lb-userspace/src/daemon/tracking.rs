// SPDX-License-Identifier: MIT OR Apache-2.0
//! Refusal of changes of the tracking mode that would lose flows.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use lb_common::schema::Tracking;

use super::Director;
use lb_control::image;
use lb_model::failure::Failure;
use lb_model::{Desired, RealKey, Service};

impl Director {
    /// Refuses to leave `--tracking auto`, or to change the hash under it, if that would lose untracked flows.
    pub(super) fn may_leave_auto(&mut self, desired: &Desired) -> Result<(), Failure> {
        let is_auto = |service: &Service| image::tracking(service) == Tracking::Auto;
        for (id, old) in self.store.desired().services.clone() {
            let hashes_otherwise =
                |new: &Service| old.scheduler != new.scheduler || old.hashes_ports() != new.hashes_ports();
            let leaves = |new: &&Service| is_auto(&old) && (!is_auto(new) || hashes_otherwise(new));
            let Some(new) = desired.services.get(&id).filter(leaves) else { continue };
            if self.maps.was_never_asked(&id)? {
                continue;
            }
            if hashes_otherwise(new) && (is_auto(new) || !new.scheduler.hashes()) {
                let [before, after] = [&old, new].map(Service::describe_scheduler);
                return Err(Failure::wrong_input(format!(
                    "service {id}: connections without a flow table entry (--tracking auto) are on the reals that {before} selected, which {after} cannot determine"
                ))
                .hint("first set `--tracking full` with the old scheduler; set the new one when every connection has sent a packet"));
            }
            let takes = |service: &Service| -> BTreeSet<RealKey> {
                let reals = service.reals.iter().filter(|(_, real)| real.weight > 0);
                reals.map(|(address, real)| real.key(*address)).collect()
            };
            if !is_auto(new) && takes(&old) != takes(new) {
                return Err(Failure::wrong_input(format!(
                    "service {id}: untracked connections would be lost, because this change tracks all connections and changes the reals"
                ))
                .hint(format!(
                    "first run `xvs service edit {id} --tracking full`; make the change when every connection has sent a packet since"
                )));
            }
            let slots = self.maps.slots_in_transition(&id);
            if slots > 0 {
                return Err(Failure::failed(format!(
                    "service {id}: {slots} slots are in transition after a pool change"
                ))
                .hint("connections in them would be lost; try again when `xvs service show` shows none"));
            }
        }
        Ok(())
    }
}
