// SPDX-License-Identifier: MIT OR Apache-2.0
//! One moment as text, for `--once` and for stdout that is no terminal.
#![forbid(unsafe_code)]

use super::rows::{self, Sort};
use crate::{
    api::live::{Live, Load},
    cli::{filter::Filter, ui::Ui, units::Units},
};

/// Returns the page.
pub(super) fn page(live: &Live, filter: &Filter, sort: Sort, units: Units, ui: &Ui) -> String {
    let row = |name: String, state: &str, weight: String, load: &Load, last: String| {
        vec![
            name,
            state.to_owned(),
            weight,
            units.count(load.connections),
            units.count(load.packets_in),
            units.bytes(load.bytes_in),
            units.bytes(load.bytes_out),
            load.active.map_or_else(|| "-".to_owned(), |active| units.count(active)),
            last,
        ]
    };
    let mut table = Vec::new();
    for service in rows::services(&live.services, filter, sort, false) {
        let serving = format!("{}/{}", service.state.serving, service.reals.len());
        let word = rows::service_word(service);
        table.push(row(service.name.clone(), word, serving, &service.load, String::new()));
        let mut reals = rows::reals(service, filter, sort, false);
        if reals.is_empty() {
            // The filter is about the service.
            reals = rows::reals(service, &Filter::default(), sort, false);
        }
        for real in reals {
            let state = &real.state;
            let last = state.unreachable.as_ref().or(state.last.as_ref()).cloned().unwrap_or_default();
            let weight = state.effective_weight.to_string();
            table.push(row(format!("  {}", real.address), &state.word, weight, &real.load, last));
        }
    }
    let columns =
        ["SERVICE / REAL", "STATE", ">UP/W", ">NEW/S", ">IN P/S", ">IN B/S", ">OUT B/S", ">ACTIVE", "~LAST"];
    let mut page = ui.table(&columns, table);
    let lively = live.reasons.iter().filter(|reason| reason.fate != "sent" && reason.packets > 0);
    let reasons: Vec<Vec<String>> = lively
        .map(|one| {
            vec![one.reason.clone(), one.fate.clone(), units.count(one.rate), units.count(one.packets)]
        })
        .collect();
    if !reasons.is_empty() {
        page.push_str("\n\n");
        page.push_str(&ui.table(&["REASON", "FATE", ">/S", ">PACKETS"], reasons));
    }
    for problem in &live.daemon.problems {
        page.extend(["\nproblem: ", problem]);
    }
    if let more @ 1.. = live.daemon.problem_count.saturating_sub(live.daemon.problems.len()) {
        page.extend(["\nand ", &more.to_string(), " more problems, see `xvs status`"]);
    }
    if let Some(doctor) = live.doctor.as_ref().filter(|doctor| doctor.count > 0) {
        let found = lb_model::text::count(doctor.count, "finding");
        page.extend(["\ndoctor: ", &found, ", `xvs doctor` shows how to put it right"]);
    }
    page
}
