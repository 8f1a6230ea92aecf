// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: what a packet costs. docs/performance.md says how it is measured and what came of it.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, shell, workspace};

/// What the benchmark itself is told.
#[derive(clap::Args)]
pub struct Args {
    /// Options of the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    options: Vec<OsString>,
}

/// Builds everything and runs the benchmark as root.
pub fn run(args: &Args) -> Result<()> {
    build::release()?;
    let program = "bench";
    shell::run(shell::cargo().args(["build", "--release", "--package", "lb-tests", "--bin", program]))?;
    shell::run(shell::root(workspace::target().join("release").join(program)).args(&args.options))
}
