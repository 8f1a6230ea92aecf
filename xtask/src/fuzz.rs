// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask fuzz`: libFuzzer on the parser, on the model beside the loaded programs, and on the synchronisation
//! protocol.

use std::fs;

use anyhow::{Result, bail};

use crate::{build_ebpf, setup, shell, workspace};

/// Fuzz targets.
const TARGETS: &[Target] = &[
    Target { name: "parser", longest: 3000, briefly: 30 },
    Target { name: "model", longest: 1000, briefly: 30 },
    Target { name: "sync", longest: 1472, briefly: 5 },
];

/// A fuzz target.
struct Target {
    name: &'static str,
    /// Length of the longest input in bytes.
    longest: u32,
    /// Duration in `cargo xtask test` in seconds.
    briefly: u32,
}

/// Options of the fuzz task
#[derive(clap::Args)]
pub struct Args {
    /// Only this one: parser, model or sync
    target: Option<String>,
    /// Duration of each target in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Builds the programs and the targets, then runs them one after the other.
pub fn run(args: &Args) -> Result<()> {
    let wanted = |name: &str| args.target.as_deref().is_none_or(|target| target == name);
    if !TARGETS.iter().any(|target| wanted(target.name)) {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        bail!("no such target\nhint: one of {}", names.join(", "));
    }
    // The programs run in network namespaces.
    setup::lab()?;
    build_ebpf::run()?;
    targets(TARGETS.iter().filter(|target| wanted(target.name)), |_| args.seconds)
}

/// Runs every target for a short time. The programs must be built.
pub fn briefly() -> Result<()> {
    targets(TARGETS.iter(), |target| target.briefly)
}

fn targets<'a>(targets: impl Iterator<Item = &'a Target>, seconds: impl Fn(&Target) -> u32) -> Result<()> {
    let cargo_fuzz = setup::cargo_fuzz()?;
    let (project, folder) = (workspace::root().join("tests/fuzz"), workspace::target().join("fuzz"));
    let mut build = std::process::Command::new(cargo_fuzz);
    // No sanitizer, which a stable compiler does not have: the code is safe, and the fuzzer searches for
    // panics and differences.
    build.args(["build", "--dev", "--sanitizer", "none", "--fuzz-dir"]).arg(&project);
    build.arg("--target-dir").arg(&folder).current_dir(&project);
    shell::run(&mut build)?;
    let programs = folder.join(format!("{}/debug", shell::host()?));
    for target in targets {
        let Target { name, longest, .. } = target;
        let seconds = seconds(target);
        // What was found before is where to begin: it is kept in the target folder.
        let (corpus, artifacts) = (folder.join("corpus").join(name), folder.join("artifacts"));
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&artifacts)?;
        // As root, as all that runs the programs.
        let mut fuzz = shell::root(programs.join(name));
        fuzz.args([&format!("-max_total_time={seconds}"), &format!("-max_len={longest}"), "-len_control=0"]);
        fuzz.args(["-print_final_stats=1", "-verbosity=0"]);
        fuzz.arg(format!("-artifact_prefix={}/{name}-", artifacts.display())).arg(&corpus);
        shell::run(&mut fuzz)?;
    }
    Ok(())
}
