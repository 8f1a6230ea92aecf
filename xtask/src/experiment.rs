// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask experiment`: claims about load balancing, measured in the lab. The results are in
//! docs/experiments.

use anyhow::Result;

use crate::{build, setup, shell, workspace};

/// Options of the experiment task
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    experiment: Experiment,
}

#[derive(clap::Subcommand)]
enum Experiment {
    /// Measure the benefit of replies that bypass the director (tun, dr): throughput over 1 to 20 reals,
    /// against nat
    RepliesBypass,
}

/// Builds everything, runs the experiment as root and writes its plot below docs/experiments.
pub fn run(args: &Args) -> Result<()> {
    let Experiment::RepliesBypass = args.experiment;
    setup::run()?;
    build::release()?;
    let program = "replies_bypass";
    shell::run(shell::cargo().args(["build", "--release", "--package", "lb-tests", "--bin", program]))?;
    let plot = workspace::root().join("docs/experiments/replies-bypass.svg");
    shell::run(shell::root(workspace::target().join("release").join(program)).arg(plot))
}
