// SPDX-License-Identifier: MIT OR Apache-2.0
//! Part of the contents of the maps: the entries of a few services, after a change that leaves all other entries as
//! they are. Its cost follows from the changed services, not from all of them. These functions are pure.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{
    ids::{RealId, ServiceId as ServiceNumber},
    schema::{Real as RealValue, SourceKey},
};

use super::{Image, Origin, tracking};
use crate::{ids::Ids, neighbours::Resolution, plan::Step, pool::HealthTable};
use lb_model::{Desired, Service, ServiceId};
use lb_schedule::TableSpec;

/// Entries of a few services: services, tables and reals.
#[derive(Clone, Debug, PartialEq)]
pub struct Part(Image);

/// Returns whether the entries of all services but `changed` stay as they are when the services change from `old` to
/// `new`, and also the addresses, the sources of replies and the ids of `changed`. So it is if `changed` have the
/// same endpoints, reals and methods before and after.
#[must_use]
pub fn has_same_shape(old: &Desired, new: &Desired, changed: &BTreeSet<ServiceId>) -> bool {
    let is_same = |id: &ServiceId| match (old.services.get(id), new.services.get(id)) {
        (Some(old), Some(new)) => is_same_service(old, new),
        _ => false,
    };
    old.groups == new.groups && old.checks == new.checks && changed.iter().all(is_same)
}

/// Returns whether two services differ at most in what determines their own entries alone.
fn is_same_service(old: &Service, new: &Service) -> bool {
    let reals = || old.reals.iter().zip(&new.reals);
    old.scheduler == new.scheduler
        && old.flags == new.flags
        && tracking(old) == tracking(new)
        && old.persistence == new.persistence
        && old.one_packet == new.one_packet
        && old.on_removal == new.on_removal
        && old.leaving == new.leaving
        && old.reals.len() == new.reals.len()
        && reals().all(|((old_at, old), (new_at, new))| old.key(*old_at) == new.key(*new_at))
}

impl Image {
    /// Compiles some services, of the same shape as those in this image, to their entries. `ids` must have an id for
    /// each of them, and `next_hops` the next hops of their reals.
    #[must_use]
    pub fn compile_part(
        &self,
        desired: &Desired,
        services: &BTreeSet<ServiceId>,
        ids: &Ids,
        next_hops: &BTreeMap<IpAddr, Resolution>,
        health: &HealthTable,
    ) -> Part {
        let is_shared =
            |_: &SourceKey, id: RealId| self.reals.get(&id).is_some_and(|real| real.is(RealValue::SHARED));
        let origin = Origin { desired, ids, next_hops, health, is_shared: &is_shared };
        let mut part = Self::default();
        for id in services {
            if let Some(wanted) = desired.services.get(id) {
                part.add(id, wanted, &origin);
            }
        }
        // These stay as they are.
        part.addresses.clear();
        part.sources.clear();
        Part(part)
    }

    /// Returns the present entries of a part.
    #[must_use]
    pub fn part_like(&self, Part(other): &Part) -> Part {
        Part(Self {
            services: present(&self.services, &other.services),
            reals: present(&self.reals, &other.reals),
            tables: present(&self.tables, &other.tables),
            ..Self::default()
        })
    }

    /// Returns whether the same services of a part have a real for new connections in this image.
    #[must_use]
    pub fn serves_like(&self, part: &Part) -> bool {
        self.part_like(part).0.serving() == part.0.serving()
    }
}

/// Returns the entries of `have` whose keys are in `like`.
fn present<K: Copy + Ord, V: Clone>(have: &BTreeMap<K, V>, like: &BTreeMap<K, V>) -> BTreeMap<K, V> {
    like.keys().filter_map(|key| Some((*key, have.get(key)?.clone()))).collect()
}

impl Part {
    /// Returns the steps that put this part in the place of its entries in `have`, in the order of
    /// [`plan`](crate::plan::plan).
    #[must_use]
    pub fn plan(&self, have: &Image) -> Vec<Step> {
        let Self(want) = self;
        let mut steps = Vec::new();
        for (id, real) in want.reals.iter().filter(|(id, real)| have.reals.get(id) != Some(real)) {
            steps.push(Step::PutReal { id: *id, real: *real, new: false });
        }
        let before: BTreeMap<ServiceNumber, _> =
            want.services.keys().filter_map(|key| have.services.get(key)).map(|old| (old.id, *old)).collect();
        let is_new = |(service, spec): &(&ServiceNumber, &TableSpec)| have.tables.get(service) != Some(*spec);
        for (service, spec) in want.tables.iter().filter(is_new) {
            let before = before.get(service).copied();
            steps.push(Step::PutTable { service: *service, spec: spec.clone(), before });
        }
        for (key, service) in
            want.services.iter().filter(|(key, value)| have.services.get(key) != Some(value))
        {
            steps.push(Step::PutService { key: *key, service: *service, new: false });
        }
        steps
    }
}
