// SPDX-License-Identifier: MIT OR Apache-2.0
//! The API as an `OpenAPI` 3.1 document, generated from the types of requests and answers. `docs/openapi.json` is a
//! copy; a test compares them, and another one refuses changes that break clients of the last release.
#![forbid(unsafe_code)]

mod book;
#[cfg(test)]
mod compatible;

use serde_json::Value;

use super::{
    config::{Planned, Revision},
    connections::Selection,
    health::{CheckRun, CheckRunResult, CheckView},
    ipvs::{BatchDone, Table, Which},
    roles::{Question as RolesQuestion, Told},
    sync::{SyncChange, SyncImported, SyncStatus},
    trace::TraceQuestion,
    types::{
        AttachOptions, Change, Connection, Done, GroupView, ReadyView, StandingChange, Stats, Status,
        Together,
    },
};
use book::{Book, Param};
use lb_control::state::FlowLimits;
use lb_explain::{Explanation, Plan, Question};
use lb_model::{finding::FindingView, timeouts::TimeoutOptions};

/// Returns the document.
#[must_use]
pub fn document() -> Value {
    let mut book = Book::new();
    reads(&mut book);
    changes(&mut book);
    book.finish()
}

/// Returns the document as text.
#[must_use]
pub fn text() -> String {
    serde_json::to_string_pretty(&document()).unwrap_or_default() + "\n"
}

fn reads(book: &mut Book) {
    book.get("/v1/status", "status", "State of the daemon, and problems").answer::<Status>();
    book.get("/v1/stats", "stats", "Services and reals with their counters").answer::<Stats>();
    book.get("/v1/connections", "connections", "Tracked connections")
        .param(Param::text("service", "Only of this service"))
        .param(Param::text("client", "Only of clients with this address, or in this network"))
        .param(Param::text("real", "Only to this real; without a port, to all its ports"))
        .answer::<Vec<Connection>>();
    book.get("/v1/sync", "sync-status", "State of the announcements between directors")
        .answer::<SyncStatus>();
    book.get("/v1/groups", "group-list", "Groups of endpoints").answer::<Vec<GroupView>>();
    book.get("/v1/checks", "check-list", "Health checks and the states of reals by each")
        .answer::<Vec<CheckView>>();
    book.get("/v1/doctor", "doctor", "Examine the director and its reals").answer::<Vec<FindingView>>();
    book.get("/v1/events", "events", "Changes of health, as server-sent events")
        .param(Param::boolean("follow", "The stream goes on after the kept events (default: true)"))
        .param(Param::number("after", "Only events with a larger number"))
        .stream();
    book.get("/v1/live", "live", "A snapshot, then what changes, as server-sent events: docs/live.md")
        .fails("503", "Too many clients watch")
        .stream();
    book.get("/v1/openapi.json", "api-doc", "This document").text("application/json");
    book.get("/metrics", "metrics", "Metrics for Prometheus").text("text/plain");
    book.get("/v1/ready", "ready", "Whether the director can take over traffic; status 503 if it cannot")
        .answer::<ReadyView>();
    book.get("/v1/config", "export", "Services as a config file")
        .param(Param::boolean("all", "Defaults are written, too"))
        .text("text/plain");
    book.get("/v1/history", "config-history", "The last revisions of the config").answer::<Vec<Revision>>();
    book.get("/v1/revision", "config-show", "The config of a revision")
        .param(Param::number("number", "Number of the revision").required())
        .text("text/plain");
    book.post("/v1/plan", "plan", "Changes that a config file would make").body::<Plan>().answer::<Planned>();
    book.post("/v1/explain", "explain", "What happens to a packet")
        .body::<Question>()
        .answer::<Explanation>();
    book.post("/v1/ipvs", "ipvsadm-list", "The table as IPVS would show it")
        .body::<Which>()
        .answer::<Table>();
    book.post("/v1/roles", "roles", "Roles of a real server").body::<RolesQuestion>().answer::<Told>();
}

fn changes(book: &mut Book) {
    book.post("/v1/changes", "change", "Change a service, real, group or check")
        .body::<Change>()
        .answer::<Done>();
    book.post("/v1/together", "change-together", "Changes of which all or none are made")
        .body::<Together>()
        .answer::<Done>();
    book.post("/v1/batch", "batch", "Changes of which each is made or refused")
        .body::<Vec<Change>>()
        .answer::<BatchDone>();
    book.put("/v1/config", "apply", "Replace all services with those of a config file")
        .param(Param::text("name", "Name of the text in messages").required())
        .param(Param::boolean("take-over", "VIPs are added even if other machines have them"))
        .param(Param::boolean("remove-all", "A text with `service = []` removes all services"))
        .param(Param::number("confirm", "Seconds after which the config reverts, unless it is confirmed"))
        .body_text("A config file (TOML)")
        .answer::<Done>();
    book.post("/v1/confirm", "confirm", "Keep the config that waits for its confirmation").answer::<Done>();
    book.post("/v1/trace", "trace", "Packets and what becomes of them, as server-sent events: docs/trace.md")
        .body::<TraceQuestion>()
        .stream();
    book.post("/v1/connections/cut", "connections-cut", "End the selected tracked connections")
        .body::<Selection>()
        .answer::<Done>();
    book.post("/v1/sync", "sync-change", "Start or stop the sender or receiver of announcements")
        .body::<SyncChange>()
        .answer::<Done>();
    book.post("/v1/sync/import", "sync-import", "Take over connections of IPVS from a list of them")
        .body_text("The text of /proc/net/ip_vs_conn, or what `ipvsadm -Lcn` prints")
        .answer::<SyncImported>();
    book.post("/v1/timeouts", "timeouts", "Set timeouts of idle flows")
        .body::<TimeoutOptions>()
        .answer::<Done>();
    book.post("/v1/director", "director", "Drain or resume the director, or set its role")
        .body::<StandingChange>()
        .answer::<Done>();
    book.post("/v1/attach", "attach", "Attach the program to an interface again")
        .body::<AttachOptions>()
        .answer::<Done>();
    book.post("/v1/resize", "resize", "Enlarge the flow tables").body::<FlowLimits>().answer::<Done>();
    book.post("/v1/zero", "ipvsadm-zero", "Set the counters of ipvsadm to zero")
        .body::<Which>()
        .answer::<()>();
    book.post("/v1/check-runs", "check-run", "Probe a real once")
        .body::<CheckRun>()
        .answer::<CheckRunResult>();
}

/// Returns the method and the path of each operation of a document.
#[cfg(test)]
pub(crate) fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let all = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(|(method, _)| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    });
    let mut all: Vec<_> = all.collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = include_str!("../../../docs/openapi.json");
    const RELEASED: &str = include_str!("../../../docs/openapi-released.json");

    #[test]
    fn the_committed_document_is_that_of_the_code() {
        if std::env::var_os("XVS_BLESS").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
            std::fs::write(path, text()).unwrap();
            return;
        }
        let committed: Value = serde_json::from_str(COMMITTED).unwrap();
        assert!(
            committed == document(),
            "docs/openapi.json is not what the code says: `xvs api-doc > docs/openapi.json`, or run this test with \
             XVS_BLESS=1"
        );
    }

    #[test]
    fn clients_of_the_last_release_are_not_broken() {
        let released: Value = serde_json::from_str(RELEASED).unwrap();
        let broken = compatible::breaks(&released, &document());
        assert!(broken.is_empty(), "these changes break clients:\n{}", broken.join("\n"));
    }

    #[test]
    fn each_operation_says_who_may_ask_and_every_status() {
        let document = document();
        for (method, path) in operations(&document) {
            let operation = &document["paths"][&path][method.to_lowercase()];
            assert!(operation["operationId"].is_string() && operation["security"].is_array(), "{path}");
            for status in ["200", "400", "401", "403", "413", "421", "500"] {
                assert!(operation["responses"][status].is_object(), "{method} {path} has no {status}");
            }
        }
    }
}
