// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: the cost of a packet. docs/performance.md has the method and the results.
#![expect(clippy::print_stdout, reason = "results are what it prints")]

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use lb_tests::{
    artifacts,
    bench::{
        Choice, Effort, Measurer, Row, control, end_to_end, flood, goals,
        options::Options,
        report::{self, Report},
        tables, trace,
    },
    packet::device::with_another_device,
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde::Serialize;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every row could be measured, and none became slower.
fn run(cli: &Options) -> Result<bool> {
    let rows = cli.rows();
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
    if cli.trace {
        return trace(cli);
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
        let before = Report::read(path)?;
        ensure!(
            before.machine == report.machine,
            "{} was measured on {}, and this run on {}: figures of different CPUs cannot be compared",
            path.display(),
            before.machine,
            report.machine
        );
        for change in report::compare(&before, &report) {
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
fn control(cli: &Options) -> Result<bool> {
    let figures = control::measure()?;
    write(cli, "control", &control::markdown(&figures), &figures)
}

/// Measures the lab.
fn end_to_end(cli: &Options) -> Result<bool> {
    let effort = end_to_end::Effort { frames: cli.repeat, cpu: cpu(cli)?, seconds: cli.seconds };
    let all = end_to_end::measure(&artifacts::bench(), effort)?;
    write(cli, "end-to-end", &end_to_end::markdown(&all), &all)
}

/// Measures packets while a trace runs.
fn trace(cli: &Options) -> Result<bool> {
    pin(cpu(cli)?)?;
    let effort = Effort { rounds: cli.rounds, packets: cli.repeat };
    let report = trace::measure(&artifacts::bench(), effort)?;
    write(cli, "trace", &trace::markdown(&report), &report)
}

fn write(cli: &Options, section: &str, page: &str, results: &impl Serialize) -> Result<bool> {
    println!("{page}");
    if let Some(path) = &cli.json {
        fs::write(path, serde_json::to_string_pretty(results)? + "\n")?;
    }
    put(cli, section, page)?;
    Ok(true)
}

/// Writes tables to where they are wanted.
fn put(cli: &Options, section: &str, text: &str) -> Result<()> {
    let Some(path) = &cli.markdown else { return Ok(()) };
    replace(path, cli.section.as_deref().unwrap_or(section), text)
}

/// Writes tables into a section of a page.
fn replace(path: &Path, section: &str, text: &str) -> Result<()> {
    let page = tables::put(fs::read_to_string(path).ok(), section, text);
    fs::write(path, page).with_context(|| path.display().to_string())
}

/// Measures the rows one after the other. Returns whether all of them could be.
fn measure(cli: &Options, rows: &[Row], device: u32) -> Result<(Report, bool)> {
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

/// Returns the CPU that measures: by default the last one.
fn cpu(cli: &Options) -> Result<usize> {
    Ok(cli.cpu.unwrap_or(std::thread::available_parallelism()?.get() - 1))
}

/// Pins the process to one CPU, whose caches are warm.
fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}
