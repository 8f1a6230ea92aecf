// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must change to get from what the maps hold to what they should hold, in an order in which no packet
//! finds a hole. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use lb_common::{
    schema::{Real, Service, ServiceKey, Source, SourceKey},
    wire::Be128,
};

use super::image::Image;
use crate::schedule::TableSpec;

/// One change of one map.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write a real. `new` says that the id was nobody's, so that its counters start at zero.
    PutReal {
        /// Its id.
        id: u32,
        /// Its entry.
        real: Real,
        /// Whether the id was nobody's.
        new: bool,
    },
    /// Write a service's table.
    PutTable {
        /// The service's id.
        service: u32,
        /// What the table is made of.
        spec: TableSpec,
        /// What the service was before; `None` if the id was nobody's.
        before: Option<Service>,
    },
    /// Say what an address is used for.
    PutAddress {
        /// The address.
        address: Be128,
        /// Flags of [`lb_common::schema::AddressUse`].
        used: u32,
    },
    /// Say which service replies from there belong to.
    PutSource {
        /// Where replies come from.
        key: SourceKey,
        /// Whose they are.
        source: Source,
    },
    /// Write a service. `new` says that the id was nobody's.
    PutService {
        /// Its key.
        key: ServiceKey,
        /// Its entry.
        service: Service,
        /// Whether the id was nobody's.
        new: bool,
    },
    /// Remove a service.
    RemoveService {
        /// Its key.
        key: ServiceKey,
        /// What it was.
        service: Service,
    },
    /// Replies from there are nobody's.
    RemoveSource {
        /// Where they come from.
        key: SourceKey,
    },
    /// An address is used for nothing.
    RemoveAddress {
        /// The address.
        address: Be128,
    },
    /// Remove a real and its flows.
    RemoveReal {
        /// Its id.
        id: u32,
        /// What it was.
        real: Real,
    },
}

/// The steps from `have` to `want`.
///
/// Reals come before the tables that name them, tables before the services that use them; removals go the
/// other way, and after everything that was to be written.
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

/// Entries of `want` that `have` does not have, or has otherwise.
fn changed<'a, K: Ord, V: PartialEq>(
    have: &'a BTreeMap<K, V>,
    want: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    want.iter().filter(|(key, value)| have.get(key) != Some(value))
}

/// Entries of `have` that `want` does not have.
fn gone<'a, K: Ord, V>(
    have: &'a BTreeMap<K, V>,
    want: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    have.iter().filter(|(key, _)| !want.contains_key(key))
}

impl Image {
    /// Does to this image what the step does to the maps.
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
