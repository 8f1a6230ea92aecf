// SPDX-License-Identifier: MIT OR Apache-2.0
//! Steps from the present to the desired contents of the maps, in an order in which each packet finds
//! complete entries. These functions are pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use lb_common::{
    ids::{RealId, ServiceId as ServiceNumber},
    schema::{Real, Service, ServiceKey, Source, SourceKey},
    wire::Be128,
};

use super::image::Image;
use lb_schedule::TableSpec;

/// One change of one map.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write a real.
    PutReal {
        /// Id of the real.
        id: RealId,
        /// Entry of the real.
        real: Real,
        /// The id is newly allocated: its counters start at zero.
        new: bool,
    },
    /// Write the table of a service.
    PutTable {
        /// Id of the service.
        service: ServiceNumber,
        /// Specification of the table.
        spec: TableSpec,
        /// Previous entry of the service; `None` if the id is newly allocated.
        before: Option<Service>,
    },
    /// Write the uses of an address.
    PutAddress {
        /// Address.
        address: Be128,
        /// Flags of [`lb_common::schema::AddressUse`].
        used: u32,
    },
    /// Write a reply source.
    PutSource {
        /// Source of the replies.
        key: SourceKey,
        /// Service of the replies.
        source: Source,
    },
    /// Write a service.
    PutService {
        /// Key of the service.
        key: ServiceKey,
        /// Entry of the service.
        service: Service,
        /// The id is newly allocated.
        new: bool,
    },
    /// Remove a service.
    RemoveService {
        /// Key of the service.
        key: ServiceKey,
        /// Previous entry of the service.
        service: Service,
    },
    /// Remove a reply source.
    RemoveSource {
        /// Source of the replies.
        key: SourceKey,
    },
    /// Remove an address that has no use any more.
    RemoveAddress {
        /// Address.
        address: Be128,
    },
    /// Remove a real and its flows.
    RemoveReal {
        /// Id of the real.
        id: RealId,
        /// Previous entry of the real.
        real: Real,
    },
}

/// Returns the steps from `have` to `want`.
///
/// Reals come before the tables that refer to them, tables before the services that use them; removals follow
/// in the reverse order, after all writes.
#[must_use]
pub fn plan(have: &Image, want: &Image) -> Vec<Step> {
    let mut steps = Vec::new();
    for (id, real) in changed(&have.reals, &want.reals) {
        let new = have.reals.get(id).is_none_or(|old| old.service != real.service);
        steps.push(Step::PutReal { id: *id, real: *real, new });
    }
    for (service, spec) in changed(&have.tables, &want.tables) {
        let before = have.services.values().find(|old| old.id == *service).copied();
        steps.push(Step::PutTable { service: *service, spec: spec.clone(), before });
    }
    for (address, used) in changed(&have.addresses, &want.addresses) {
        steps.push(Step::PutAddress { address: *address, used: *used });
    }
    for (key, source) in changed(&have.sources, &want.sources) {
        steps.push(Step::PutSource { key: *key, source: *source });
    }
    for (key, service) in changed(&have.services, &want.services) {
        let new = !have.services.values().any(|old| old.id == service.id);
        steps.push(Step::PutService { key: *key, service: *service, new });
    }
    for (key, service) in gone(&have.services, &want.services) {
        steps.push(Step::RemoveService { key: *key, service: *service });
    }
    steps.extend(gone(&have.sources, &want.sources).map(|(key, _)| Step::RemoveSource { key: *key }));
    steps
        .extend(gone(&have.addresses, &want.addresses).map(|(key, _)| Step::RemoveAddress { address: *key }));
    steps.extend(gone(&have.reals, &want.reals).map(|(id, real)| Step::RemoveReal { id: *id, real: *real }));
    steps
}

/// Returns entries of `want` that `have` lacks or that differ.
fn changed<'a, K: Ord, V: PartialEq>(
    have: &'a BTreeMap<K, V>,
    want: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    want.iter().filter(|(key, value)| have.get(key) != Some(value))
}

/// Returns entries of `have` that `want` lacks.
fn gone<'a, K: Ord, V>(
    have: &'a BTreeMap<K, V>,
    want: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    have.iter().filter(|(key, _)| !want.contains_key(key))
}

impl Image {
    /// Applies a step to this image, as [`super::apply`] does to the maps.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::PutReal { id, real, .. } => drop(self.reals.insert(*id, *real)),
            Step::PutTable { service, spec, .. } => drop(self.tables.insert(*service, spec.clone())),
            Step::PutAddress { address, used } => drop(self.addresses.insert(*address, *used)),
            Step::PutSource { key, source } => drop(self.sources.insert(*key, *source)),
            Step::PutService { key, service, .. } => drop(self.services.insert(*key, *service)),
            Step::RemoveService { key, service } => {
                self.services.remove(key);
                self.tables.remove(&service.id);
            }
            Step::RemoveSource { key } => drop(self.sources.remove(key)),
            Step::RemoveAddress { address } => drop(self.addresses.remove(address)),
            Step::RemoveReal { id, .. } => drop(self.reals.remove(id)),
        }
    }
}

#[cfg(test)]
mod tests;
