// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: what a packet costs. docs/performance.md says how and what came of it.
#![expect(clippy::print_stdout, reason = "results are what it prints")]

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use lb_tests::{
    artifacts,
    bench::{Effort, Measurer, Row, choice, report},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// Measures what a packet costs the director, above sending it back untouched.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Cli {
    /// The whole product of methods, schedulers, traffic and sizes: hours
    #[arg(long)]
    full: bool,
    /// Only rows whose name contains each of these words (can be repeated)
    #[arg(long, value_name = "WORDS")]
    only: Vec<String>,
    /// Show the names of the rows, and measure none
    #[arg(long)]
    list: bool,
    /// Rounds for each row
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Packets for each program in each round
    #[arg(long, default_value_t = 1_000_000)]
    repeat: u32,
    /// The CPU that all runs on; the last one if not given
    #[arg(long)]
    cpu: Option<usize>,
    /// Where results are written as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let rows = rows(&cli);
    if cli.list {
        for row in &rows {
            println!("{row}");
        }
        return Ok(());
    }
    pin(cli.cpu)?;
    let effort = Effort { rounds: cli.rounds, packets: cli.repeat };
    let mut measurer = Measurer::new(&artifacts::bench(), effort);
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for row in &rows {
        match measurer.measure(row) {
            Ok(result) => {
                println!("{}", report::line(&result));
                done.push(result);
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                failed.push(*row);
            }
        }
    }
    let report = report::Report {
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        machine: String::new(),
        rounds: effort.rounds,
        packets: effort.packets,
        rows: done,
    };
    if let Some(path) = &cli.json {
        fs::write(path, serde_json::to_string_pretty(&report)?)
            .with_context(|| path.display().to_string())?;
    }
    anyhow::ensure!(failed.is_empty(), "{} rows could not be measured", failed.len());
    Ok(())
}

fn rows(cli: &Cli) -> Vec<Row> {
    let mut rows = if cli.full { choice::full() } else { choice::usual() };
    let asked = |row: &Row| {
        let name = row.to_string();
        let has =
            |words: &String| words.split_whitespace().all(|word| name.split(' ').any(|part| part == word));
        cli.only.is_empty() || cli.only.iter().any(has)
    };
    rows.retain(asked);
    // One setup after the other, the largest tables first.
    rows.sort_by_key(|row| (row.setup(), row.path, row.traffic, std::cmp::Reverse(row.flows)));
    rows
}

/// Stays on one CPU: what is measured has caches there.
fn pin(cpu: Option<usize>) -> Result<()> {
    let cpus = std::thread::available_parallelism()?.get();
    let cpu = cpu.unwrap_or(cpus - 1);
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}
