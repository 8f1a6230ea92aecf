// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prometheus metrics, read from the maps at scrape time. docs/metrics.md lists them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Error, Write as _},
    sync::Arc,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    api::{
        server::Shared,
        types::{DoctorView, RealView, ServiceView, Stats, Status},
    },
    control::state::Totals,
};

/// What a scrape that asks for it gets: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What any other gets: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page.
pub fn router(director: Shared) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(director)
}

async fn scrape(State(director): State<Shared>, headers: HeaderMap) -> Response {
    let mut director = director.lock().await;
    let snapshot = match director.stats() {
        Ok(stats) => Snapshot { stats, status: director.status().await },
        Err(failure) => return failure.into_response(),
    };
    drop(director);
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let openmetrics = accept.contains("application/openmetrics-text");
    match page(snapshot, openmetrics) {
        Ok(page) => {
            ([(header::CONTENT_TYPE, if openmetrics { OPENMETRICS } else { CLASSIC })], page).into_response()
        }
        Err(error) => crate::failure::Failure::failed(format!("metrics: {error}")).into_response(),
    }
}

/// What the maps held at scrape time.
#[derive(Clone, Debug)]
struct Snapshot {
    stats: Stats,
    status: Status,
}

fn page(snapshot: Snapshot, openmetrics: bool) -> Result<String, Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Source(Arc::new(snapshot))));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    if openmetrics { Ok(page) } else { classic(&page) }
}

/// Turns `OpenMetrics` into Prometheus' classic format: there a counter's name has its `_total` in `TYPE` and
/// `HELP` too, and no end is marked.
fn classic(openmetrics: &str) -> Result<String, Error> {
    let counters: BTreeSet<&str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut page = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(kind), Some(name), Some(rest)) if counters.contains(name) => {
                writeln!(page, "# {kind} {name}_total {rest}")?;
            }
            _ => writeln!(page, "{line}")?,
        }
    }
    Ok(page)
}

#[derive(Debug)]
struct Source(Arc<Snapshot>);

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ServiceLabels {
    protocol: String,
    service: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RealLabels {
    protocol: String,
    service: String,
    real: String,
    forward: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReasonLabels {
    reason: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct FindingLabels {
    check: String,
    severity: String,
    service: String,
    real: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct BuildLabels {
    version: String,
    schema: u32,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct InterfaceLabels {
    interface: String,
    mode: String,
}

fn service_labels(service: &ServiceView) -> ServiceLabels {
    ServiceLabels { protocol: service.id.kind().to_owned(), service: service.id.name() }
}

fn real_labels(service: &ServiceView, real: &RealView) -> RealLabels {
    RealLabels {
        protocol: service.id.kind().to_owned(),
        service: service.id.name(),
        real: real.address.to_string(),
        forward: real.forward.as_str().to_owned(),
    }
}

/// Writes one counter with a value for each label set.
fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    values: impl Iterator<Item = (L, u64)>,
) -> Result<(), Error> {
    let sample = ConstCounter::new(0u64);
    let mut family = encoder.encode_descriptor(name, help, None, sample.metric_type())?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Writes one gauge with a value for each label set.
fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    values: impl Iterator<Item = (L, i64)>,
) -> Result<(), Error> {
    let sample = ConstGauge::new(0i64);
    let mut family = encoder.encode_descriptor(name, help, None, sample.metric_type())?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Writes one gauge without labels.
fn gauge(encoder: &mut DescriptorEncoder<'_>, (name, help): (&str, &str), value: i64) -> Result<(), Error> {
    let gauge = ConstGauge::new(value);
    let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

/// What the doctor found last. Two findings that labels do not tell apart are one with the value 2.
fn doctor(encoder: &mut DescriptorEncoder<'_>, doctor: &DoctorView) -> Result<(), Error> {
    let mut found: BTreeMap<FindingLabels, i64> = BTreeMap::new();
    for finding in &doctor.findings {
        let labels = FindingLabels {
            check: finding.check.clone(),
            severity: finding.severity.as_str().to_owned(),
            service: finding.service.clone().unwrap_or_default(),
            real: finding.real.clone().unwrap_or_default(),
        };
        *found.entry(labels).or_default() += 1;
    }
    gauges(
        encoder,
        ("xvs_doctor_findings", "What the doctor found wrong when it last looked, see docs/doctor.md"),
        found.into_iter(),
    )?;
    let ago = i64::try_from(doctor.seconds_ago).unwrap_or(i64::MAX);
    gauge(encoder, ("xvs_doctor_age_seconds", "Seconds since the doctor last looked"), ago)?;
    let took = ConstGauge::new(doctor.took_seconds);
    let help = "Seconds that the doctor took when it last looked";
    took.encode(encoder.encode_descriptor("xvs_doctor_duration_seconds", help, None, took.metric_type())?)
}

/// Which number of [`Totals`] a metric is.
type Field = fn(&Totals) -> u64;

/// The counters that services and reals have: name after `xvs_service_` or `xvs_real_`, help, number.
const TOTALS: [(&str, &str, Field); 5] = [
    ("packets_in", "Packets from clients sent on to reals", |t| t.packets_in),
    ("bytes_in", "IP bytes from clients sent on to reals, before encapsulation", |t| t.bytes_in),
    ("packets_out", "Packets from reals sent back to clients through the director (nat)", |t| t.packets_out),
    ("bytes_out", "IP bytes from reals sent back to clients through the director (nat)", |t| t.bytes_out),
    ("new_flows", "Flows that began", |t| t.new_flows),
];

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Snapshot { stats, status } = &*self.0;
        let e = &mut encoder;
        let reals =
            || stats.services.iter().flat_map(|s| s.reals.iter().map(move |r| (real_labels(s, r), r)));
        let services = || stats.services.iter().map(|s| (service_labels(s), s));
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        for (name, help, field) in TOTALS {
            let service = format!("xvs_service_{name}");
            counters(e, (&service, help), services().map(|(labels, s)| (labels, field(&s.totals))))?;
            let real = format!("xvs_real_{name}");
            counters(e, (&real, help), reals().map(|(labels, r)| (labels, field(&r.totals))))?;
        }
        let help = "Tracked flows that are established";
        gauges(e, ("xvs_service_active_flows", help), services().map(|(l, s)| (l, number(s.active_flows))))?;
        gauges(e, ("xvs_real_active_flows", help), reals().map(|(l, r)| (l, number(r.active_flows))))?;
        let help = "Tracked flows that are opening or closing, and UDP";
        gauges(
            e,
            ("xvs_service_inactive_flows", help),
            services().map(|(l, s)| (l, number(s.inactive_flows))),
        )?;
        gauges(e, ("xvs_real_inactive_flows", help), reals().map(|(l, r)| (l, number(r.inactive_flows))))?;
        let weights = reals().map(|(l, r)| (l, i64::from(r.weight)));
        gauges(
            e,
            ("xvs_real_weight", "Share of new connections relative to the service's other reals"),
            weights,
        )?;
        let reasons = stats.reasons.iter().map(|r| (ReasonLabels { reason: r.reason.clone() }, r.packets));
        counters(
            e,
            ("xvs_packets", "Packets of services by what became of them, see docs/reasons.md"),
            reasons,
        )?;
        gauge(e, ("xvs_flows", "Tracked flows of IPv4"), number(status.flows))?;
        gauge(e, ("xvs_flows_max", "Tracked flows of IPv4 that fit"), i64::from(status.max_flows))?;
        gauge(e, ("xvs_flows6", "Tracked flows of IPv6"), number(status.flows6))?;
        gauge(e, ("xvs_flows6_max", "Tracked flows of IPv6 that fit"), i64::from(status.max_flows6))?;
        let help = "Seconds that the last sweep over all tracked flows took";
        let sweep = ConstGauge::new(status.sweep_seconds);
        let metric = e.encode_descriptor("xvs_sweep_seconds", help, None, sweep.metric_type())?;
        sweep.encode(metric)?;
        if let Some(doctor) = &status.doctor {
            self::doctor(e, doctor)?;
        }
        let interfaces = status
            .interfaces
            .iter()
            .map(|i| (InterfaceLabels { interface: i.name.clone(), mode: i.mode.clone() }, 1));
        gauges(
            e,
            ("xvs_interface_info", "Interfaces that the program is attached to, and its mode"),
            interfaces,
        )?;
        let build = BuildLabels { version: status.version.clone(), schema: status.schema };
        gauges(
            e,
            ("xvs_build_info", "Version of xvs and of the layout of its maps"),
            [(build, 1)].into_iter(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_format_names_counters_by_their_samples() {
        let openmetrics =
            "# HELP a_b Help for it.\n# TYPE a_b counter\na_b_total{x=\"y\"} 5\n# TYPE g gauge\ng 1\n# EOF\n";
        let classic = classic(openmetrics).unwrap();
        assert_eq!(
            classic,
            "# HELP a_b_total Help for it.\n# TYPE a_b_total counter\na_b_total{x=\"y\"} 5\n# TYPE g gauge\ng 1\n"
        );
    }
}
