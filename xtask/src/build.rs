// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask build`: the programs, then the binary that embeds them.

use std::{panic, process::Command, thread};

use anyhow::Result;

use crate::{build_ebpf, shell};

/// Options of the build task
#[derive(clap::Args)]
pub struct Args {
    /// Without optimisations in userspace (the programs always have them)
    #[arg(long)]
    pub debug: bool,
}

/// Builds `xvs`.
pub fn run(args: &Args) -> Result<()> {
    build_ebpf::run()?;
    let mut cargo = shell::cargo();
    cargo.args(["build", "--package", "lb-userspace"]);
    if !args.debug {
        cargo.arg("--release");
    }
    shell::run(&mut cargo)
}

/// Builds the `xvs` that is measured.
pub fn release() -> Result<()> {
    run(&Args { debug: false })
}

/// Builds the `xvs` that the lab uses, and the demo, by a profile of Cargo.toml: `lab`, or `quick` for the demo alone.
///
/// Only the binary embeds the programs, so everything else is compiled while `programs` builds them.
pub fn lab(profile: &str, programs: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    thread::scope(|scope| {
        let programs = scope.spawn(programs);
        // The other thread's output would garble a progress bar.
        let compiled = shell::run(cargo_lab(profile, "--lib").env("CARGO_TERM_PROGRESS_WHEN", "never"));
        programs.join().unwrap_or_else(|panic| panic::resume_unwind(panic)).and(compiled)
    })?;
    shell::run(&mut cargo_lab(profile, "--bins"))
}

/// Returns a build of xvs and of the lab: by the same call of cargo, so that both use the same dependencies with the
/// same features.
fn cargo_lab(profile: &str, targets: &str) -> Command {
    let mut cargo = shell::cargo();
    cargo.args(["build", "--profile", profile, "--package", "lb-userspace", "--package", "lb-lab", targets]);
    cargo
}
