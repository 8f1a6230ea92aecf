// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data of a metrics scrape, taken at once, so that the page is written without the lock on the director.
#![forbid(unsafe_code)]

use std::{fmt::Write as _, sync::Arc};

use lb_common::{
    flow_table::Event,
    ids::{RealId, ServiceId as ServiceNumber},
    reason::Reason,
};

use super::{
    Director,
    count::count_flows,
    lost_sends::send_errors_of,
    maps::{FlowCounts, maps_failed},
    outcomes::Outcomes,
    report::{self, count},
};
use crate::{
    api::types::{ReasonCount, Status},
    daemon::Shared,
};
use lb_control::{
    pool::{self, Pool},
    state::Totals,
    sync::Counters as SyncCounters,
};
use lb_health::Snapshot;
use lb_model::failure::Failure;
use lb_model::{
    Forward, Service, ServiceId,
    health::{Admin, Health},
};

/// Contents of the maps at scrape time.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// Numbers of services.
    pub services: Samples,
    /// Numbers of reals.
    pub reals: Samples,
    /// Packets by reason: those of all services, and those of no service.
    pub reasons: Vec<ReasonCount>,
    /// Packets of each service by reason: the labels of each count, and the count.
    pub service_reasons: Vec<(String, u64)>,
    /// Status of the daemon.
    pub status: Status,
    /// States and counts of the checks.
    pub checks: Arc<Snapshot>,
    /// Outcomes of changes, and of reads of the config file.
    pub outcomes: Outcomes,
    /// Whether the state file could not be written.
    pub is_unsaved: bool,
    /// Whether the director can take over traffic.
    pub is_ready: bool,
    /// Whether the operator has drained the director.
    pub is_drained: bool,
    /// Number of evicted flows that sweeps have found.
    pub evicted: u64,
    /// Number of events of the flow table, by kind.
    pub flow_events: [u64; Event::COUNT],
    /// Number of running traces.
    pub traces: u64,
    /// Number of samples that traces have lost.
    pub lost_samples: u64,
    /// Packets that drivers failed to send, by interface; empty without ethtool.
    pub send_errors: Vec<(String, u64)>,
    /// Announcements of connections.
    pub sync: SyncNumbers,
}

/// Numbers of announcements.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyncNumbers {
    /// Counters since the daemon started.
    pub counters: SyncCounters,
    /// Number of connections that wait for their service or real.
    pub waiting: u64,
    /// Number of announced flows in the flow table.
    pub announced: u64,
    /// Number of announced flows that the flow table takes.
    pub announced_max: u64,
}

/// Sets of numbers, each with its labels as in the page. All labels share one string, because there may be many.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    labels: String,
    rows: Vec<(usize, Numbers)>,
}

/// Numbers of a service or a real.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// Counters.
    pub totals: Totals,
    /// Tracked flows that are opening or established.
    pub active: u64,
    /// Tracked flows that are closing, and UDP flows.
    pub inactive: u64,
    /// Weight of a real; 0 for a service.
    pub weight: u32,
    /// Whether the operator has enabled the real: it is neither drained nor disabled.
    pub is_enabled: bool,
    /// Forward method of a real; `None` for a service.
    pub forward: Option<Forward>,
    /// Weight of a real that is in force; 0 for a service.
    pub effective_weight: u32,
    /// Number of reals of a service that get new connections; 1 for a real to which packets can be sent.
    pub available: u64,
    /// Verdict of the checks of a real; `None` for a service, without checks, and without a verdict.
    pub is_up: Option<bool>,
    /// Number of healthy reals of a service, and the number that it needs; `None` for a real, and without checks.
    pub healthy: Option<(u64, u64)>,
}

impl Samples {
    fn with_room_for(rows: usize) -> Self {
        Self { labels: String::with_capacity(rows * LABELS), rows: Vec::with_capacity(rows) }
    }

    /// Creates samples from labels, with braces, and numbers.
    #[cfg(test)]
    #[must_use]
    pub fn of(rows: &[(&str, Numbers)]) -> Self {
        let mut samples = Self::default();
        for (labels, numbers) in rows {
            samples.labels.push_str(labels);
            samples.push(*numbers);
        }
        samples
    }

    fn push(&mut self, numbers: Numbers) {
        self.rows.push((self.labels.len(), numbers));
    }

    /// Returns each set of numbers with its labels: `{name="value",…}`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Numbers)> {
        let begins = std::iter::once(0).chain(self.rows.iter().map(|(end, _)| *end));
        begins.zip(&self.rows).map(|(begin, (end, numbers))| (&self.labels[begin..*end], numbers))
    }
}

/// Estimated size of the labels of a real, in bytes.
const LABELS: usize = 96;

/// Returns the data of a scrape. The director is not locked while flows are counted.
///
/// # Errors
/// If a map cannot be read.
pub async fn scrape(director: &Shared) -> Result<Scrape, Failure> {
    let flows = count_flows(director).await?;
    let interfaces: Vec<String> = director.lock().await.attachments.interfaces().values().cloned().collect();
    let mut send_errors = Vec::new();
    for name in interfaces {
        let Some(number) = send_errors_of(&name).await else { break };
        send_errors.push((name, number));
    }
    let (counters, waiting) = director.sync().numbers();
    let mut scrape = director.lock().await.scrape(&flows).await?;
    (scrape.sync.counters, scrape.sync.waiting) = (counters, waiting);
    Ok(Scrape { send_errors, ..scrape })
}

impl Director {
    /// Returns the data of a scrape; `flows` are counted already.
    async fn scrape(&mut self, flows: &FlowCounts) -> Result<Scrape, Failure> {
        let counted = self.maps.counted()?;
        let status = self.status(flows).await;
        let mut sums = self.reasons_without_service(&counted);
        let mut services = Samples::with_room_for(status.services);
        let mut reals = Samples::with_room_for(status.reals);
        let mut service_reasons = Vec::new();
        for (id, service) in &self.store.desired().services {
            let number = self.maps.ids().services.get(id).copied().unwrap_or(ServiceNumber::NONE);
            let pool = pool::weigh(id, service, self.health.table());
            let mut all = Numbers {
                totals: self.store.retired(id),
                available: self.network.available(id, &pool.service) as u64,
                healthy: healthy(service, &pool),
                ..Numbers::default()
            };
            let labels = labels_of(id);
            for (address, real) in service.all_reals() {
                let key = real.key(*address);
                let number = self.maps.ids().reals.get(&(number, key)).copied().unwrap_or(RealId::NONE);
                let counters = counted.real(number);
                all.totals.add(&counters);
                if !service.has_real(&key) {
                    continue;
                }
                let flows = flows.by_real.get(&number).copied().unwrap_or_default();
                (all.active, all.inactive) = (all.active + flows.active, all.inactive + flows.inactive);
                let mut totals = Totals::default();
                totals.add(&counters);
                reals.labels.push_str(&labels);
                let _infallible = write!(reals.labels, ",real=\"{address}\"}}");
                reals.push(Numbers {
                    totals,
                    active: flows.active,
                    inactive: flows.inactive,
                    weight: real.weight,
                    effective_weight: pool.service.reals.get(address).map_or(0, |real| real.weight),
                    forward: Some(real.forward),
                    is_enabled: real.admin == Admin::Enabled,
                    available: self.network.is_up(id, *address, real).into(),
                    is_up: self
                        .health
                        .table()
                        .of(id, service, address, real)
                        .filter(|state| state.health != Health::Unknown)
                        .map(|state| state.health == Health::Up),
                    healthy: None,
                });
            }
            services.labels.push_str(&labels);
            services.labels.push('}');
            services.push(all);
            if number.is_none() {
                continue;
            }
            let own = counted.reasons(number);
            report::add(&mut sums, &own, &all.totals);
            for (reason, packets) in own.iter().filter(|(_, packets)| **packets > 0) {
                service_reasons.push((format!("{labels},reason=\"{}\"}}", reason.as_str()), *packets));
            }
        }
        let reasons = Reason::ALL.iter().filter_map(|reason| count(*reason, &sums, true)).collect();
        let checks = self.health.snapshot();
        let flow_events = self.maps.tables().flow_events().map_err(|e| maps_failed(&e))?;
        let (announced, announced_max) = self.announced_flows();
        Ok(Scrape {
            services,
            reals,
            reasons,
            service_reasons,
            status,
            checks,
            outcomes: self.outcomes,
            is_unsaved: self.store.unsaved().is_some(),
            is_ready: self.readiness.is_ready(),
            is_drained: self.store.standing().drained,
            evicted: self.maps.evicted_total(),
            flow_events,
            traces: self.traces.number(),
            lost_samples: self.traces.lost(),
            send_errors: Vec::new(),
            sync: SyncNumbers { announced, announced_max, ..SyncNumbers::default() },
        })
    }
}

/// Returns the number of healthy reals of a service, and the number that it needs; `None` if no real has a check.
fn healthy(service: &Service, pool: &Pool) -> Option<(u64, u64)> {
    let has_checks = service.reals.values().any(|real| !service.checks_of(real).is_empty());
    let needed = service.health.min_healthy.of(pool.able);
    has_checks.then_some((pool.healthy as u64, needed as u64))
}

/// Returns the labels of a service, without the closing brace. None of their values needs escapes.
fn labels_of(id: &ServiceId) -> String {
    format!("{{protocol=\"{}\",service=\"{}\"", id.kind(), id.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_own_labels() {
        let with = |weight| Numbers { weight, ..Numbers::default() };
        let samples = Samples::of(&[("{a=\"1\"}", with(1)), ("{a=\"22\"}", with(2)), ("{}", with(3))]);
        let seen: Vec<_> = samples.iter().map(|(labels, numbers)| (labels, numbers.weight)).collect();
        assert_eq!(seen, [("{a=\"1\"}", 1), ("{a=\"22\"}", 2), ("{}", 3)]);
    }
}
