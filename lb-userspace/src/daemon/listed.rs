// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data for the lists of ipvsadm that the maps lack: rates, and counts at the last `-Z`. All of it is in memory
//! only.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::{
    maps::{Maps, maps_failed},
    zero::Zero,
};
use crate::{
    api::{
        ipvs::{Shown, ShownReal},
        types::ServiceView,
    },
    observe::rates::{Averages, Estimate, PARTS},
};
use lb_common::ids::RealId;
use lb_control::state::Totals;
use lb_model::failure::Failure;
use lb_model::{Desired, ServiceId};

/// Owner of the rates and of the counts at the last `-Z`.
#[derive(Default)]
pub(super) struct Listed {
    zero: Zero,
    /// Estimates by id of the real; `None` for ids without a real.
    estimates: Vec<Option<Estimate>>,
    /// Part of the reals that is sampled next.
    part: u32,
}

impl Listed {
    /// Samples the counters of one part of the reals per call, in turn.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(super) fn sample(&mut self, maps: &mut Maps) -> Result<(), Failure> {
        let now = Instant::now();
        let part = self.part;
        self.part = (part + 1) % PARTS;
        // Ids are the lowest free ones: adjacent ones are read by few system calls.
        let all = maps.image().reals.last_key_value().map_or(0, |(last, _)| last.0 + 1);
        self.estimates.resize(all as usize, None);
        let size = all.div_ceil(PARTS);
        let ids = (part * size).min(all)..((part + 1) * size).min(all);
        let counters = maps.tables().counters_of(ids.clone()).map_err(|error| maps_failed(&error))?;
        let mut used =
            maps.image().reals.range(RealId(ids.start)..RealId(ids.end)).map(|(id, _)| id.0).peekable();
        for (number, counters) in ids.zip(&counters) {
            let estimate = &mut self.estimates[number as usize];
            if used.next_if_eq(&number).is_none() {
                *estimate = None;
                continue;
            }
            let mut counted = Totals::default();
            counted.add(counters);
            estimate.get_or_insert_with(|| Estimate::new(counted, now)).sample(counted, now);
        }
        Ok(())
    }

    fn estimate(&self, number: Option<RealId>) -> Option<&Estimate> {
        self.estimates.get(number?.0 as usize)?.as_ref()
    }

    /// Removes the counts of services that no longer exist.
    pub(super) fn keep(&mut self, desired: &Desired) {
        self.zero.keep(|id| desired.services.contains_key(id));
    }

    /// Resets the counts and rates of a service and its reals.
    pub(super) fn reset(&mut self, service: &ServiceView, maps: &Maps) {
        self.zero.set(service);
        for real in &service.reals {
            let number = maps.number_of(&service.id, real);
            if let Some(estimate) =
                number.and_then(|number| self.estimates.get_mut(number.0 as usize)?.as_mut())
            {
                estimate.averages = Averages::default();
            }
        }
    }

    /// Returns a service as ipvsadm lists it.
    pub(super) fn show(&self, service: ServiceView, maps: &Maps) -> Shown {
        let mut sum = Averages::default();
        let id: ServiceId = service.id;
        let reals = service.reals.iter().map(|real| {
            let number = maps.number_of(&id, real);
            let averages = self.estimate(number).map(|estimate| estimate.averages).unwrap_or_default();
            sum += averages;
            ShownReal { counted: self.zero.of_real(id, real.address, real.totals), rates: averages.rates() }
        });
        let reals = reals.collect();
        let counted = self.zero.of_service(id, service.totals);
        Shown { counted, rates: sum.rates(), reals, service }
    }
}
