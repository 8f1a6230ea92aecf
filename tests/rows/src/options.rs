// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of the benchmark.

use std::path::PathBuf;

use clap::Parser;

use crate::{choice, row::Row};

/// The option of the task, which is not one of the benchmark itself.
const VM: &str =
    "Before all others, `--vm VERSION` measures in a virtual machine with Debian's kernel of that version.";

/// Measures what a packet costs the director, above sending it back untouched.
#[derive(Parser)]
#[command(name = "cargo xtask bench", after_help = VM)]
#[expect(clippy::struct_excessive_bools, reason = "options of a command line")]
pub struct Options {
    /// The whole product of methods, schedulers, traffic and sizes: hours
    #[arg(long)]
    pub full: bool,
    /// Measure the daemon instead: tables, applying, starting, scraping, memory
    #[arg(long)]
    pub control: bool,
    /// Measure packets and connections through the lab instead, beside nftables, `HAProxy` and, where there
    /// is one, IPVS
    #[arg(long)]
    pub end_to_end: bool,
    /// Measure packets while `xvs trace` runs instead
    #[arg(long)]
    pub trace: bool,
    /// Seconds of connections for each of them
    #[arg(long, default_value_t = 5)]
    pub seconds: u32,
    /// Only rows whose name contains each of these words (can be repeated); `lost`: the effect of a SYN flood
    /// on known flows
    #[arg(long, value_name = "WORDS")]
    pub only: Vec<String>,
    /// Show the names of the rows, and measure none
    #[arg(long)]
    pub list: bool,
    /// Rounds for each row
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Packets for each program in each round
    #[arg(long, default_value_t = 1_000_000)]
    pub repeat: u32,
    /// The CPU that all runs on; the last one if not given
    #[arg(long)]
    pub cpu: Option<usize>,
    /// Measure a pinned XDP program beside rows of `dr` by IPv4 (can be repeated)
    #[arg(long, value_name = "NAME=PIN", value_parser = name_and_pin)]
    pub beside: Vec<(String, PathBuf)>,
    /// File for the results as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// File for the results as tables in Markdown: between comments `<!-- rows -->` and `<!-- /rows -->`, if
    /// the file has some
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// File for all rows, floors and goals as tables in Markdown: between `<!-- details -->` and `<!--
    /// /details -->`
    #[arg(long, value_name = "FILE")]
    pub details: Option<PathBuf>,
    /// The name in those comments: rows, control, end-to-end or trace, if not given
    #[arg(long)]
    pub section: Option<String>,
    /// File for a plot of the cost by number of flows
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Measure nothing: take the results of an earlier run, as JSON
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Compare with an earlier run, as JSON; fails if a row became slower
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// By which factor a row must become slower for that
    #[arg(long, default_value_t = 1.15)]
    pub threshold: f64,
}

impl Options {
    /// Returns the rows to measure.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = if self.full { choice::full() } else { choice::usual() };
        let asked = |row: &Row| {
            let name = row.to_string();
            let has = |words: &String| {
                words.split_whitespace().all(|word| name.split(' ').any(|part| part == word))
            };
            self.only.is_empty() || self.only.iter().any(has)
        };
        rows.retain(asked);
        // One setup after the other, the largest tables first.
        rows.sort_by_key(|row| (row.setup(), row.path, row.traffic, std::cmp::Reverse(row.flows)));
        rows
    }
}

fn name_and_pin(text: &str) -> Result<(String, PathBuf), String> {
    let (name, pin) = text.split_once('=').ok_or("a name, =, and the path of a pinned program")?;
    Ok((name.to_owned(), pin.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_all_words_of_one_option() {
        let names = |line: &str| {
            let options = Options::parse_from(line.split(' '));
            options.rows().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(names("bench").len() > 100);
        let chosen = Options::parse_from(["bench", "--only", "dr v4 redirect"]).rows();
        assert_eq!(chosen.len(), 1, "{chosen:?}");
        assert!(names("bench --full").len() > names("bench").len());
    }
}
