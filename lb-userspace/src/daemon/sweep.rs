// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sweep: forgets flows that have ended, and lets slots settle that a pool change moved.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use lb_common::{
    hash,
    schema::{Flow, FlowKey, Method, Service, TABLE_SIZE, Tracking},
    slot::MOVED,
    track::{self, State as FlowState},
};

use super::{Director, director::maps_failed};
use crate::{
    control::apply::{self, Time},
    dataplane::{TableError, clock},
    failure::Failure,
};

/// The reals of living flows that are written down, by slot.
type Written = BTreeMap<u32, BTreeSet<u32>>;

/// What one pass over the flow table found.
#[derive(Default)]
struct Pass {
    /// Flows that were silent for longer than their timeout.
    over: Vec<(FlowKey, Flow)>,
    /// Living flows of services that track only what is endangered.
    written: BTreeMap<u32, Written>,
    /// The same flows, which may be forgotten when their slot has settled: service and slot.
    held: Vec<(FlowKey, Flow, u32, u32)>,
}

impl Director {
    /// Forgets flows that were silent for longer than their timeout (the programs see by themselves that they are
    /// over; this gives their memory back), settles slots, and forgets the flows that only a moved slot needed.
    /// Returns how many flows were forgotten.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub fn sweep(&mut self) -> Result<usize, Failure> {
        self.try_sweep().map_err(|e| maps_failed(&e))
    }

    fn try_sweep(&mut self) -> Result<usize, TableError> {
        let auto: BTreeMap<u32, Service> = self
            .image
            .services
            .values()
            .filter(|service| service.tracking == Tracking::Auto as u32)
            .map(|service| (service.id, *service))
            .collect();
        let pass = self.look(&auto)?;
        let mut forgotten = pass.over.len();
        for (key, flow) in &pass.over {
            self.forget(key, flow)?;
        }
        for id in auto.keys() {
            let written = pass.written.get(id);
            let Some(moved) = self.settle_slots(*id, written)? else { continue };
            let held =
                pass.held.iter().filter(|(_, _, service, slot)| service == id && !moved.contains(slot));
            for (key, flow, ..) in held {
                self.forget(key, flow)?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    /// Passes over all flows once.
    fn look(&mut self, auto: &BTreeMap<u32, Service>) -> Result<Pass, TableError> {
        let (now, settings) = (clock::tick(), self.settings);
        let mut pass = Pass::default();
        let reals = &self.image.reals;
        self.plane.tables().for_each_flow(|key, flow| {
            if track::is_over(FlowState::from_number(flow.state), flow.seen, now, 0, &settings) {
                pass.over.push((*key, *flow));
                return;
            }
            let Some(real) = reals.get(&flow.real) else { return };
            if let Some(service) = auto.get(&real.service) {
                let slot = hash::reduce(hash::flow(key, settings.seed), service.slots.min(TABLE_SIZE));
                pass.written.entry(service.id).or_default().entry(slot).or_default().insert(flow.real);
                // A nat real's flow is written down for the way back, whatever its slot does.
                if real.method != Method::Nat as u16 {
                    pass.held.push((*key, *flow, service.id, slot));
                }
            }
        })?;
        Ok(pass)
    }

    /// Settles the slots of a service. Returns those that are still moved; `None` if there is nothing to settle or
    /// to forget.
    fn settle_slots(
        &mut self,
        service: u32,
        written: Option<&Written>,
    ) -> Result<Option<BTreeSet<u32>>, TableError> {
        let Some(spec) = self.image.tables.get(&service) else { return Ok(None) };
        let settings = self.settings;
        let clock = Time { tick: clock::tick(), settings: &settings }.clock(spec.protocol);
        let tables = self.plane.tables();
        let Some(mut slots) = apply::read_slots(tables, service)? else { return Ok(None) };
        let none = Written::new();
        if slots.moved() == 0 && written.is_none() {
            return Ok(None);
        }
        if slots.settle(written.unwrap_or(&none), clock) {
            apply::write_slots(tables, service, &slots)?;
        }
        let moved = (0u32..).zip(slots.table.0).filter(|(_, entry)| entry & MOVED != 0);
        Ok(Some(moved.map(|(index, _)| index).collect()))
    }

    fn forget(&mut self, key: &FlowKey, flow: &Flow) -> Result<(), TableError> {
        let tables = self.plane.tables();
        tables.remove_flow(key)?;
        match self.image.reals.get(&flow.real) {
            Some(real) => apply::forget_reply(tables, key, real),
            None => Ok(()),
        }
    }
}
