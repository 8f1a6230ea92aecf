// SPDX-License-Identifier: MIT OR Apache-2.0
//! Metrics of health checks.
#![forbid(unsafe_code)]

use std::time::Duration;

use lb_health::{BUCKETS, Snapshot};

use super::page::{Kind, Page, labels};
use crate::daemon::scrape::Samples;

/// Returns a time in microseconds as seconds.
fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

/// Writes the health of reals and services, and the counts of checks.
pub(super) fn write(
    page: &mut Page<impl FnMut(String)>,
    services: &Samples,
    reals: &Samples,
    checks: &Snapshot,
) {
    let help =
        "Verdict of the checks of the real: 1 is up, 0 is down; absent without checks and without a verdict";
    page.metric(Kind::Gauge, "xvs_real_up", help);
    for (labels, numbers) in reals.iter() {
        if let Some(is_up) = numbers.is_up {
            page.sample(labels, is_up.into());
        }
    }
    page.metric(Kind::Gauge, "xvs_service_healthy_reals", "Reals that are healthy; absent without checks");
    for (labels, numbers) in services.iter() {
        if let Some((healthy, _)) = numbers.healthy {
            page.sample(labels, healthy);
        }
    }
    let help = "Healthy reals that the service needs: min-healthy as a number; absent without checks";
    page.metric(Kind::Gauge, "xvs_service_min_healthy", help);
    for (labels, numbers) in services.iter() {
        if let Some((_, needed)) = numbers.healthy {
            page.sample(labels, needed);
        }
    }
    let help = "Whether the states of reals are frozen, because nearly all checks fail at once; 1 is yes";
    page.metric(Kind::Gauge, "xvs_checks_frozen", help).sample("", checks.frozen.is_some().into());
    page.metric(Kind::Counter, "xvs_check_runs", "Probes of a check by result, see docs/health.md");
    for (name, counts) in &checks.totals.checks {
        for (code, runs) in &counts.runs {
            page.sample(&labels(&[("check", name.as_str()), ("result", code.as_str())]), *runs);
        }
    }
    page.metric(Kind::Histogram, "xvs_check_duration_seconds", "Duration of the probes of a check");
    for (name, counts) in &checks.totals.checks {
        let bounds = BUCKETS.iter().map(|micros| seconds(*micros));
        let buckets = bounds.zip(counts.buckets);
        let larger = counts.buckets[BUCKETS.len()];
        page.histogram(("check", name.as_str()), buckets, larger, seconds(counts.sum_us));
    }
    let help = "Probes that started more than 100 ms after their time";
    page.metric(Kind::Counter, "xvs_check_late", help).sample("", checks.totals.late);
    let help = "Probes that started more than their interval after their time";
    page.metric(Kind::Counter, "xvs_check_missed", help).sample("", checks.totals.missed);
}

#[cfg(test)]
mod tests {
    use lb_health::CheckTotals;
    use lb_model::health::ResultCode;

    use super::*;
    use crate::{daemon::scrape::Numbers, server::page::Format};

    #[test]
    fn health_is_absent_without_a_verdict_and_counts_are_those_of_the_checks() {
        let numbers = |is_up, healthy| Numbers { is_up, healthy, ..Numbers::default() };
        let services =
            Samples::of(&[("{s=\"1\"}", numbers(None, Some((1, 2)))), ("{s=\"2\"}", Numbers::default())]);
        let reals = Samples::of(&[
            ("{r=\"1\"}", numbers(Some(true), None)),
            ("{r=\"2\"}", numbers(Some(false), None)),
            ("{r=\"3\"}", Numbers::default()),
        ]);
        let mut checks = Snapshot::default();
        let mut totals =
            CheckTotals { buckets: [1, 0, 0, 0, 0, 0, 0, 0, 2], sum_us: 4_500_000, ..CheckTotals::default() };
        totals.runs.insert(ResultCode::L7Ok, 1);
        totals.runs.insert(ResultCode::L4Timeout, 2);
        checks.totals.checks.insert("web".parse().unwrap(), totals);
        (checks.totals.late, checks.totals.missed) = (3, 1);
        let mut text = String::new();
        let mut page = Page::new(Format::Classic, |part: String| text.push_str(&part));
        write(&mut page, &services, &reals, &checks);
        page.end();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "xvs_real_up{r=\"1\"} 1",
                "xvs_real_up{r=\"2\"} 0",
                "xvs_service_healthy_reals{s=\"1\"} 1",
                "xvs_service_min_healthy{s=\"1\"} 2",
                "xvs_checks_frozen 0",
                "xvs_check_runs_total{check=\"web\",result=\"L4TOUT\"} 2",
                "xvs_check_runs_total{check=\"web\",result=\"L7OK\"} 1",
                "xvs_check_duration_seconds_bucket{check=\"web\",le=\"0.0005\"} 1",
                "xvs_check_duration_seconds_bucket{check=\"web\",le=\"0.001\"} 1",
                "xvs_check_duration_seconds_bucket{check=\"web\",le=\"0.005\"} 1",
                "xvs_check_duration_seconds_bucket{check=\"web\",le=\"0.01\"} 1",
                "xvs_check_duration_seconds_bucket{check=\"web\",le=\"0.05\"} 1",
                "xvs_check_duration_seconds_bucket{check=\"web\",le=\"0.1\"} 1",
                "xvs_check_duration_seconds_bucket{check=\"web\",le=\"0.5\"} 1",
                "xvs_check_duration_seconds_bucket{check=\"web\",le=\"1.0\"} 1",
                "xvs_check_duration_seconds_bucket{check=\"web\",le=\"+Inf\"} 3",
                "xvs_check_duration_seconds_count{check=\"web\"} 3",
                "xvs_check_duration_seconds_sum{check=\"web\"} 4.5",
                "xvs_check_late_total 3",
                "xvs_check_missed_total 1",
            ]
        );
    }
}
