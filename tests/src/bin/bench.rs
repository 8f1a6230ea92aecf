// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: the cost of a packet. docs/performance.md has the method and the results.
#![expect(clippy::print_stdout, reason = "results are what it prints")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use lb_tests::{
    artifacts,
    bench::{
        Choice, Effort, Measurer, Row, choice, control, end_to_end, flood, goals,
        report::{self, Report},
        tables,
    },
    packet::device::with_another_device,
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde::Serialize;

/// Measures what a packet costs the director, above sending it back untouched.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
#[expect(clippy::struct_excessive_bools, reason = "options of a command line")]
struct Cli {
    /// The whole product of methods, schedulers, traffic and sizes: hours
    #[arg(long)]
    full: bool,
    /// Measure the daemon instead: tables, applying, starting, scraping, memory
    #[arg(long)]
    control: bool,
    /// Measure packets and connections through the lab instead, beside nftables, `HAProxy` and, where there
    /// is one, IPVS
    #[arg(long)]
    end_to_end: bool,
    /// Seconds of connections for each of them
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Only rows whose name contains each of these words (can be repeated); `lost`: the effect of a SYN flood
    /// on known flows
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
    /// Measure a pinned XDP program beside rows of `dr` by IPv4 (can be repeated)
    #[arg(long, value_name = "NAME=PIN", value_parser = name_and_pin)]
    beside: Vec<(String, PathBuf)>,
    /// File for the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// File for the results as tables in Markdown: between comments `<!-- rows -->` and `<!-- /rows -->`, if
    /// the file has some
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// File for all rows, floors and goals as tables in Markdown: between `<!-- details -->` and `<!--
    /// /details -->`
    #[arg(long, value_name = "FILE")]
    details: Option<PathBuf>,
    /// The name in those comments: rows, control or end-to-end, if not given
    #[arg(long)]
    section: Option<String>,
    /// File for a plot of the cost by number of flows
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Measure nothing: take the results of an earlier run, as JSON
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Compare with an earlier run, as JSON; fails if a row became slower
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// By which factor a row must become slower for that
    #[arg(long, default_value_t = 1.15)]
    threshold: f64,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every row could be measured, and none became slower.
fn run(cli: &Cli) -> Result<bool> {
    let rows = rows(cli);
    if cli.list {
        for row in &rows {
            println!("{row}");
        }
        return Ok(true);
    }
    if cli.control {
        return control(cli);
    }
    if cli.end_to_end {
        return end_to_end(cli);
    }
    let (report, mut is_good) = match &cli.from {
        Some(path) => (Report::read(path)?, true),
        None => with_another_device(|device| measure(cli, &rows, device))?,
    };
    let verdicts = goals::judge(&report);
    println!("{}", tables::judged(&verdicts));
    if let Some(path) = &cli.json {
        report.write(path)?;
    }
    put(cli, "rows", &tables::markdown(&report, &verdicts))?;
    if let Some(path) = &cli.details {
        replace(path, "details", &tables::details(&report, &verdicts))?;
    }
    if let Some(path) = &cli.plot {
        fs::write(path, tables::plot(&report)).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &cli.compare {
        for change in report::compare(&Report::read(path)?, &report) {
            let is_worse = change.is_worse(cli.threshold);
            is_good &= !is_worse;
            let word = if is_worse { "  SLOWER" } else { "" };
            let report::Change { row, before, now } = change;
            println!("{:<66} {before:>6.1} -> {now:>6.1} ns  {:.2}x{word}", row.to_string(), change.ratio());
        }
    }
    Ok(is_good)
}

/// Measures the daemon.
fn control(cli: &Cli) -> Result<bool> {
    let figures = control::measure()?;
    write(cli, "control", &control::markdown(&figures), &figures)
}

/// Measures the lab.
fn end_to_end(cli: &Cli) -> Result<bool> {
    let effort = end_to_end::Effort { frames: cli.repeat, cpu: cpu(cli)?, seconds: cli.seconds };
    let all = end_to_end::measure(&artifacts::bench(), effort)?;
    write(cli, "end-to-end", &end_to_end::markdown(&all), &all)
}

fn write(cli: &Cli, section: &str, page: &str, results: &impl Serialize) -> Result<bool> {
    println!("{page}");
    if let Some(path) = &cli.json {
        fs::write(path, serde_json::to_string_pretty(results)? + "\n")?;
    }
    put(cli, section, page)?;
    Ok(true)
}

/// Writes tables to where they are wanted.
fn put(cli: &Cli, section: &str, text: &str) -> Result<()> {
    let Some(path) = &cli.markdown else { return Ok(()) };
    replace(path, cli.section.as_deref().unwrap_or(section), text)
}

/// Writes tables into a section of a page.
fn replace(path: &Path, section: &str, text: &str) -> Result<()> {
    let page = tables::put(fs::read_to_string(path).ok(), section, text);
    fs::write(path, page).with_context(|| path.display().to_string())
}

/// Measures the rows one after the other. Returns whether all of them could be.
fn measure(cli: &Cli, rows: &[Row], device: u32) -> Result<(Report, bool)> {
    pin(cpu(cli)?)?;
    let effort = Effort { rounds: cli.rounds, packets: cli.repeat };
    let object = artifacts::bench();
    let mut measurer = Measurer::new(&object, effort, device);
    measurer.beside(cli.beside.clone());
    let mut report = Report::here(effort.rounds, effort.packets);
    let mut all = true;
    for row in rows {
        match measurer.measure(row) {
            Ok(result) => {
                println!("{}", report::line(&result));
                report.rows.push(result);
            }
            Err(error) => {
                all = false;
                eprintln!("error: {error:#}");
            }
        }
    }
    drop(measurer);
    if cli.only.is_empty() || cli.only.iter().any(|words| words == "lost") {
        for choice in [Choice::MhAuto, Choice::Wrr] {
            report.floods.push(flood::measure(&object, choice)?);
        }
    }
    Ok((report, all))
}

fn name_and_pin(text: &str) -> Result<(String, PathBuf), String> {
    let (name, pin) = text.split_once('=').ok_or("a name, =, and the path of a pinned program")?;
    Ok((name.to_owned(), pin.into()))
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

/// Returns the CPU that measures: by default the last one.
fn cpu(cli: &Cli) -> Result<usize> {
    Ok(cli.cpu.unwrap_or(std::thread::available_parallelism()?.get() - 1))
}

/// Pins the process to one CPU, whose caches are warm.
fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}
