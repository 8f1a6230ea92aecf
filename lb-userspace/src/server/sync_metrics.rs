// SPDX-License-Identifier: MIT OR Apache-2.0
//! Metrics of announcements of connections.
#![forbid(unsafe_code)]

use lb_control::sync::Dropped;

use super::page::{Kind, Page, labels};
use crate::daemon::scrape::SyncNumbers;

/// Writes the metrics.
pub(super) fn write(page: &mut Page<impl FnMut(String)>, numbers: &SyncNumbers) {
    let SyncNumbers { counters, waiting, announced, announced_max } = numbers;
    for (name, help, value) in [
        (
            "xvs_sync_messages_sent",
            "Messages with announcements of connections that were sent",
            counters.messages_sent,
        ),
        (
            "xvs_sync_send_errors",
            "Messages with announcements that the kernel refused to send",
            counters.send_errors,
        ),
        ("xvs_sync_sent", "Announcements of connections that were sent", counters.sent),
        (
            "xvs_sync_templates_sent",
            "Announcements of persistence entries that were sent",
            counters.templates_sent,
        ),
        (
            "xvs_sync_messages_received",
            "Messages with announcements that were received",
            counters.messages_received,
        ),
        ("xvs_sync_received", "Announcements that were received", counters.received),
        ("xvs_sync_malformed", "Malformed announcements", counters.malformed),
        (
            "xvs_sync_sequence",
            "Announcements of connections whose sequence numbers an application helper changes",
            counters.sequence,
        ),
        (
            "xvs_sync_imported",
            "Connections and templates from lists of IPVS's connections",
            counters.imported,
        ),
        (
            "xvs_sync_not_waiting",
            "Connections without a service or real that found no room to wait for it",
            counters.not_waiting,
        ),
    ] {
        page.metric(Kind::Counter, name, help).sample("", value);
    }
    page.metric(Kind::Counter, "xvs_sync_messages_dropped", "Received messages that were dropped, by reason");
    for (reason, number) in Dropped::ALL.iter().zip(counters.dropped) {
        page.sample(&labels(&[("reason", reason.as_str())]), number);
    }
    let help = "Announcements and imported connections by effect, see docs/sync.md";
    page.metric(Kind::Counter, "xvs_sync_effects", help);
    for (effect, number) in counters.effects.iter() {
        page.sample(&labels(&[("effect", effect.as_str())]), number);
    }
    for (name, help, value) in [
        ("xvs_sync_waiting", "Connections that wait for their service or real", *waiting),
        ("xvs_sync_announced_flows", "Announced flows in the flow table, as of the last sweep", *announced),
        ("xvs_sync_announced_flows_max", "Announced flows that the flow table takes", *announced_max),
    ] {
        page.metric(Kind::Gauge, name, help).sample("", value);
    }
}
