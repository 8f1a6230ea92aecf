// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask build`: the programs, then the binary that embeds them.

use anyhow::Result;

use crate::{build_ebpf, shell};

/// Options of the build task
#[derive(clap::Args)]
pub struct Args {
    /// Without optimisations in userspace (the programs always have them)
    #[arg(long)]
    debug: bool,
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

/// Builds the `xvs` that the lab uses, and the demo: by one call of cargo, so that what they share is compiled once.
pub fn lab() -> Result<()> {
    build_ebpf::run()?;
    let mut cargo = shell::cargo();
    cargo.args(["build", "--profile", "lab", "--package", "lb-userspace", "--bin", "xvs"]);
    shell::run(cargo.args(["--package", "lb-lab", "--bin", "demo"]))
}
