// SPDX-License-Identifier: MIT OR Apache-2.0
//! State of the screen: data, selection, filter and order.
#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    time::{SystemTime, UNIX_EPOCH},
};

use super::rows::{self, Sort};
use crate::{
    api::live::{Live, LiveReal, LiveService},
    cli::{filter::Filter, units::Units},
};
use lb_model::{ServiceId, failure::Failure};

/// Number of moments whose totals are kept for the plot.
const KEPT: usize = 240;

/// Part of the data that is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Page {
    /// All services.
    Services,
    /// Reals of a service.
    Reals(ServiceId),
    /// Packets by reason.
    Reasons,
    /// Findings of the doctor, and problems.
    Findings,
}

/// State of the screen.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the operator")]
pub(super) struct View {
    /// Latest data; `None` before the first.
    pub live: Option<Live>,
    /// Packets per second of all services, the latest last.
    pub history: VecDeque<u64>,
    /// Page that is shown.
    pub page: Page,
    /// Page to which Esc returns.
    pub below: Page,
    /// The help covers the page.
    pub has_help: bool,
    /// Text of the filter.
    pub filter: String,
    /// The filter is being written.
    pub is_typing: bool,
    /// Order of the rows.
    pub sort: Sort,
    /// The order is reversed.
    pub is_reversed: bool,
    /// New data are not shown.
    pub is_paused: bool,
    /// Number of the selected row.
    pub selected: usize,
    /// First row that is shown.
    pub offset: usize,
    /// Reason why there are no new data.
    pub lost: Option<String>,
    /// How numbers are written.
    pub units: Units,
    /// States have colours.
    pub has_colours: bool,
}

impl View {
    pub(super) fn new(filter: String, sort: Sort, units: Units, has_colours: bool) -> Self {
        Self {
            live: None,
            history: VecDeque::new(),
            page: Page::Services,
            below: Page::Services,
            has_help: false,
            filter,
            is_typing: false,
            sort,
            is_reversed: false,
            is_paused: false,
            selected: 0,
            offset: 0,
            lost: None,
            units,
            has_colours,
        }
    }

    /// Takes over new data, unless paused.
    pub(super) fn update(&mut self, live: Live) {
        self.lost = None;
        if self.is_paused {
            return;
        }
        let packets = live.services.iter().map(|service| service.load.packets_in + service.load.packets_out);
        self.history.push_back(packets.sum());
        if self.history.len() > KEPT {
            self.history.pop_front();
        }
        self.live = Some(live);
        if matches!(self.page, Page::Reals(_)) && self.service().is_none() {
            // The service was removed.
            self.show(Page::Services);
        }
        self.stay_inside();
    }

    /// Notes that the daemon does not answer.
    pub(super) fn lost(&mut self, failure: &Failure) {
        self.lost = Some(failure.message.clone());
    }

    /// Shows a page, from its first row on.
    pub(super) fn show(&mut self, page: Page) {
        (self.page, self.selected, self.offset) = (page, 0, 0);
    }

    /// Returns the filter.
    pub(super) fn parsed_filter(&self) -> Filter {
        let Ok(filter) = self.filter.parse();
        filter
    }

    /// Returns the service whose reals are shown.
    pub(super) fn service(&self) -> Option<&LiveService> {
        let Page::Reals(id) = self.page else { return None };
        self.live.as_ref()?.services.iter().find(|service| service.service == id)
    }

    /// Returns the services that are shown.
    pub(super) fn services(&self) -> Vec<&LiveService> {
        let all = self.live.as_ref().map_or(&[][..], |live| &live.services);
        rows::services(all, &self.parsed_filter(), self.sort, self.is_reversed)
    }

    /// Returns the reals that are shown.
    pub(super) fn reals(&self) -> Vec<&LiveReal> {
        let filter = self.parsed_filter();
        self.service().map_or_else(Vec::new, |one| rows::reals(one, &filter, self.sort, self.is_reversed))
    }

    /// Returns the number of rows of the page.
    pub(super) fn rows(&self) -> usize {
        match self.page {
            Page::Services => self.services().len(),
            Page::Reals(_) => self.reals().len(),
            Page::Reasons => self.live.as_ref().map_or(0, |live| live.reasons.len()),
            Page::Findings => self.findings().len(),
        }
    }

    /// Returns the problems of the daemon and the findings of the doctor, one line each.
    pub(super) fn findings(&self) -> Vec<String> {
        let Some(live) = &self.live else { return Vec::new() };
        let problems = live.daemon.problems.iter().cloned();
        let doctor = live.doctor.iter().flat_map(|doctor| &doctor.findings);
        let found = doctor.map(|one| {
            let about = one.about.as_deref().map_or_else(String::new, |about| format!(" {about}"));
            format!("{} {}{about}: {}", one.severity, one.check, one.cause)
        });
        let all = live.daemon.problem_count + live.doctor.as_ref().map_or(0, |doctor| doctor.count);
        let mut lines: Vec<String> = problems.chain(found).collect();
        if let more @ 1.. = all.saturating_sub(lines.len()) {
            lines.push(format!("and {more} more: see `xvs status` and `xvs doctor`"));
        }
        lines
    }

    /// Moves the selection by some rows.
    pub(super) fn step(&mut self, rows: isize) {
        self.selected = self.selected.saturating_add_signed(rows);
        self.stay_inside();
    }

    /// Keeps the selection inside of the list.
    pub(super) fn stay_inside(&mut self) {
        self.selected = self.selected.min(self.rows().saturating_sub(1));
    }

    /// Scrolls so that the selected row is among `height` rows.
    pub(super) fn scroll(&mut self, height: usize) {
        let height = height.max(1);
        self.offset = self.offset.clamp((self.selected + 1).saturating_sub(height), self.selected);
        self.offset = self.offset.min(self.rows().saturating_sub(height));
    }

    /// Returns the seconds since a time in seconds since 1970, by the clock of the data.
    pub(super) fn age(&self, since: u64) -> u64 {
        let now = match &self.live {
            Some(live) => live.time_ms / 1000,
            None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
        };
        now.saturating_sub(since)
    }
}
