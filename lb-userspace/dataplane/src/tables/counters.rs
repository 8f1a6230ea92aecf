// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counters of reals, of reasons and of the flow table, summed over all CPUs.
#![forbid(unsafe_code)]

use std::{ops::Range, os::fd::AsFd as _};

use aya::{
    Pod,
    maps::{IterableMap as _, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use lb_common::{
    flow_table::Event,
    ids::{RealId, ServiceId},
    schema::{Counters, Load, MapName, ReasonCounts},
};

use super::{TableError, Tables, batch_failed, failed};
use crate::batch;

impl Tables {
    /// Returns a real's counters, summed over all CPUs.
    pub fn counters(&self, real: RealId) -> Result<Counters, TableError> {
        Ok(sum_counters(&self.counters.get(&real.0, 0).map_err(failed("read", MapName::Counters))?))
    }

    /// Returns the counters of every real with an id below `ids`, summed over all CPUs.
    pub fn all_counters(&self, ids: u32) -> Result<Vec<Counters>, TableError> {
        self.counters_of(0..ids)
    }

    /// Returns the counters of the reals with these ids, summed over all CPUs.
    pub fn counters_of(&self, ids: Range<u32>) -> Result<Vec<Counters>, TableError> {
        per_cpu_sums(&self.counters, MapName::Counters, ids, sum_counters)
    }

    /// Returns the connection counts of every real with an id below `ids`, as the programs maintain them.
    pub fn all_loads(&self, ids: u32) -> Result<Vec<Load>, TableError> {
        let ids = 0..ids.min(self.loads.len());
        batch::per_cpu(self.loads.map().fd().as_fd(), 1, ids, |loads: &[Load]| loads[0])
            .map_err(batch_failed("read", MapName::Loads))
    }

    /// Sets a real's counters; `sum` is over all CPUs.
    pub fn put_counters(&mut self, real: RealId, sum: &Counters) -> Result<(), TableError> {
        self.counters.set(real.0, per_cpu(*sum)?, 0).map_err(failed("write", MapName::Counters))
    }

    /// Returns a service's packets by reason, summed over all CPUs; service 0 stands for packets of no
    /// particular service.
    pub fn reasons(&self, service: ServiceId) -> Result<ReasonCounts, TableError> {
        Ok(sum_reasons(&self.reasons.get(&service.0, 0).map_err(failed("read", MapName::Reasons))?))
    }

    /// Returns the counts of [`Tables::reasons`] for every service with an id below `services`, by id.
    pub fn all_reasons(&self, services: u32) -> Result<Vec<ReasonCounts>, TableError> {
        per_cpu_sums(&self.reasons, MapName::Reasons, 0..services, sum_reasons)
    }

    /// Sets a service's packets by reason; `sum` is over all CPUs.
    pub fn put_reasons(&mut self, service: ServiceId, sum: &ReasonCounts) -> Result<(), TableError> {
        self.reasons.set(service.0, per_cpu(*sum)?, 0).map_err(failed("write", MapName::Reasons))
    }

    /// Returns the number of events of the flow table by kind, summed over all CPUs.
    pub fn flow_events(&self) -> Result<[u64; Event::COUNT], TableError> {
        let values = self.flow_events.get(&0, 0).map_err(failed("read", MapName::FlowEvents))?;
        let mut sum = [0; Event::COUNT];
        for events in values.iter() {
            for (sum, count) in sum.iter_mut().zip(events) {
                *sum += count;
            }
        }
        Ok(sum)
    }

    /// Resets the counters and connection counts of these reals, and the reason counts of these services, for
    /// the next ones with their ids.
    ///
    /// All counts are read first: one system call reads thousands, and most ids were never used.
    pub fn reset(&mut self, reals: &[RealId], services: &[ServiceId]) -> Result<(), TableError> {
        let after_real = reals.iter().max().map_or(0, |last| last.0 + 1);
        let after_service = services.iter().max().map_or(0, |last| last.0 + 1);
        let (counters, reasons) = (self.all_counters(after_real)?, self.all_reasons(after_service)?);
        let loads = self.all_loads(after_real)?;
        for real in reals {
            if loads.get(real.0 as usize).is_some_and(|load| *load != Load::default()) {
                self.put_load(*real, &Load::default())?;
            }
            if counters.get(real.0 as usize).is_some_and(|counters| *counters != Counters::default()) {
                self.put_counters(*real, &Counters::default())?;
            }
        }
        for service in services {
            if reasons.get(service.0 as usize).is_some_and(|counts| *counts != ReasonCounts::default()) {
                self.put_reasons(*service, &ReasonCounts::default())?;
            }
        }
        Ok(())
    }
}

/// Returns per-CPU values for a sum: all of it on the first CPU.
fn per_cpu<T: Pod + Default>(sum: T) -> Result<PerCpuValues<T>, TableError> {
    let failed = batch_failed("write", "per-CPU values");
    let cpus = nr_cpus().map_err(|(_, error)| failed(error))?;
    let mut values = vec![T::default(); cpus];
    values[0] = sum;
    PerCpuValues::try_from(values).map_err(failed)
}

/// Returns the sum of the counters of all CPUs.
fn sum_counters(values: &[Counters]) -> Counters {
    let mut sum = Counters::default();
    for counters in values {
        sum.add(counters);
    }
    sum
}

/// Returns the sum of the counts of all CPUs.
fn sum_reasons(values: &[ReasonCounts]) -> ReasonCounts {
    let mut sum = ReasonCounts::default();
    for counts in values {
        sum.add(counts);
    }
    sum
}

/// Returns entries of a per-CPU array, each summed over the CPUs.
fn per_cpu_sums<V: Pod, S>(
    map: &PerCpuArray<MapData, V>,
    name: MapName,
    entries: Range<u32>,
    sum: impl Fn(&[V]) -> S,
) -> Result<Vec<S>, TableError> {
    let failed = batch_failed("read", name);
    let cpus = nr_cpus().map_err(|(_, error)| failed(error))?;
    let entries = entries.start..entries.end.min(map.len());
    batch::per_cpu(map.map().fd().as_fd(), cpus, entries, sum).map_err(failed)
}
