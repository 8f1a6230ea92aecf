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

/// Builds everything, then runs the tests: those of the lab as root.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    build::lab("lab", build_ebpf::run)?;

    let mut unit = shell::cargo();
    unit.args(["test", "--no-fail-fast", "--workspace", "--exclude", "lb-ebpf"]);
    unit.args(["--exclude", "lb-tests", "--lib", "--bins", "--"]).args(&args.filters);
    let mut doc = shell::cargo();
    doc.args(["test", "--doc", "--package", "lb-common", "--package", "lb-userspace", "--"])
        .args(&args.filters);
    let mut failed = Vec::new();
    let mut tests = |command: &mut Command| shell::watch(command, |line| failed.extend(failure(line)));
    let results = [tests(&mut unit), tests(&mut doc)];

    // Built as the present user, and run as root: root owns no file in the target folder.
    let mut lab = shell::cargo();
    lab.args(["test", "--no-fail-fast", "--package", "lb-userspace", "--package", "lb-tests"]);
    lab.args(["--test", "*", "--"]).args(&args.filters);
    if args.full {
        lab.env("XVS_FULL", "1");
    }
    if !shell::is_root() {
        say!("packet, namespace and lab tests need root: cargo runs them by sudo");
        lab.env(runner_variable()?, "sudo --preserve-env");
    }
    // The packet tests again, with their packets translated to IPv6.
    let mut six = shell::cargo();
    six.args(["test", "--package", "lb-tests", "--test", "packet", "--"]).args(&args.filters);
    six.env("XVS_TEST_IP", "6");
    if !shell::is_root() {
        six.env(runner_variable()?, "sudo --preserve-env");
    }
    let under_root = [tests(&mut lab), tests(&mut six)];
    // Names of tests do not refer to the fuzz targets.
    let fuzzed = if args.filters.is_empty() { fuzz::briefly() } else { Ok(()) };
    // All have run. The names come last, where a reader of a long log looks first.
    for name in failed {
        say!("failed: {name}");
    }
    results.into_iter().chain(under_root).chain([fuzzed]).collect()
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
    fn a_failed_test_is_found_by_its_line() {
        assert_eq!(failure("test lab::health::down ... FAILED").as_deref(), Some("lab::health::down"));
        assert_eq!(failure("test a - should panic ... FAILED").as_deref(), Some("a - should panic"));
        assert_eq!(failure("test lab::health::down ... ok"), None);
        assert_eq!(failure("test result: FAILED. 1 passed; 1 failed"), None);
    }
}
