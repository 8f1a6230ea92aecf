// SPDX-License-Identifier: MIT OR Apache-2.0
//! Allocation of ids, and of blocks of `TABLES`. These functions are pure.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
};

use lb_common::{
    ids::{RealId, ServiceId as ServiceNumber},
    schema::{BLOCK, Real as RealValue, Service as ServiceValue, ServiceKey, Tracking},
};
use thiserror::Error;

use super::{
    image::{self, Image, endpoint, real_key},
    pool::Cut,
};
use lb_model::{Desired, Endpoint, Forward, Real, RealKey, Service, ServiceId, Tunnel};
use lb_schedule::{Entry, Span, TableSpec};

/// Allocated ids and blocks. They stay the same when a service or real changes, and are reused only after the
/// change that removes it: nothing new gets an id that the same change frees.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ids {
    /// Ids of services.
    pub services: HashMap<ServiceId, ServiceNumber>,
    /// Ids of reals, by service id and key within the service.
    pub reals: HashMap<(ServiceNumber, RealKey), RealId>,
    /// Tables, by service id.
    pub spans: HashMap<ServiceNumber, Span>,
}

/// Places of the tables of some services.
pub type Spans = BTreeMap<ServiceNumber, Span>;

/// The table of a service does not fit.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("service {service} needs {blocks} contiguous table blocks, and no such row is free among {all}")]
pub struct NoRoom {
    /// Service.
    pub service: ServiceId,
    /// Number of blocks that the service needs.
    pub blocks: u32,
    /// Total number of blocks.
    pub all: u32,
}

impl Ids {
    /// Returns the ids in the maps of an earlier run, whose services were `desired`.
    #[must_use]
    pub fn of(image: &Image, desired: &Desired) -> Self {
        let service = |(key, value): (&ServiceKey, &ServiceValue)| {
            let endpoint = endpoint(key)?;
            let id = desired.group_of(&endpoint).unwrap_or(ServiceId::Endpoint(endpoint));
            Some((id, value.id))
        };
        let real = |(id, value): (&RealId, &RealValue)| ((value.service, real_key(value)), *id);
        // A daemon that was killed between the maps and the state file may have left endpoints of two
        // services with one id: only the first keeps it.
        let (mut services, mut owners) = (HashMap::new(), HashMap::new());
        for (id, number) in image.services.iter().filter_map(service) {
            if *owners.entry(number).or_insert(id) == id {
                services.insert(id, number);
            }
        }
        Self {
            services,
            reals: image.reals.iter().map(real).collect(),
            spans: image.services.values().map(|value| (value.id, Span::from(value))).collect(),
        }
    }

    /// Allocates ids and blocks for `desired`: existing ones stay, new ones are the lowest free ones of
    /// `blocks`.
    ///
    /// # Errors
    /// [`NoRoom`] if a table does not fit.
    pub fn allocate(&self, desired: &Desired, blocks: u32) -> Result<Self, NoRoom> {
        let mut service_ids = Unused::but(self.services.values().map(|id| id.0));
        let mut real_ids = Unused::but(self.reals.values().map(|id| id.0));
        let mut free = FreeBlocks::beside(self.spans.values(), blocks);
        let mut ids = Self::default();
        for (id, service) in &desired.services {
            let number = self.services.get(id).copied().unwrap_or_else(|| ServiceNumber(service_ids.take()));
            ids.services.insert(*id, number);
            for (address, real) in service.all_reals() {
                let key = real.key(*address);
                let known = self.reals.get(&(number, key)).or_else(|| self.served_here(number, service, key));
                ids.reals.insert((number, key), known.copied().unwrap_or_else(|| RealId(real_ids.take())));
            }
            let spec = ids.table_spec(id, &desired.endpoints(id), service, service, &BTreeMap::new());
            let old = self.spans.get(&number).copied();
            let span = free.find(old, &spec).ok_or_else(|| NoRoom {
                service: *id,
                blocks: Span { first: 0, slots: spec.slots() }.blocks(),
                all: blocks,
            })?;
            ids.spans.insert(number, span);
        }
        Ok(ids)
    }

    /// Returns the tables of `services`, which have ids, if all of them stay in their blocks; `None` if a table has to
    /// move.
    #[must_use]
    pub fn spans_in_place(&self, desired: &Desired, services: &BTreeSet<ServiceId>) -> Option<Spans> {
        let span = |id: &ServiceId| {
            let (service, number) = (desired.services.get(id)?, *self.services.get(id)?);
            let spec = self.table_spec(id, &desired.endpoints(id), service, service, &BTreeMap::new());
            Some((number, in_place(*self.spans.get(&number)?, &spec).ok()?))
        };
        services.iter().map(span).collect()
    }

    /// Returns the id of a real that is `local` in the maps, because its address was the director's own
    /// ([`super::effective`]), and has another method in the operator's configuration.
    fn served_here(&self, number: ServiceNumber, service: &Service, key: RealKey) -> Option<&RealId> {
        let local = RealKey { forward: Forward::Local, tunnel: Tunnel::Ipip, ..key };
        self.reals.get(&(number, local)).filter(|_| !service.all_keys().any(|other| other == local))
    }

    /// Returns the id of a real.
    #[must_use]
    pub fn real(&self, service: &ServiceId, key: &RealKey) -> Option<RealId> {
        self.reals.get(&(*self.services.get(service)?, *key)).copied()
    }

    /// Returns the specification of a service's table. Weights are those of `effective`: the service as the
    /// network permits ([`super::effective`]). Untracked flows leave the reals in `cuts` at once.
    #[must_use]
    pub fn table_spec(
        &self,
        id: &ServiceId,
        endpoints: &[Endpoint],
        service: &Service,
        effective: &Service,
        cuts: &BTreeMap<SocketAddr, Cut>,
    ) -> TableSpec {
        let entry =
            |key: &RealKey, weight| Some(Entry { id: self.real(id, key)?, address: key.address, weight });
        let living = |(address, real): (&SocketAddr, &Real)| {
            let weight = effective.reals.get(address).unwrap_or(real).weight;
            entry(&real.key(*address), weight)
        };
        // Slots may still refer to leaving reals.
        let leaving = service.leaving.keys().filter_map(|key| entry(key, 0));
        let span = self.services.get(id).and_then(|number| self.spans.get(number));
        TableSpec {
            scheduler: service.scheduler,
            tracking: image::tracking(service),
            protocol: image::longest_lived(endpoints),
            // IPVS iterates over the reals from the one that was added last (`list_add` in `ip_vs_ctl.c`).
            pool: service.reals.iter().rev().filter_map(living).chain(leaving).collect(),
            span: span.copied().unwrap_or_default(),
            cut: cuts
                .iter()
                .filter(|(_, cut)| **cut != Cut::Keep)
                .filter_map(|(address, _)| self.real(id, &service.reals.get(address)?.key(*address)))
                .collect(),
        }
    }
}

/// Returns the place of a table that stays in its blocks; the number of slots if it has to move.
fn in_place(old: Span, spec: &TableSpec) -> Result<Span, u32> {
    let mut slots = spec.slots();
    if spec.tracking == Tracking::Auto && slots >= BLOCK && old.slots.is_power_of_two() {
        // The table never shrinks: two slots with different flows cannot become one.
        slots = slots.max(old.slots);
    }
    let new = Span { first: old.first, slots };
    let is_larger = spec.scheduler.hashes() && slots > old.slots && old.slots > 0;
    if is_larger || new.blocks() > old.blocks() { Err(slots) } else { Ok(new) }
}

/// Free ids, in ascending order.
struct Unused {
    used: HashSet<u32>,
    next: u32,
}

impl Unused {
    fn but(used: impl Iterator<Item = u32>) -> Self {
        Self { used: used.collect(), next: 1 }
    }

    fn take(&mut self) -> u32 {
        while self.used.contains(&self.next) {
            self.next += 1;
        }
        self.next += 1;
        self.next - 1
    }
}

/// Free blocks.
struct FreeBlocks {
    used: Vec<bool>,
    /// No lower block is free.
    from: usize,
}

impl FreeBlocks {
    fn beside<'a>(spans: impl Iterator<Item = &'a Span>, blocks: u32) -> Self {
        let mut free = Self { used: vec![false; blocks as usize], from: 0 };
        for span in spans {
            let first = span.first as usize;
            let last = (first + span.blocks() as usize).min(free.used.len());
            free.used[first.min(last)..last].fill(true);
        }
        free
    }

    /// Returns the blocks for a table that was at `old`: the same blocks, unless it needs more of them, or
    /// its number of slots changes and untracked flows must not notice.
    fn find(&mut self, old: Option<Span>, spec: &TableSpec) -> Option<Span> {
        let Some(old) = old else { return self.take(spec.slots()) };
        in_place(old, spec).or_else(|slots| self.take(slots).ok_or(())).ok()
    }

    /// Takes the first adjacent free blocks that hold that many slots.
    fn take(&mut self, slots: u32) -> Option<Span> {
        let count = Span { first: 0, slots }.blocks() as usize;
        while self.used.get(self.from) == Some(&true) {
            self.from += 1;
        }
        let mut free = 0;
        for block in self.from..self.used.len() {
            free = if self.used[block] { 0 } else { free + 1 };
            if free == count {
                let first = block + 1 - count;
                self.used[first..=block].fill(true);
                return Some(Span { first: first as u32, slots });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
