// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: everything, from unit tests to real traffic in namespaces.
//!
//! No test skips: one that lacks root or a feature of the kernel panics with the reason, so a run
//! that ends well has run them all.

use std::process::Command;

use anyhow::Result;

use crate::{
    build, build_ebpf, fuzz, setup,
    shell::{self, say},
};

/// Options of the test task
#[derive(clap::Args)]
pub struct Args {
    /// Extend the slow tests: more kills, more changes, at more moments
    #[arg(long)]
    full: bool,
    /// Run only tests whose name contains one of these
    filters: Vec<String>,
}

/// Words in the names of lab tests that mostly wait, for time-outs of probes or for daemons.
///
/// They use a seventh of a CPU each, so that several run at once. All other tests run as many at a time as
/// there are CPUs; so do those of `doctor_causes`, which would lose probes of hundreds of services.
const WAITING: [&str; 15] = [
    "agent",
    "claims",
    "config_life",
    "doctor::",
    "doctor_back",
    "doctor_edges",
    "doctor_faults",
    "doctor_firewall",
    "doctor_ipv6",
    "doctor_more",
    "doctor_ways",
    "drain",
    "explain",
    "host_",
    "real_server",
];
/// Test targets besides `lab`, all of which need root.
const UNDER_ROOT: [&str; 3] = ["differential", "namespaces", "packet"];
/// Number of waiting tests that run at once.
const WAITING_THREADS: &str = "3";

/// Builds everything, then runs the tests: those of the lab as root.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    build::lab("lab", build_ebpf::run)?;

    let mut unit = shell::cargo();
    unit.args(["test", "--no-fail-fast", "--workspace", "--exclude", "lb-ebpf"]);
    unit.args(["--exclude", "lb-tests", "--lib", "--bins", "--"]).args(&args.filters);
    if args.full {
        unit.env("XVS_FULL", "1");
    }
    let mut doc = shell::cargo();
    doc.args(["test", "--doc", "--package", "lb-common", "--package", "lb-userspace", "--"])
        .args(&args.filters);
    let mut failed = Vec::new();
    let mut tests = |command: &mut Command| shell::watch(command, |line| failed.extend(failure(line)));
    let results = [tests(&mut unit), tests(&mut doc)];

    // Built as the present user, and run as root: root owns no file in the target folder.
    let runner = if shell::is_root() { None } else { Some(runner_variable()?) };
    if runner.is_some() {
        say!("packet, namespace and lab tests need root: cargo runs them by sudo");
    }
    let under_root = |targets: &[&str]| {
        let mut command = shell::cargo();
        // The same packages each time, or cargo compiles their dependencies with other features.
        command.args(["test", "--no-fail-fast", "--package", "lb-userspace", "--package", "lb-tests"]);
        command.args(targets.iter().flat_map(|target| ["--test", target])).arg("--").args(&args.filters);
        if args.full {
            command.env("XVS_FULL", "1");
        }
        if let Some(variable) = &runner {
            command.env(variable, "sudo --preserve-env");
        }
        command
    };
    let mut commands = vec![under_root(&UNDER_ROOT)];
    // The packet tests again, with their packets translated to IPv6.
    let mut six = under_root(&["packet"]);
    six.env("XVS_TEST_IP", "6");
    commands.push(six);
    let mut lab = under_root(&["lab"]);
    if args.filters.is_empty() {
        let mut waiting = under_root(&["lab"]);
        waiting.args(["--test-threads", WAITING_THREADS]).args(WAITING);
        commands.push(waiting);
        lab.args(WAITING.iter().flat_map(|word| ["--skip", word]));
    }
    commands.push(lab);
    if args.full {
        // The packet tests again, with the tracing build and a check of each sample.
        for version in ["4", "6"] {
            let mut tracing = under_root(&["packet"]);
            tracing.env("XVS_TEST_IP", version).env("XVS_TEST_TRACING", "1");
            commands.push(tracing);
        }
    }
    let as_root: Vec<_> = commands.iter_mut().map(&mut tests).collect();
    // Names of tests do not refer to the fuzz targets.
    let fuzzed = if args.filters.is_empty() { fuzz::briefly() } else { Ok(()) };
    // All have run. The names come last, where a reader of a long log looks first.
    for name in failed {
        say!("failed: {name}");
    }
    results.into_iter().chain(as_root).chain([fuzzed]).collect()
}

/// Returns the name of the test that a line of cargo's output reports as failed.
fn failure(line: &str) -> Option<String> {
    let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    result.contains("FAILED").then(|| name.to_owned())
}

/// Returns the name of the variable with the runner by which cargo starts the host's programs.
fn runner_variable() -> Result<String> {
    Ok(format!("CARGO_TARGET_{}_RUNNER", shell::host()?.to_uppercase().replace(['-', '.'], "_")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_target_is_run() {
        let root = crate::workspace::root();
        let mut found = Vec::new();
        for folder in ["lb-userspace/tests", "tests/tests"] {
            for entry in std::fs::read_dir(root.join(folder)).expect("the folder exists") {
                let path = entry.expect("the folder can be read").path();
                let is_target = path.join("main.rs").exists() || path.extension() == Some("rs".as_ref());
                if is_target {
                    let name = path.file_stem().expect("a file has a name");
                    found.push(name.to_str().expect("names are ASCII").to_owned());
                }
            }
        }
        found.sort();
        let mut known = UNDER_ROOT.to_vec();
        known.push("lab");
        known.sort_unstable();
        assert_eq!(found, known);
    }

    #[test]
    fn a_failed_test_is_found_by_its_line() {
        assert_eq!(failure("test lab::health::down ... FAILED").as_deref(), Some("lab::health::down"));
        assert_eq!(failure("test a - should panic ... FAILED").as_deref(), Some("a - should panic"));
        assert_eq!(failure("test lab::health::down ... ok"), None);
        assert_eq!(failure("test result: FAILED. 1 passed; 1 failed"), None);
    }
}
