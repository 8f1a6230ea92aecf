// SPDX-License-Identifier: MIT OR Apache-2.0
//! The project's own tasks: `cargo xtask --help` lists them.
//!
//! Every task installs what it needs first, so each of them works on a machine where nothing was prepared.

#![warn(unused_crate_dependencies)]

mod bench;
mod build;
mod build_ebpf;
mod cycles;
mod demo;
mod dist;
#[cfg(test)]
mod doc_links;
#[cfg(test)]
mod doc_paths;
#[cfg(test)]
mod doc_readme;
mod experiment;
mod fuzz;
mod setup;
mod shell;
mod test;
mod test_dist;
mod test_vm;
mod verify;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The tasks of the xvs project")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what any task needs; quick when nothing is missing
    Setup,
    /// Build the XDP programs into target/ebpf
    BuildEbpf,
    /// Build the XDP programs and the xvs binary
    Build(build::Args),
    /// Measure the cost of a packet: `cargo xtask bench --help` lists the options
    #[command(disable_help_flag = true)]
    Bench(bench::Args),
    /// Fail if modules of lb-userspace import each other in a circle
    Cycles,
    /// Show xvs at work: DR, TUN and NAT in network namespaces, with nginx behind them
    Demo(demo::Args),
    /// Make what is released, in target/dist: a static binary, a Debian package, the root of a container
    Dist(dist::Args),
    /// Run an experiment from docs/experiments
    Experiment(experiment::Args),
    /// Search for packets on which the programs or their parser differ from the model
    Fuzz(fuzz::Args),
    /// Run every test: unit tests, packet tests and lab tests
    Test(test::Args),
    /// Make what is released, and test it: dpkg, systemd, lintian, an empty root
    TestDist(test_dist::Args),
    /// Run the tests that need another kernel, in a virtual machine
    TestVm(test_vm::Args),
    /// Compare the verifier's instruction counts of the programs with a budget
    Verify(verify::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Setup => setup::run(),
        Task::BuildEbpf => build_ebpf::run(),
        Task::Build(args) => build::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Cycles => cycles::run(),
        Task::Demo(args) => demo::run(&args),
        Task::Dist(args) => dist::run(&args),
        Task::Experiment(args) => experiment::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Test(args) => test::run(&args),
        Task::TestDist(args) => test_dist::run(&args),
        Task::TestVm(args) => test_vm::run(&args),
        Task::Verify(args) => verify::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_of_every_task_is_consistent() {
        Cli::command().debug_assert();
    }
}
