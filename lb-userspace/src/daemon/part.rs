// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes that leave everything but the entries of a few services as it is, such as changes of weights: they are
//! carried out in the order of any change, at a cost that follows from these services and not from all of them.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Director, network::NextHops, store::Strictness};
use lb_control::{ids::Spans, image::has_same_shape};
use lb_model::{Desired, Forward, Service, ServiceId, failure::Failure};

/// A change of a few services.
pub(super) struct PartialChange {
    services: BTreeSet<ServiceId>,
    /// Next hops of their reals.
    next_hops: NextHops,
    /// Places of their tables.
    spans: Spans,
}

impl Director {
    /// Returns the services whose entries a change to `desired` concerns, if all other entries stay as they are;
    /// `None` if the maps have to be compared as a whole.
    pub(super) async fn part_of(&mut self, desired: &Desired) -> Option<PartialChange> {
        let services = desired.services.unshared(&self.store.desired().services);
        if services.is_empty() || !has_same_shape(self.store.desired(), desired, &services) {
            return None;
        }
        let reals = services.iter().filter_map(|id| desired.services.get(id)).flat_map(Service::all_reals);
        let rips = reals.filter(|(_, real)| real.forward != Forward::Local).map(|(address, _)| address.ip());
        let (next_hops, without) = self.network.of_some(rips.collect::<BTreeSet<IpAddr>>());
        // A real that is up by now is in service when the operator's command returns.
        if !without.is_empty() {
            let found = self.network.resolve(&without).await;
            if found.iter().any(|(rip, hop)| next_hops.get(rip) != Some(hop)) {
                return None;
            }
        }
        let spans = self.maps.ids().spans_in_place(desired, &services)?;
        Some(PartialChange { services, next_hops, spans })
    }

    /// Writes `desired` to the maps and the state file, in the order of any change.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub(super) async fn write_part(
        &mut self,
        desired: Desired,
        change: PartialChange,
    ) -> Result<(), Failure> {
        let PartialChange { services, next_hops, spans } = change;
        let cut = self.moved_of(&services);
        // 1. Write the new state beside the state file in force.
        let old = self.store.replace_desired(desired);
        let prepared = match self.prepare(Strictness::Change).await {
            Ok(prepared) => prepared,
            Err(failure) => {
                self.store.replace_desired(old);
                return Err(failure);
            }
        };
        // 2. Write the maps.
        self.health.adopt(&old, self.store.desired(), &BTreeSet::new());
        let spans = self.maps.set_spans(&spans);
        let (desired, table) = (self.store.desired(), self.health.table());
        let want = self.maps.compile_part(desired, &services, &next_hops, table);
        let before = self.maps.image().part_like(&want);
        let written = if self.maps.keeps_addresses(&want) {
            self.maps.apply_part(&want).map(drop)
        } else {
            self.write_all()
        };
        // 3. Put the new state in force.
        let done = written.and_then(|()| self.store.commit(prepared, Strictness::Change));
        if let Err(failure) = done {
            let keeps_addresses = self.maps.keeps_addresses(&before);
            self.store.replace_desired(old);
            self.maps.set_spans(&spans);
            // Undo a partial change. If that fails too, the next change or start repairs the maps.
            let undone =
                if keeps_addresses { self.maps.apply_part(&before).map(drop) } else { self.write_all() };
            if let Err(again) = undone {
                tracing::error!("the maps could not be put back: {}", again.message);
            }
            return Err(failure);
        }
        // 4. Remove flows, which cannot be undone.
        let mut moved = self.moved_of(&services);
        moved.retain(|id, _| !cut.contains_key(id));
        if !moved.is_empty() {
            self.maps.forget(&moved, &BTreeMap::new());
        }
        self.publish();
        Ok(())
    }

    /// Writes the maps as the services in the store, the ids and the next hops in force determine.
    fn write_all(&mut self) -> Result<(), Failure> {
        let want = self.compile(self.store.desired(), self.maps.ids(), self.network.next_hops());
        self.carry_out(&want).map(drop)
    }
}
