// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading of all that changes each second, under the lock on the director.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::Instant,
};

use lb_common::{
    ids::{RealId, ServiceId as ServiceNumber},
    reason::Reason,
};

use crate::{
    api::{
        health::HealthView,
        live::{LiveReal, LiveService, Load, RealState, ServiceState},
        real_state::RealFacts,
    },
    daemon::{
        Director,
        health::RealOf,
        maps::{Counted, FlowCount, FlowCounts},
        report,
    },
};
use lb_control::{
    pool::{self, Pool},
    state::Totals,
};
use lb_model::{Forward, Real, Service, ServiceId, Tracking, failure::Failure, health::Health};

/// Counters at one moment, and the services that they belong to; loads have no rates yet.
pub(super) struct Reading {
    /// Moment of the reading.
    pub at: Instant,
    /// Services and reals.
    pub services: Vec<LiveService>,
    /// Counters of services and reals.
    pub counters: HashMap<Counts, Totals>,
    /// Packets by reason, of each service and of all (`None`).
    pub reasons: HashMap<Option<ServiceId>, BTreeMap<Reason, u64>>,
}

/// Owner of counters: a service with its removed reals, or one real.
pub(super) type Counts = (ServiceId, Option<SocketAddr>);

impl Director {
    /// Returns services, states and counters; `flows` are counted already.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(super) fn read_live(&mut self, flows: &FlowCounts) -> Result<Reading, Failure> {
        let counted = self.maps.counted()?;
        let at = Instant::now();
        let health = self.health.views(self.store.desired());
        let mut sums = self.reasons_without_service(&counted);
        let mut reading =
            Reading { at, services: Vec::new(), counters: HashMap::new(), reasons: HashMap::new() };
        for (id, service) in &self.store.desired().services {
            let (live, totals) = self.live_service(id, service, &counted, flows, &health, &mut reading);
            let number = self.maps.ids().services.get(id).copied().unwrap_or(ServiceNumber::NONE);
            if !number.is_none() {
                let own = counted.reasons(number);
                report::add(&mut sums, &own, &totals);
                reading.reasons.insert(Some(*id), own);
            }
            reading.counters.insert((*id, None), totals);
            reading.services.push(live);
        }
        reading.reasons.insert(None, sums);
        Ok(reading)
    }

    /// Returns a service and its counters, and adds those of its reals to the reading.
    fn live_service(
        &self,
        id: &ServiceId,
        service: &Service,
        counted: &Counted,
        flows: &FlowCounts,
        health: &BTreeMap<RealOf, HealthView>,
        reading: &mut Reading,
    ) -> (LiveService, Totals) {
        let pool = pool::weigh(id, service, self.health.table());
        let mut totals = self.store.retired(id);
        let mut reals = Vec::with_capacity(service.reals.len());
        let mut all = FlowCount::default();
        for (address, real) in service.all_reals() {
            let key = real.key(*address);
            let number = self.maps.ids().real(id, &key).unwrap_or(RealId::NONE);
            let counters = counted.real(number);
            totals.add(&counters);
            if !service.has_real(&key) {
                continue;
            }
            let mut own = Totals::default();
            own.add(&counters);
            reading.counters.insert((*id, Some(*address)), own);
            let flows = flows.by_real.get(&number).copied().unwrap_or_default();
            (all.active, all.inactive) = (all.active + flows.active, all.inactive + flows.inactive);
            reals.push(LiveReal {
                address: *address,
                forward: real.forward,
                backup: real.backup,
                state: self.real_state(id, *address, real, &pool, health.get(&(*id, *address)), flows),
                load: Load { active: Some(flows.active), inactive: Some(flows.inactive), ..Load::default() },
            });
        }
        let counts = counts_flows(service, &all);
        if !counts {
            for real in &mut reals {
                (real.load.active, real.load.inactive) = (None, None);
            }
        }
        let state = ServiceState {
            serving: self.network.available(id, &pool.service),
            down: reals.iter().filter(|real| real.state.health == Some(Health::Down)).count(),
            pool: pool.mode.as_str().to_owned(),
        };
        let load = Load {
            active: counts.then_some(all.active),
            inactive: counts.then_some(all.inactive),
            ..Load::default()
        };
        let live = LiveService {
            name: id.to_string(),
            service: *id,
            scheduler: service.scheduler.as_str().to_owned(),
            state,
            load,
            reasons: Vec::new(),
            reals,
        };
        (live, totals)
    }

    fn real_state(
        &self,
        id: &ServiceId,
        address: SocketAddr,
        real: &Real,
        pool: &Pool,
        health: Option<&HealthView>,
        flows: FlowCount,
    ) -> RealState {
        let is_reachable = self.network.is_up(id, address, real);
        let effective_weight = pool.service.reals.get(&address).map_or(0, |real| real.weight);
        let facts = RealFacts {
            is_reachable,
            admin: real.admin,
            health: health.map(|view| view.health),
            weight: real.weight,
            effective_weight,
            is_backup: real.backup,
            has_flows: flows.active > 0,
        };
        RealState {
            word: facts.word().to_owned(),
            admin: real.admin,
            weight: real.weight,
            effective_weight,
            health: facts.health,
            last: health.map(HealthView::last_word).filter(|word| word != "-"),
            since_seconds: health.map_or(0, |view| view.since_seconds),
            unreachable: (!is_reachable).then(|| self.network.describe(id, &address, real)),
        }
    }
}

/// Returns whether the flow table has an entry for each connection of a service.
fn counts_flows(service: &Service, flows: &FlowCount) -> bool {
    let has_entries = flows.active + flows.inactive > 0;
    let hashes = service.scheduler.hashes() && service.persistence.is_none();
    let all_by_fnat =
        !service.reals.is_empty() && service.reals.values().all(|real| real.forward == Forward::Fnat);
    has_entries || !hashes || service.tracking == Tracking::Full || all_by_fnat
}
