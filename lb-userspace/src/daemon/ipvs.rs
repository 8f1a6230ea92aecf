// SPDX-License-Identifier: MIT OR Apache-2.0
//! Backend of `xvs ipvsadm`: the table as IPVS shows it, rates, and batches of changes.

use std::{collections::HashMap, time::Instant};

use super::{Director, change, maps::FlowCounts, zero::Zero};
use crate::{
    api::{
        ipvs::{BatchDone, Shown, ShownReal, Table},
        types::{Change, ServiceView},
    },
    observe::rates::{Averages, Estimate, PARTS},
};
use lb_control::{state::Totals, validate};
use lb_model::failure::{Cause, Failure};
use lb_model::{Desired, ServiceId};

/// Data for the lists of ipvsadm that the maps lack. All of it is in memory only.
#[derive(Default)]
pub struct IpvsView {
    zero: Zero,
    /// Estimates by id of the real.
    estimates: HashMap<u32, Estimate>,
    part: u32,
}

impl Director {
    /// Samples the counters of one part of the reals per call, in turn.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn sample_rates(&mut self) -> Result<usize, Failure> {
        let now = Instant::now();
        let part = self.ipvs.part;
        self.ipvs.part = (part + 1) % PARTS;
        if part == 0 {
            let used: std::collections::HashSet<u32> = self.maps.ids().reals.values().copied().collect();
            self.ipvs.estimates.retain(|number, _| used.contains(number));
        }
        let numbers = self.maps.ids().reals.values().filter(|number| *number % PARTS == part);
        let numbers: Vec<u32> = numbers.copied().collect();
        for number in &numbers {
            let counters = self.maps.tables().counters(*number);
            let mut counted = Totals::default();
            counted.add(&counters.map_err(|error| super::maps::maps_failed(&error))?);
            let estimate = self.ipvs.estimates.entry(*number);
            estimate.or_insert_with(|| Estimate::new(counted, now)).sample(counted, now);
        }
        Ok(0)
    }

    /// Returns the table, or one service of it.
    ///
    /// # Errors
    /// If a map cannot be read, or the service does not exist.
    pub fn ipvs_table(&mut self, which: Option<ServiceId>, counts: &FlowCounts) -> Result<Table, Failure> {
        let services = self.views(which, counts)?.into_iter().map(|service| self.shown(service)).collect();
        Ok(Table { size: self.maps.limits().flows, services })
    }

    /// Resets the counters that lists of ipvsadm show.
    ///
    /// # Errors
    /// As [`ipvs_table`](Self::ipvs_table).
    pub fn set_to_zero(&mut self, which: Option<ServiceId>, counts: &FlowCounts) -> Result<(), Failure> {
        for service in self.views(which, counts)? {
            self.ipvs.zero.set(&service);
            for real in &service.reals {
                let number = self.maps.number_of(&service.id, real);
                if let Some(estimate) = number.and_then(|number| self.ipvs.estimates.get_mut(&number)) {
                    estimate.averages = Averages::default();
                }
            }
        }
        Ok(())
    }

    fn views(&mut self, which: Option<ServiceId>, counts: &FlowCounts) -> Result<Vec<ServiceView>, Failure> {
        let mut services = self.stats(counts)?.services;
        let desired = self.store.desired();
        self.ipvs.zero.keep(|id| desired.services.contains_key(id));
        if let Some(id) = which {
            services.retain(|service| service.id == id);
            if services.is_empty() {
                return Err(
                    Failure::wrong_input(format!("there is no service {id}")).because(Cause::NoService)
                );
            }
        }
        Ok(services)
    }

    fn shown(&self, service: ServiceView) -> Shown {
        let mut sum = Averages::default();
        let reals = service.reals.iter().map(|real| {
            let number = self.maps.number_of(&service.id, real);
            let estimate = number.and_then(|number| self.ipvs.estimates.get(&number));
            let averages = estimate.map(|estimate| estimate.averages).unwrap_or_default();
            sum += averages;
            let counted = self.ipvs.zero.of_real(service.id, real.address, real.totals);
            ShownReal { counted, rates: averages.rates() }
        });
        let reals = reals.collect();
        let counted = self.ipvs.zero.of_service(service.id, service.totals);
        Shown { counted, rates: sum.rates(), reals, service }
    }

    /// Carries out the valid changes of a batch in one step, with the result of making them one by one.
    ///
    /// # Errors
    /// If the result cannot be written; then nothing has changed.
    pub async fn change_all(&mut self, changes: &[Change]) -> Result<BatchDone, Failure> {
        let mut desired = self.store.desired().clone();
        let refused: Vec<Option<Failure>> =
            changes.iter().map(|change| apply(&mut desired, change).err()).collect();
        if refused.iter().all(Option::is_some) {
            return Ok(BatchDone { refused, warnings: Vec::new() });
        }
        change::carry_over(self.store.desired(), &mut desired);
        let lines = change::differences(self.store.desired(), &desired);
        let known = self.network.unreachable(self.store.desired());
        self.write(desired).await?;
        self.revision += lines.len() as u64;
        for line in lines {
            tracing::info!("{}", line.done());
        }
        let mut warnings = self.settle().await;
        warnings.retain(|warning| !known.contains(warning));
        Ok(BatchDone { refused, warnings })
    }
}

/// Applies a change, or leaves `desired` unchanged if the service would become invalid.
///
/// # Errors
/// If the service would become invalid; the failure is wrong input.
pub fn apply(desired: &mut Desired, change: &Change) -> Result<(), Failure> {
    let id = match change {
        Change::AddService { service, .. }
        | Change::EditService { service, .. }
        | Change::AddReal { service, .. }
        | Change::EditReal { service, .. } => Some(*service),
        _ => None,
    };
    let before = id.and_then(|id| desired.services.get(&id).cloned());
    change::apply(desired, change)?;
    let Some(id) = id else { return Ok(()) };
    let Some(service) = desired.services.get(&id) else { return Ok(()) };
    let valid = validate::service(&id, service);
    if valid.is_err() {
        match before {
            Some(before) => desired.services.insert(id, before),
            None => desired.services.remove(&id),
        };
    }
    valid
}
