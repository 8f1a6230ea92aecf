// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prometheus metrics, read from the maps at scrape time. docs/metrics.md lists them.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::stream;
use tokio::sync::mpsc;

use super::{
    daemon_metrics, health_metrics,
    page::{Format, Kind, Page, labels},
    published::Published,
    sync_metrics,
};
use crate::api::request::Refusal;
use crate::{
    api::{listener::Limits, types::DoctorView},
    daemon::{
        Shared,
        scrape::{Numbers, Samples, Scrape},
    },
};
use lb_common::flow_table::Event;
use lb_control::state::Totals;

/// Content type for clients that accept `OpenMetrics`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type for other clients.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Limits of this server.
pub const LIMITS: Limits = Limits { connections: 16, idle: 16, body: 1 << 10 };

/// Number of parts of the page that may wait for the network.
const AHEAD: usize = 4;

/// Creates the router of the page.
pub fn router(director: Shared) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(Arc::new(Published::new(director)))
}

async fn scrape(State(published): State<Arc<Published>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (format, content_type) = if accept.contains("application/openmetrics-text") {
        (Format::OpenMetrics, OPENMETRICS)
    } else {
        (Format::Classic, CLASSIC)
    };
    let scrape = match published.scrape().await {
        Ok(scrape) => scrape,
        Err(failure) => return Refusal(failure).into_response(),
    };
    let (parts, waiting) = mpsc::channel::<String>(AHEAD);
    // One thread writes the page while another one sends it. The listener ends a connection whose client
    // accepts nothing, and thereby this thread.
    tokio::task::spawn_blocking(move || {
        // If the client has disconnected, the rest of the page is discarded.
        write(&scrape, Page::new(format, |part| drop(parts.blocking_send(part))));
    });
    let next = |mut waiting: mpsc::Receiver<String>| async {
        let part = waiting.recv().await?;
        Some((Ok::<_, Infallible>(part), waiting))
    };
    let body = Body::from_stream(stream::unfold(waiting, next));
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// A number of a service or real.
type Field = fn(&Numbers) -> u64;
/// A number that never decreases.
type Total = fn(&Totals) -> u64;

/// Counters of services and reals: name after `xvs_service_` or `xvs_real_`, help, number.
const TOTALS: [(&str, &str, Total); 5] = [
    ("packets_in", "Packets from clients sent on to reals", |t| t.packets_in),
    ("bytes_in", "IP bytes from clients sent on to reals, before encapsulation", |t| t.bytes_in),
    ("packets_out", "Packets from reals sent back to clients through the director (nat, fnat)", |t| {
        t.packets_out
    }),
    ("bytes_out", "IP bytes from reals sent back to clients through the director (nat, fnat)", |t| {
        t.bytes_out
    }),
    ("new_flows", "Flows that began", |t| t.new_flows),
];

/// Gauges of services and reals.
const FLOWS: [(&str, &str, Field); 2] = [
    ("active_flows", "Tracked flows that are opening or established", |n| n.active),
    ("inactive_flows", "Tracked flows that are closing, and UDP", |n| n.inactive),
];

/// Writes the page.
fn write(scrape: &Scrape, mut page: Page<impl FnMut(String)>) {
    let Scrape { services, reals, reasons, service_reasons, status, checks, .. } = scrape;
    let p = &mut page;
    for (whose, samples) in [("service", services), ("real", reals)] {
        for (name, help, field) in TOTALS {
            p.metric(Kind::Counter, format_args!("xvs_{whose}_{name}"), help);
            all(p, samples, |numbers| field(&numbers.totals));
        }
        for (name, help, field) in FLOWS {
            p.metric(Kind::Gauge, format_args!("xvs_{whose}_{name}"), help);
            all(p, samples, field);
        }
    }
    let help = "Share of new connections relative to the service's other reals";
    all(p.metric(Kind::Gauge, "xvs_real_weight", help), reals, |numbers| numbers.weight.into());
    let help = "Weight of the real that is in force: after the states of operator and checks";
    all(p.metric(Kind::Gauge, "xvs_real_effective_weight", help), reals, |numbers| {
        numbers.effective_weight.into()
    });
    let help = "Whether packets can be sent to the real: its next hop answers; 1 is yes";
    all(p.metric(Kind::Gauge, "xvs_real_reachable", help), reals, |numbers| numbers.available);
    let help = "Reals that get new connections: their effective weight is above 0 and their next hop answers";
    all(p.metric(Kind::Gauge, "xvs_service_reals_available", help), services, |numbers| numbers.available);
    health_metrics::write(p, services, reals, checks);
    let help = "Whether the operator has enabled the real, neither drained nor disabled it; 1 is yes";
    all(p.metric(Kind::Gauge, "xvs_real_enabled", help), reals, |numbers| numbers.is_enabled.into());
    p.metric(Kind::Gauge, "xvs_real_info", "Forward method of the real; always 1");
    for (labels, numbers) in reals.iter() {
        if let (Some(forward), Some(labels)) = (numbers.forward, labels.strip_suffix('}')) {
            p.sample(&format!("{labels},forward=\"{forward}\"}}"), 1);
        }
    }
    p.metric(Kind::Counter, "xvs_packets", "Packets of all services by reason, see docs/reasons.md");
    for reason in reasons {
        p.sample(&labels(&[("reason", &reason.reason)]), reason.packets);
    }
    let help = "Packets of a service by reason, without those that were forwarded, see docs/reasons.md";
    p.metric(Kind::Counter, "xvs_service_reason_packets", help);
    for (labels, packets) in service_reasons {
        p.sample(labels, *packets);
    }
    for (name, help, value) in [
        ("xvs_flows", "Tracked IPv4 flows", status.flows),
        ("xvs_flows_max", "Tracked IPv4 flows that fit", status.max_flows.into()),
        ("xvs_flows6", "Tracked IPv6 flows", status.flows6),
        ("xvs_flows6_max", "Tracked IPv6 flows that fit", status.max_flows6.into()),
        ("xvs_flow_table_places", "Places of the flow table", status.flow_places.into()),
        ("xvs_flows_opening", "Half-open IPv4 connections", status.opening_flows),
        ("xvs_flows6_opening", "Half-open IPv6 connections", status.opening_flows6),
    ] {
        p.metric(Kind::Gauge, name, help).sample("", value);
    }
    let help = "Evictions of living flows that sweeps have found in samples of 1,024 flows for each table";
    p.metric(Kind::Counter, "xvs_flows_evicted_sampled", help).sample("", scrape.evicted);
    let help = "Events of the flow table: flows added and evicted, places missing, and races between CPUs";
    p.metric(Kind::Counter, "xvs_flow_table_events", help);
    for (event, count) in Event::ALL.iter().zip(scrape.flow_events) {
        p.sample(&labels(&[("event", event.as_str())]), count);
    }
    p.metric(Kind::Gauge, "xvs_sweep_seconds", "Seconds that the last sweep over all tracked flows took")
        .fraction(status.sweep_seconds);
    p.metric(Kind::Counter, "xvs_log_lines_lost", "Lines of the log that could not be written")
        .sample("", status.log_lines_lost);
    if let Some(doctor) = &status.doctor {
        self::doctor(p, doctor);
    }
    let help =
        "Times that the daemon attached the program again, or pinned it again, because it had been removed";
    p.metric(Kind::Counter, "xvs_interface_repairs", help).sample("", status.interface_repairs);
    p.metric(Kind::Gauge, "xvs_interface_info", "Interfaces that the program is attached to, and its mode");
    for interface in &status.interfaces {
        p.sample(&labels(&[("interface", &interface.name), ("mode", &interface.mode)]), 1);
    }
    daemon_metrics::interfaces(p, scrape);
    sync_metrics::write(p, &scrape.sync);
    daemon_metrics::write(p, scrape);
    daemon_metrics::process(p, status.start_time_seconds);
    p.metric(Kind::Gauge, "xvs_start_time_seconds", "When the daemon started, in seconds since 1970")
        .sample("", status.start_time_seconds);
    let build = labels(&[("version", &status.version), ("schema", &status.schema.to_string())]);
    p.metric(Kind::Gauge, "xvs_build_info", "Version of xvs and of the layout of its maps").sample(&build, 1);
    page.end();
}

fn all(page: &mut Page<impl FnMut(String)>, samples: &Samples, field: impl Fn(&Numbers) -> u64) {
    for (labels, numbers) in samples.iter() {
        page.sample(labels, field(numbers));
    }
}

/// Writes the last findings of the doctor. Two findings with equal labels become one with the value 2.
fn doctor(page: &mut Page<impl FnMut(String)>, doctor: &DoctorView) {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for finding in &doctor.findings {
        // The labels match those of the other metrics, so that they can be joined.
        let service = finding.service.as_deref().unwrap_or_default();
        let (protocol, service) = service.split_once(' ').unwrap_or(("", service));
        let labels = labels(&[
            ("check", &finding.check),
            ("severity", finding.severity.as_str()),
            ("protocol", protocol),
            ("service", service),
            ("real", finding.real.as_deref().unwrap_or_default()),
        ]);
        *found.entry(labels).or_default() += 1;
    }
    let help = "Findings of the doctor's last run, see docs/doctor.md";
    page.metric(Kind::Gauge, "xvs_doctor_findings", help);
    for (labels, times) in &found {
        page.sample(labels, *times);
    }
    page.metric(Kind::Gauge, "xvs_doctor_age_seconds", "Seconds since the doctor last looked")
        .sample("", doctor.seconds_ago);
    let help = "Duration of the doctor's last run, in seconds";
    page.metric(Kind::Gauge, "xvs_doctor_duration_seconds", help).fraction(doctor.took_seconds);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::daemon::{
        outcomes::{ConfigOutcome, Outcomes},
        scrape::SyncNumbers,
    };
    use lb_doctor::Check;
    use lb_model::finding::{DIRECTOR, FindingView, Severity};

    fn finding(check: Check, severity: Severity, service: Option<&str>, real: Option<&str>) -> FindingView {
        FindingView {
            check: check.as_str().to_owned(),
            service: service.map(str::to_owned),
            real: real.map(str::to_owned),
            severity,
            cause: "because".to_owned(),
            place: DIRECTOR.to_owned(),
            fix: "true".to_owned(),
        }
    }

    /// Returns a page with a sample of each metric.
    fn page() -> String {
        let labels = "{protocol=\"tcp\",service=\"192.0.2.1:80\"}";
        let numbers = Numbers {
            forward: Some(lb_model::Forward::Dr),
            is_up: Some(false),
            healthy: Some((0, 1)),
            ..Numbers::default()
        };
        let samples = Samples::of(&[(labels, numbers)]);
        let status = serde_json::json!({
            "version": "1", "schema": 1, "pid": 1, "uptime_seconds": 1, "adopted": false,
            "verified_instructions": null, "interfaces": [{"name": "eth0", "mode": "native"}], "vips": [],
            "services": 1, "reals": 1, "timeouts": {"tcp": 1, "tcp_fin": 1, "udp": 1}, "flows": 0, "max_flows": 1,
            "sweep_seconds": 0.1, "problems": [],
            "doctor": {"seconds_ago": 1, "took_seconds": 0.1, "findings": []},
            "follow": {"left": [], "changes": 1, "problem": null},
        });
        let scrape = Scrape {
            services: samples.clone(),
            reals: samples,
            reasons: Vec::new(),
            service_reasons: Vec::new(),
            status: serde_json::from_value(status).unwrap(),
            checks: Arc::default(),
            outcomes: Outcomes { config: Some(ConfigOutcome::default()), ..Outcomes::default() },
            is_unsaved: false,
            is_ready: true,
            is_drained: false,
            evicted: 0,
            flow_events: [1, 0, 0, 0, 0],
            traces: 1,
            lost_samples: 0,
            send_errors: vec![("eth0".to_owned(), 1)],
            sync: SyncNumbers::default(),
        };
        let mut text = String::new();
        write(&scrape, Page::new(Format::Classic, |part: String| text.push_str(&part)));
        text
    }

    #[test]
    fn the_docs_list_exactly_the_metrics_of_the_page() {
        let docs = include_str!("../../../docs/metrics.md");
        let rows = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
        let listed: BTreeSet<&str> =
            rows.flat_map(|(names, _)| names.split("`, `")).map(|name| name.trim_end_matches('`')).collect();
        let text = page();
        let written: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert_eq!(listed, written, "docs/metrics.md (left) and the page");
    }

    #[test]
    fn findings_have_the_labels_of_their_service_and_real() {
        let (web, real) = (Some("tcp 192.0.2.100:80"), Some("10.0.0.11:80"));
        let findings = vec![
            finding(Check::DrBlackhole, Severity::Error, web, real),
            finding(Check::DrBlackhole, Severity::Error, web, real),
            finding(Check::LocalClient, Severity::Warning, Some("group 7"), None),
            finding(Check::VipMissing, Severity::Error, None, None),
        ];
        let view = DoctorView { seconds_ago: 5, took_seconds: 0.5, is_outdated: false, findings };
        let mut text = String::new();
        let mut page = Page::new(Format::Classic, |part: String| text.push_str(&part));
        doctor(&mut page, &view);
        page.end();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"xvs_doctor_findings{check="dr-blackhole",severity="error",protocol="tcp",service="192.0.2.100:80",real="10.0.0.11:80"} 2"#,
                r#"xvs_doctor_findings{check="local-client",severity="warning",protocol="group",service="7",real=""} 1"#,
                r#"xvs_doctor_findings{check="vip-missing",severity="error",protocol="",service="",real=""} 1"#,
                "xvs_doctor_age_seconds 5",
                "xvs_doctor_duration_seconds 0.5",
            ]
        );
    }
}
