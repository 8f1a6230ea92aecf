// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reports of the daemon: status and counters.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::SystemTime,
};

use lb_common::{
    flow_table::PLACES,
    ids::{RealId, ServiceId as ServiceNumber},
    reason::Reason,
    schema::SCHEMA_VERSION,
};

use super::{
    Director,
    maps::{Counted, FlowCount, FlowCounts, maps_failed},
};
use crate::{
    api::health::{HealthView, PoolView},
    api::types::{InterfaceStatus, RealView, ReasonCount, ServiceView, Stats, Status},
    observe::log,
};
use lb_control::{
    options::HealthOptions,
    pool::{self, Pool},
    state::Totals,
};
use lb_model::failure::Failure;
use lb_model::text;
use lb_model::{Service, ServiceId};

/// Data of all services, read at once.
struct Reading<'a> {
    /// Flows by real.
    flows: &'a HashMap<RealId, FlowCount>,
    /// Clients that persistence keeps, by real.
    clients: HashMap<RealId, u64>,
    /// Counters of the programs.
    counted: Counted,
    /// Health of the reals that have checks.
    health: BTreeMap<(ServiceId, SocketAddr), HealthView>,
}

impl Director {
    /// Returns the status of the daemon; `counts` are the flows.
    pub async fn status(&mut self, counts: &FlowCounts) -> Status {
        let mut problems = self.network.without_real(self.store.desired(), self.health.table());
        problems.extend(self.network.unreachable(self.store.desired()));
        problems.extend(self.store.unsaved().map(str::to_owned));
        problems.extend(self.standing_line());
        problems.extend(self.vips.held_elsewhere());
        problems.extend(self.health.problems(self.store.desired()));
        problems.extend(self.confirm.view().map(|waits| waits.line()));
        let mut interfaces = Vec::new();
        for (index, name) in self.attachments.interfaces() {
            let mode = match self.network.netlink().interface_by_index(*index).await {
                Ok(interface) => interface.xdp.map_or("detached", lb_netlink::XdpPlace::as_str).to_owned(),
                Err(_) => "gone".to_owned(),
            };
            if mode == "detached" || mode == "gone" {
                problems.push(format!("interface {name} is {mode}: no packet is forwarded there"));
            }
            interfaces.push(InterfaceStatus { name: name.clone(), mode });
        }
        let follow = self.follow.view();
        problems.extend(follow.as_ref().and_then(|follow| follow.problem.clone()));
        let log_lines_lost = log::lost();
        if log_lines_lost > 0 {
            problems.push(format!(
                "{log_lines_lost} log lines were lost: the reader of the daemon's stderr has exited, is stuck or has no space"
            ));
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: SCHEMA_VERSION,
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            adopted: self.maps.plane().adopted(),
            verified_instructions: self.maps.plane().verified_instructions(),
            interfaces,
            vips: self.vips.added().cloned().unwrap_or_default().into_iter().collect(),
            services: self.store.desired().services.len(),
            reals: self.store.desired().services.values().map(|service| service.reals.len()).sum(),
            timeouts: self.timeout_view(),
            flows: counts.flows,
            max_flows: self.maps.limits().flows,
            flows6: counts.flows6,
            max_flows6: self.maps.limits().flows6,
            flow_places: self.maps.limits().flow_buckets() * PLACES as u32,
            opening_flows: counts.opening,
            opening_flows6: counts.opening6,
            sweep_seconds: self.maps.last_sweep().as_secs_f64(),
            log_lines_lost,
            interface_repairs: self.attachments.repairs(),
            problems,
            follow,
            config: self.origin.status(),
            unconfirmed: self.confirm.view(),
            start_time_seconds: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |now| now.as_secs().saturating_sub(self.started.elapsed().as_secs())),
            doctor: self.examiner.view(self.origin.revision()),
        }
    }

    /// Reads a map: proof that the director is not stuck, and that the kernel answers.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(crate) fn read_maps(&mut self) -> Result<(), Failure> {
        self.maps.tables().reasons(ServiceNumber::NONE).map(drop).map_err(|error| maps_failed(&error))
    }

    /// Returns a summary of the services and interfaces in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let services = &self.store.desired().services;
        let reals: usize = services.values().map(|service| service.reals.len()).sum();
        let interfaces: Vec<&str> = self.attachments.interfaces().values().map(String::as_str).collect();
        format!(
            "{}, {} on {}{}",
            text::count(services.len(), "service"),
            text::count(reals, "real"),
            interfaces.join(", "),
            self.origin.file().map_or(String::new(), |file| format!(", from {file}"))
        )
    }

    /// Returns all counters, read from the maps now; `counts` are the flows.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn stats(&mut self, counts: &FlowCounts) -> Result<Stats, Failure> {
        let reading = Reading {
            flows: &counts.by_real,
            clients: self.maps.count_clients()?,
            counted: self.maps.counted()?,
            health: self.health.views(self.store.desired()),
        };
        let mut reasons = self.reasons_without_service(&reading.counted);
        let mut services = Vec::new();
        let desired = self.store.desired().services.clone();
        for (id, service) in &desired {
            let number = self.maps.ids().services.get(id);
            let own = number.map(|number| reading.counted.reasons(*number)).unwrap_or_default();
            let view = self.service_view(id, service, &reading, &own);
            add(&mut reasons, &own, &view.totals);
            services.push(view);
        }
        Ok(Stats {
            services,
            reasons: Reason::ALL.iter().filter_map(|r| count(*r, &reasons, true)).collect(),
        })
    }

    /// Returns the packets of no service, and of removed services, by reason.
    pub(super) fn reasons_without_service(&self, counted: &Counted) -> BTreeMap<Reason, u64> {
        let mut reasons = counted.reasons(ServiceNumber::NONE);
        for (name, packets) in self.store.gone() {
            if let Some(reason) = Reason::ALL.iter().find(|reason| reason.as_str() == name) {
                *reasons.entry(*reason).or_default() += packets;
            }
        }
        reasons
    }

    fn service_view(
        &mut self,
        id: &ServiceId,
        service: &Service,
        reading: &Reading<'_>,
        reasons: &BTreeMap<Reason, u64>,
    ) -> ServiceView {
        let mut totals = self.store.retired(id);
        let (moved, bases) = match self.maps.moving_slots(id) {
            Some((slots, clock)) => (slots.moved(), slots.bases(clock)),
            None => (0, BTreeMap::new()),
        };
        let pool = pool::weigh(id, service, self.health.table());
        let (mut reals, mut leaving) = (Vec::new(), Vec::new());
        for (address, real) in service.all_reals() {
            let key = real.key(*address);
            let number = self.maps.ids().real(id, &key).unwrap_or(RealId::NONE);
            let counters = reading.counted.real(number);
            totals.add(&counters);
            let mut own = Totals::default();
            own.add(&counters);
            let flows = reading.flows.get(&number).copied().unwrap_or_default();
            let view = RealView {
                address: *address,
                forward: real.forward,
                weight: real.weight,
                upper: real.upper,
                lower: real.lower,
                tunnel: real.tunnel,
                persistent_clients: reading.clients.get(&number).copied().unwrap_or(0),
                is_up: self.network.is_up(id, *address, real),
                next_hop: self.network.describe(id, address, real),
                is_local: self.network.is_local(id, *address, real),
                totals: own,
                active_flows: flows.active,
                inactive_flows: flows.inactive,
                slots: bases.get(&number).copied().unwrap_or(0),
                admin: real.admin,
                backup: real.backup,
                checks: service.checks_of(real).to_vec(),
                health: reading.health.get(&(*id, *address)).cloned(),
                effective_weight: pool.service.reals.get(address).map_or(0, |real| real.weight),
            };
            if service.has_real(&key) { reals.push(view) } else { leaving.push(view) }
        }
        // Connections that a real keeps with its previous method count for the real too.
        for old in &leaving {
            if let Some(real) = reals.iter_mut().find(|real| real.address == old.address) {
                real.active_flows += old.active_flows;
                real.inactive_flows += old.inactive_flows;
            }
        }
        ServiceView {
            id: *id,
            endpoints: self.store.desired().endpoints(id),
            scheduler: service.scheduler,
            flags: service.flags.clone(),
            tracking: service.tracking,
            persistence: service.persistence,
            one_packet: service.one_packet,
            on_removal: service.on_removal,
            health: pool_view(service, &pool),
            slots: self.maps.slots(id),
            leaving,
            slots_in_transition: moved,
            totals,
            active_flows: reals.iter().map(|real| real.active_flows).sum(),
            inactive_flows: reals.iter().map(|real| real.inactive_flows).sum(),
            reasons: Reason::ALL.iter().filter_map(|r| count(*r, reasons, false)).collect(),
            reals,
        }
    }
}

/// Returns the health of a pool.
fn pool_view(service: &Service, pool: &Pool) -> PoolView {
    PoolView {
        options: HealthOptions::of(&service.health),
        able_reals: pool.able,
        healthy_reals: pool.healthy,
        min_healthy_reals: service.health.min_healthy.of(pool.able),
        mode: pool.mode.as_str().to_owned(),
    }
}

/// Adds the packets of a service to the sums of all services.
pub(super) fn add(sums: &mut BTreeMap<Reason, u64>, own: &BTreeMap<Reason, u64>, totals: &Totals) {
    // The programs count a forwarded packet once, at its real.
    let local = own.get(&Reason::Local).copied().unwrap_or(0);
    let sent = totals.packets_in + totals.packets_out;
    *sums.entry(Reason::Forwarded).or_default() += sent.saturating_sub(local);
    for (reason, packets) in own {
        *sums.entry(*reason).or_default() += packets;
    }
}

/// Returns the count of a reason; `None` for 0 packets unless `always`, and for [`Reason::NotOurs`], which is
/// never counted.
pub(super) fn count(reason: Reason, counts: &BTreeMap<Reason, u64>, always: bool) -> Option<ReasonCount> {
    let packets = counts.get(&reason).copied().unwrap_or(0);
    let shown = reason != Reason::NotOurs && (always || packets > 0);
    shown.then(|| ReasonCount { reason: reason.as_str().to_owned(), packets })
}
