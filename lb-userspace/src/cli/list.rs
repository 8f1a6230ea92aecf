// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of every list, and lists that are shown again and again.
#![forbid(unsafe_code)]

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    filter::Filter,
    ui::{Output, Ui},
    units::Units,
};
use crate::api::{health::HealthView, types::ServiceView};
use lb_model::failure::Failure;

/// Least interval of `--watch`.
const LEAST: Duration = Duration::from_millis(200);
/// Moves the cursor to the first line, and erases what is below it.
const HOME: &str = "\x1b[H\x1b[J";

/// Returns a number of flows in lists: `-` if they are not counted.
#[must_use]
pub fn flows(service: &ServiceView, flows: u64, units: Units) -> String {
    if service.counts_flows() { units.count(flows) } else { "-".to_owned() }
}

/// Returns the texts of a service's row that a filter sees.
#[must_use]
pub fn service_texts(service: &ServiceView) -> Vec<String> {
    let words = [service.scheduler.as_str(), service.tracking.as_str()];
    std::iter::once(service.id.to_string()).chain(words.map(str::to_owned)).collect()
}

/// Keeps the reals whose rows pass a filter, and their services. A service without reals is a row of its own.
pub fn keep_matching(services: &mut Vec<ServiceView>, filter: &Filter) {
    if filter.is_empty() {
        return;
    }
    services.retain_mut(|service| {
        let texts = service_texts(service);
        if service.reals.is_empty() {
            return filter.passes(&texts);
        }
        service.reals.retain(|real| {
            let last = real.health.as_ref().map(HealthView::last_word).unwrap_or_default();
            let words = [real.address.to_string(), real.state().to_owned(), real.forward.to_string(), last];
            filter.passes(&[&texts[..], &words].concat())
        });
        !service.reals.is_empty()
    });
}

/// Options of every list.
#[derive(Args, Clone, Debug)]
pub struct ListOptions {
    /// Only rows that contain each of these words, and none of those with a leading `!`
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: Filter,
    /// Show the list again after each interval, until Ctrl-C [default interval: 2s]
    ///
    /// With JSON, each list is one line.
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s",
        value_parser = humantime::parse_duration
    )]
    watch: Option<Duration>,
    /// Print every digit of numbers, in bytes and seconds, instead of units such as k, M and GiB
    #[arg(long)]
    exact: bool,
    /// Print all columns, even if rows become longer than the terminal is wide
    #[arg(long)]
    wide: bool,
}

impl ListOptions {
    /// Returns the filter.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Returns how numbers are written.
    #[must_use]
    pub const fn units(&self) -> Units {
        Units { exact: self.exact }
    }

    /// Returns whether all columns are wanted.
    #[must_use]
    pub const fn is_wide(&self) -> bool {
        self.wide
    }

    /// Prints a list, again and again with `--watch`.
    ///
    /// # Errors
    /// If the interval is too short, if `fetch` fails, or if stdout cannot be written.
    pub async fn show<T: Serialize>(
        &self,
        ui: &mut Ui,
        fetch: impl AsyncFn() -> Result<T, Failure>,
        text: impl Fn(&T, &Ui) -> String,
    ) -> Result<(), Failure> {
        if self.wide {
            ui.widen();
        }
        let Some(period) = self.watch else {
            let text = |value: &T, ui: &Ui| text(value, ui);
            return ui.show_with(&fetch().await?, text);
        };
        if period < LEAST {
            return Err(Failure::wrong_input(format!("--watch={period:?} is less than {LEAST:?}")));
        }
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let is_page = io::stdout().is_terminal() && ui.output() == Output::Table;
        loop {
            ticks.tick().await;
            let value = fetch().await?;
            let page = match ui.output() {
                Output::Table => text(&value, ui),
                Output::Json => {
                    serde_json::to_string(&value).map_err(|error| Failure::failed(error.to_string()))?
                }
            };
            let (before, after) = match (is_page, ui.output()) {
                (true, _) => (HOME, "\n"),
                (false, Output::Table) => ("", "\n\n"),
                (false, Output::Json) => ("", "\n"),
            };
            let mut stdout = io::stdout();
            match stdout.write_all(format!("{before}{page}{after}").as_bytes()).and_then(|()| stdout.flush())
            {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(Failure::failed(format!("cannot write to stdout: {error}"))),
            }
        }
    }
}
