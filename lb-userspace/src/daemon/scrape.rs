// SPDX-License-Identifier: MIT OR Apache-2.0
//! All that a scrape of the metrics tells, taken at once, so that the page can be written without holding up anybody.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use lb_common::{reason::Reason, schema::UNSET};

use super::{
    Director,
    count::{FlowCounts, count_flows},
    report::{self, count},
};
use crate::{
    api::types::{ReasonCount, Status},
    control::state::Totals,
    daemon::Shared,
    failure::Failure,
    model::{Forward, ServiceId},
};

/// What the maps held at scrape time.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// Services.
    pub services: Samples,
    /// Reals of services.
    pub reals: Samples,
    /// Packets of all services by reason, and those of no service.
    pub reasons: Vec<ReasonCount>,
    /// Packets of a service by reason: the labels of each count, and the count.
    pub service_reasons: Vec<(String, u64)>,
    /// How the daemon is.
    pub status: Status,
}

/// Numbers, each set with its labels as they stand in the page. There may be many: all labels lie in one text.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    labels: String,
    rows: Vec<(usize, Numbers)>,
}

/// The numbers of a service or a real.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// Counters.
    pub totals: Totals,
    /// Tracked flows that are opening or established.
    pub active: u64,
    /// Tracked flows that are closing, and UDP.
    pub inactive: u64,
    /// A real's share; nothing for a service.
    pub weight: u32,
    /// A real's forward method; `None` for a service.
    pub forward: Option<Forward>,
    /// How many reals of a service get new connections; 1 for a real to which packets can be sent.
    pub available: u64,
}

impl Samples {
    fn with_room_for(rows: usize) -> Self {
        Self { labels: String::with_capacity(rows * LABELS), rows: Vec::with_capacity(rows) }
    }

    fn push(&mut self, numbers: Numbers) {
        self.rows.push((self.labels.len(), numbers));
    }

    /// Each set of numbers, and its labels: `{name="value",…}`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Numbers)> {
        let begins = std::iter::once(0).chain(self.rows.iter().map(|(end, _)| *end));
        begins.zip(&self.rows).map(|(begin, (end, numbers))| (&self.labels[begin..*end], numbers))
    }
}

/// Bytes that the labels of a real take, most likely.
const LABELS: usize = 96;

/// All that a scrape tells. The director is free for others while flows are counted.
///
/// # Errors
/// If a map cannot be read.
pub async fn scrape(director: &Shared) -> Result<Scrape, Failure> {
    let flows = count_flows(director).await?;
    director.lock().await.scrape(&flows).await
}

impl Director {
    /// All that a scrape tells; `flows` are counted already.
    async fn scrape(&mut self, flows: &FlowCounts) -> Result<Scrape, Failure> {
        let counted = self.counted()?;
        let status = self.status(flows).await;
        let mut sums = self.reasons_of_nobody(&counted);
        let mut services = Samples::with_room_for(status.services);
        let mut reals = Samples::with_room_for(status.reals);
        let mut service_reasons = Vec::new();
        for (id, service) in &self.state.desired.services {
            let number = self.ids.services.get(id).copied().unwrap_or(UNSET);
            let mut all = Numbers {
                totals: self.state.retired.get(id).copied().unwrap_or_default(),
                available: self.available(id, service) as u64,
                ..Numbers::default()
            };
            let labels = labels_of(id);
            for (address, real) in service.all_reals() {
                let key = real.key(*address);
                let number = self.ids.reals.get(&(number, key)).copied().unwrap_or(UNSET);
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
                    forward: Some(real.forward),
                    available: self.is_up(id, *address, real).into(),
                });
            }
            services.labels.push_str(&labels);
            services.labels.push('}');
            services.push(all);
            if number == UNSET {
                continue;
            }
            let own = counted.reasons(number);
            report::add(&mut sums, &own, &all.totals);
            for (reason, packets) in own.iter().filter(|(_, packets)| **packets > 0) {
                service_reasons.push((format!("{labels},reason=\"{}\"}}", reason.as_str()), *packets));
            }
        }
        let reasons = Reason::ALL.iter().filter_map(|reason| count(*reason, &sums, true)).collect();
        Ok(Scrape { services, reals, reasons, service_reasons, status })
    }
}

/// The labels of a service, without the end. None of their values has a character that must be escaped.
fn labels_of(id: &ServiceId) -> String {
    format!("{{protocol=\"{}\",service=\"{}\"", id.kind(), id.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_own_labels() {
        let mut samples = Samples::with_room_for(2);
        for (labels, weight) in [("{a=\"1\"}", 1), ("{a=\"22\"}", 2), ("{}", 3)] {
            samples.labels.push_str(labels);
            samples.push(Numbers { weight, ..Numbers::default() });
        }
        let seen: Vec<_> = samples.iter().map(|(labels, numbers)| (labels, numbers.weight)).collect();
        assert_eq!(seen, [("{a=\"1\"}", 1), ("{a=\"22\"}", 2), ("{}", 3)]);
    }
}
