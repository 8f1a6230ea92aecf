// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pass of a sweep over all flows: removes ended flows, and settles slots that a pool change moved.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use lb_common::{
    flow_table::{Limits, Seen},
    hash,
    ids::{RealId, ServiceId as ServiceNumber},
    schema::{FlowKey, Load, Real, Service, Tracking},
    slot::MOVED,
};

use super::{Maps, evicted::Sample, maps_failed};
use lb_control::{
    apply::{self, Time},
    dips::Dips,
};
use lb_dataplane::{Flow, TableError, clock};
use lb_model::failure::Failure;
use lb_model::{Desired, RealKey, ServiceId};

/// Reals of tracked living flows, by slot.
type Written = BTreeMap<u32, BTreeSet<RealId>>;

/// Result of one pass over the flow tables.
#[derive(Default)]
struct Pass {
    /// Flows that were idle for longer than their timeout.
    over: Vec<(FlowKey, Flow)>,
    /// Number of living flows that other directors have announced.
    announced: u64,
    /// Connections of each real.
    loads: BTreeMap<RealId, u64>,
    /// Number of flows that have a port of an SNAT address.
    with_port: usize,
    /// Number of flows whose services do not exist any more.
    orphans: usize,
    /// Living flows of services with tracking `auto`, by service.
    written: BTreeMap<ServiceNumber, Written>,
    /// Flows counted in `written` that can be removed when their slot has settled, with service and slot.
    held: Vec<(FlowKey, Flow, ServiceNumber, u32)>,
    /// Sample of the living flows.
    sample: Sample,
}

/// Result of a sweep.
#[derive(Debug, Default)]
pub(in super::super) struct Swept {
    /// Number of removed flows.
    pub removed: usize,
    /// Leaving reals that have no connections left.
    pub left: Vec<(ServiceId, RealKey)>,
}

impl Maps {
    /// Removes flows that were idle for longer than their timeout (the programs recognise ended flows
    /// themselves; the sweep frees their memory), settles slots, and removes the flows that only a moved slot
    /// needed.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub(in super::super) fn sweep(&mut self, desired: &Desired, dips: &Dips) -> Result<Swept, Failure> {
        let began = Instant::now();
        let swept = self.try_sweep(desired, dips).map_err(|e| maps_failed(&e));
        self.last_sweep = began.elapsed();
        swept
    }

    fn try_sweep(&mut self, desired: &Desired, dips: &Dips) -> Result<Swept, TableError> {
        let auto: BTreeMap<ServiceNumber, Service> = self
            .image
            .services
            .values()
            .filter(|service| service.tracking == Tracking::Auto as u32)
            .map(|service| (service.id, *service))
            .collect();
        self.evictions.look(self.plane.tables());
        let before = self.loads()?;
        let ports = self.ports_in_use()?;
        let pass = self.look(&auto, dips)?;
        self.announced.number = pass.announced;
        let mut removed = pass.over.len();
        for (key, flow) in &pass.over {
            self.forget_flow(key, flow)?;
        }
        for id in auto.keys() {
            let written = pass.written.get(id);
            let Some(moved) = self.settle_slots(*id, written)? else { continue };
            let held =
                pass.held.iter().filter(|(_, _, service, slot)| service == id && !moved.contains(slot));
            for (key, flow, ..) in held {
                self.forget_flow(key, flow)?;
                removed += 1;
            }
        }
        if ports.len() > pass.with_port {
            self.give_ports_back(&ports)?;
        }
        if pass.orphans > 0 {
            self.plane.tables().remove_orphaned_flows();
        }
        self.evictions.note(pass.sample.take(), self.plane.tables());
        self.correct_loads(&before, &pass.loads)?;
        Ok(Swept { removed, left: self.without_connections(desired, &pass.loads)? })
    }

    /// Returns the ports that `fnat` flows use: the keys of the replies and of the requests.
    fn ports_in_use(&mut self) -> Result<Vec<(FlowKey, FlowKey)>, TableError> {
        let mut ports = Vec::new();
        self.plane.tables().for_each_translation(|reply, request| ports.push((*reply, *request)))?;
        Ok(ports)
    }

    /// Releases the ports of flows that have no entry any more, because the flow table may have evicted it.
    /// The program adds the entry right after it has allocated the port. So a flow in `ports`, which was read
    /// before the pass over all flows, will get no entry any more if it has none now.
    fn give_ports_back(&mut self, ports: &[(FlowKey, FlowKey)]) -> Result<(), TableError> {
        let tables = self.plane.tables();
        for (reply, request) in ports {
            let has_it = |flow: Flow| flow.snat.port == reply.destination_port;
            if !tables.flow(request).is_some_and(has_it) && tables.translation(reply) == Some(*request) {
                tables.remove_translation(reply)?;
                if tables.lease(request).is_some_and(|lease| lease.snat.port == reply.destination_port) {
                    tables.remove_lease(request)?;
                }
            }
        }
        Ok(())
    }

    /// Returns the connections of each real, as the programs count them.
    fn loads(&mut self) -> Result<Vec<Load>, TableError> {
        let ids = self.image.reals.keys().next_back().map_or(0, |last| last.0 + 1);
        self.plane.tables().all_loads(ids)
    }

    /// Corrects the counts for events that the programs cannot see: flows that timed out, or were evicted.
    /// `before` are the programs' counts before the pass over all flows that resulted in `counted`.
    ///
    /// The pass may or may not count flows that begin or end meanwhile. So the count of a real that was busy
    /// meanwhile is corrected only if it is further off than these flows can explain.
    fn correct_loads(&mut self, before: &[Load], counted: &BTreeMap<RealId, u64>) -> Result<(), TableError> {
        let after = self.loads()?;
        let tables = self.plane.tables();
        for id in self.image.reals.keys() {
            let (Some(before), Some(load)) = (before.get(id.0 as usize), after.get(id.0 as usize)) else {
                break;
            };
            let counts = counted.get(id).copied().unwrap_or(0);
            if load.counts != counts && is_off(before.counts, load.counts, counts) {
                // The programs may have changed the count since the batch was read.
                let load = tables.load(*id)?;
                if is_off(before.counts, load.counts, counts) {
                    tables.put_load(*id, &Load { counts, ..load })?;
                }
            }
        }
        Ok(())
    }

    /// Returns the leaving reals that have no connections left.
    fn without_connections(
        &mut self,
        desired: &Desired,
        counted: &BTreeMap<RealId, u64>,
    ) -> Result<Vec<(ServiceId, RealKey)>, TableError> {
        let mut left = Vec::new();
        for (id, service) in &desired.services {
            for key in service.leaving.keys() {
                let real = self.ids.real(id, key);
                let flows = real.and_then(|real| counted.get(&real)).copied().unwrap_or(0);
                if flows == 0 && !self.has_untracked_flows(id, real)? {
                    left.push((*id, *key));
                }
            }
        }
        Ok(left)
    }

    /// Makes one pass over all flows.
    fn look(&mut self, auto: &BTreeMap<ServiceNumber, Service>, dips: &Dips) -> Result<Pass, TableError> {
        let (now, settings, limits) = (Seen::of(clock::now()), self.settings, Limits::of(&self.timeouts));
        let mut pass = Pass::default();
        let reals = &self.image.reals;
        let orphans = self.plane.tables().for_each_flow(|key, flow| {
            pass.with_port += usize::from(!flow.snat.is_none());
            if !dips.has(flow.snat.address, key.narrowed().is_none()) {
                // The SNAT address of the flow was removed from the pool: the client has to connect again.
                pass.over.push((*key, *flow));
                return;
            }
            if flow.value.is_over(&limits, now, 0) {
                pass.over.push((*key, *flow));
                return;
            }
            if flow.real().is(RealId::CUT) {
                return;
            }
            let Some(real) = reals.get(&flow.real()) else {
                // A daemon crashed between the removal of a real and that of its flows.
                pass.over.push((*key, *flow));
                return;
            };
            *pass.loads.entry(flow.real()).or_default() += flow.value.load();
            pass.announced += u64::from(flow.value.is_announced());
            pass.sample.add(key);
            if let Some(service) = auto.get(&real.service) {
                let slot = hash::slot_of_any(service, key, settings.seed);
                pass.written.entry(service.id).or_default().entry(slot).or_default().insert(flow.real());
                if !real.is(Real::NEEDS_FLOW) {
                    pass.held.push((*key, *flow, service.id, slot));
                }
            }
        })?;
        pass.orphans = orphans;
        Ok(pass)
    }

    /// Settles the slots of a service. Returns the slots that are still in transition; `None` if there is
    /// nothing to settle or to remove.
    fn settle_slots(
        &mut self,
        service: ServiceNumber,
        written: Option<&Written>,
    ) -> Result<Option<BTreeSet<u32>>, TableError> {
        if self.steady.contains(&service) {
            return Ok(written.map(|_| BTreeSet::new()));
        }
        let Some(spec) = self.image.tables.get(&service) else { return Ok(None) };
        let timeouts = self.timeouts;
        let clock = Time { now: clock::now(), timeouts: &timeouts }.clock(spec.protocol);
        let span = spec.span;
        let tables = self.plane.tables();
        let mut slots = apply::read_slots(tables, span)?;
        let none = Written::new();
        if slots.moved() > 0 && slots.settle(written.unwrap_or(&none), clock) {
            apply::write_slots(tables, span.first, &slots)?;
        }
        if slots.moved() == 0 {
            self.steady.insert(service);
            if written.is_none() {
                return Ok(None);
            }
        }
        let moved = (0u32..).zip(slots.table).filter(|(_, entry)| entry & MOVED != 0);
        Ok(Some(moved.map(|(index, _)| index).collect()))
    }

    /// Forgets the leases and replies of flows that have been cut.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub(in super::super) fn forget_ended(&mut self, flows: &[(FlowKey, Flow)]) -> Result<(), Failure> {
        let tables = self.plane.tables();
        self.evictions.forget();
        for (key, flow) in flows {
            let Some(real) = self.image.reals.get(&flow.real()) else { continue };
            let forgotten = apply::forget_reply(tables, key, flow.snat, real)
                .and_then(|()| if flow.snat.is_none() { Ok(()) } else { tables.remove_lease(key) });
            forgotten.map_err(|error| maps_failed(&error))?;
        }
        Ok(())
    }

    fn forget_flow(&mut self, key: &FlowKey, flow: &Flow) -> Result<(), TableError> {
        let tables = self.plane.tables();
        if !tables.remove_flow(key, flow)? {
            // A packet of the flow arrived after the pass.
            return Ok(());
        }
        match self.image.reals.get(&flow.real()) {
            Some(real) => apply::forget_reply(tables, key, flow.snat, real),
            None => Ok(()),
        }
    }
}

/// Returns whether `load` is further from `counted` than the traffic that changed it from `before` explains.
fn is_off(before: u64, load: u64, counted: u64) -> bool {
    let off = |count: fn(u64) -> u32| {
        let churn = count(before).abs_diff(count(load));
        count(load).abs_diff(count(counted)) > churn.max(count(counted) / 64).saturating_mul(2)
    };
    before == load || off(Load::active) || off(Load::inactive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_real_is_corrected_at_once_and_a_busy_one_when_it_is_far_off() {
        let load = Load::counts;
        assert!(is_off(load(5, 0), load(5, 0), load(4, 0)));
        assert!(!is_off(load(5, 0), load(6, 0), load(5, 0)));
        assert!(is_off(load(50, 0), load(51, 0), load(5, 0)));
    }
}
