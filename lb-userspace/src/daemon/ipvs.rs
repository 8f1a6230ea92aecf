// SPDX-License-Identifier: MIT OR Apache-2.0
//! Backend of `xvs ipvsadm`: the table as IPVS shows it, rates, and batches of changes.

use super::{Director, change, maps::FlowCounts};
use crate::api::{
    ipvs::{BatchDone, Table},
    types::{Change, ServiceView},
};
use lb_control::validate;
use lb_model::failure::{ErrorCode, Failure};
use lb_model::{Desired, ServiceId};

impl Director {
    /// Samples the counters of one part of the reals per call, in turn.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn sample_rates(&mut self) -> Result<(), Failure> {
        self.listed.sample(&mut self.maps)
    }

    /// Returns the table, or one service of it.
    ///
    /// # Errors
    /// If a map cannot be read, or the service does not exist.
    pub fn ipvs_table(&mut self, which: Option<ServiceId>, counts: &FlowCounts) -> Result<Table, Failure> {
        let services = self.views(which, counts)?.into_iter();
        let services = services.map(|service| self.listed.show(service, &self.maps)).collect();
        Ok(Table { size: self.maps.limits().flows, services })
    }

    /// Resets the counters that lists of ipvsadm show.
    ///
    /// # Errors
    /// As [`ipvs_table`](Self::ipvs_table).
    pub fn set_to_zero(&mut self, which: Option<ServiceId>, counts: &FlowCounts) -> Result<(), Failure> {
        for service in self.views(which, counts)? {
            self.listed.reset(&service, &self.maps);
        }
        Ok(())
    }

    fn views(&mut self, which: Option<ServiceId>, counts: &FlowCounts) -> Result<Vec<ServiceView>, Failure> {
        let mut services = self.stats(counts)?.services;
        self.listed.keep(self.store.desired());
        if let Some(id) = which {
            services.retain(|service| service.id == id);
            if services.is_empty() {
                return Err(
                    Failure::wrong_input(format!("there is no service {id}")).because(ErrorCode::NoService)
                );
            }
        }
        Ok(services)
    }

    /// Carries out the valid changes of a batch in one step, with the result of making them one by one.
    ///
    /// # Errors
    /// If the result cannot be written; then nothing has changed.
    pub async fn change_all(&mut self, changes: &[Change]) -> Result<BatchDone, Failure> {
        self.may_be_changed()?;
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
        self.origin.count(lines.len());
        for line in lines {
            tracing::info!("{}", line.done());
        }
        let mut warnings = self.reconcile().await;
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
