// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output of results: tables for people, JSON for programs. Results go to stdout, everything else to stderr.
#![forbid(unsafe_code)]

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    time::SystemTime,
};

use ratatui::crossterm::terminal;
use serde::Serialize;

pub use super::table::table;
use super::table::{Style, styled};
use crate::api::types::Done;
use lb_model::{failure::Failure, text};

/// How to print.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Output {
    /// Tables and sentences
    #[default]
    Table,
    /// JSON
    Json,
}

/// Printer of results.
pub struct Ui {
    output: Output,
    style: Style,
}

impl Ui {
    /// Creates a printer with that format.
    #[must_use]
    pub fn new(output: Output) -> Self {
        Self { output, style: style() }
    }

    /// Returns the format.
    #[must_use]
    pub const fn output(&self) -> Output {
        self.output
    }

    /// Returns whether states have colours on this stdout.
    #[must_use]
    pub const fn has_colours(&self) -> bool {
        self.style.has_colours
    }

    /// Prints tables without cutting them.
    pub const fn widen(&mut self) {
        self.style.width = None;
    }

    /// Returns a table in colours and as wide as the terminal, if stdout is one; see [`table`].
    #[must_use]
    pub fn table(&self, columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
        styled(columns, rows, self.style)
    }

    /// Prints as [`show`](Self::show); the text is made for this printer.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    pub fn show_with<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&T, &Self) -> String,
    ) -> Result<(), Failure> {
        let page = if self.output == Output::Table { text(value, self) } else { String::new() };
        self.show(value, |_| page)
    }

    /// Prints `value` as JSON or, in the other format, the result of `text`.
    ///
    /// # Errors
    /// If stdout cannot be written; a closed pipe is not an error.
    pub fn show<T: Serialize>(&mut self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let mut page = match self.output {
            Output::Table => text(value),
            Output::Json => {
                serde_json::to_string_pretty(value).map_err(|error| Failure::failed(error.to_string()))?
            }
        };
        if !page.is_empty() && !page.ends_with('\n') {
            page.push('\n');
        }
        match io::stdout().write_all(page.as_bytes()).and_then(|()| io::stdout().flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::failed(format!("cannot write to stdout: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Prints the changes that were made.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    pub fn done(&mut self, done: &Done) -> Result<(), Failure> {
        self.done_as(done, |done| match done.changes.as_slice() {
            [] => "nothing to change".to_owned(),
            lines => lines.join("\n"),
        })
    }

    /// Prints the changes that were or would be made, in the form of `text`. Warnings go to stderr.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    pub fn done_as(&mut self, done: &Done, text: impl FnOnce(&Done) -> String) -> Result<(), Failure> {
        self.warn(&done.warnings);
        self.show(done, text)
    }

    /// Prints warnings to stderr; JSON has them in the value itself.
    pub fn warn(&self, warnings: &[String]) {
        if self.output == Output::Table {
            for warning in warnings {
                say(format_args!("warning: {warning}"));
            }
        }
    }
}

/// Writes a line to stderr. A closed stderr or a full disk is not an error of the command.
pub fn say(line: impl fmt::Display) {
    drop(io::stderr().write_all(format!("{line}\n").as_bytes()));
}

/// Returns the time since `seconds` after 1970, in one unit: `12s`, `5m`, `3h`, `2d`; `-` for 0.
#[must_use]
pub fn age(seconds: u64) -> String {
    if seconds == 0 {
        return "-".to_owned();
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    text::duration(now.saturating_sub(seconds))
}

/// Returns the style of tables on stdout: colours, unless `NO_COLOR` is set, and the width of the terminal.
fn style() -> Style {
    if !io::stdout().is_terminal() {
        return Style::default();
    }
    let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Style { has_colours, width: terminal::size().ok().map(|(columns, _)| usize::from(columns)) }
}
