// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: the cost of a packet. docs/performance.md has the method and the results.

use std::ffi::OsString;

use anyhow::{Context as _, Result, ensure};

use crate::{
    build, setup, shell,
    vm::{self, Guest, Kernel},
    workspace,
};

/// Options of the benchmark task
#[derive(clap::Args)]
pub struct Args {
    /// In a virtual machine with Debian's kernel of that version, which has IPVS: 6.12
    #[arg(long, value_name = "VERSION")]
    vm: Option<String>,
    /// Options of the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    options: Vec<OsString>,
}

/// Builds everything and runs the benchmark as root.
pub fn run(args: &Args) -> Result<()> {
    if args.options.iter().any(|option| ["-h", "--help", "--list"].iter().any(|one| option == one)) {
        // Without a line before the answer, and without all that a measurement needs.
        let mut cargo = shell::cargo();
        cargo.args(["run", "--quiet", "--package", "lb-rows", "--"]).args(&args.options);
        let status = cargo.status().context("cannot start cargo")?;
        ensure!(status.success(), "{status}");
        return Ok(());
    }
    setup::run()?;
    build::release()?;
    shell::run(shell::cargo().args(["build", "--release", "--package", "lb-tests", "--bin", "bench"]))?;
    let program = workspace::target().join("release/bench");
    if args.options.iter().any(|option| option == "--end-to-end") {
        setup::packages(OTHERS)?;
    }
    let Some(version) = &args.vm else {
        return shell::run(shell::root(program).args(&args.options));
    };
    let machine = vm::install()?;
    let guest = Guest::new(&machine, Kernel::find_or_fetch(version)?);
    let options: Vec<_> = args.options.iter().map(|option| option.to_string_lossy()).collect();
    let command = format!(
        "modprobe -a veth ip_vs ip_vs_mh ipip nft_nat nft_hash && mkdir -p /var/lib/xvs-lab && mount -t tmpfs lab /var/lib/xvs-lab \
         && cp {} /run/ && export XVS_BIN=/run/xvs && cd {} && {} {}",
        workspace::target().join("release/xvs").display(),
        workspace::root().display(),
        program.display(),
        options.join(" "),
    );
    guest.run(&command, vm::BOOT + MOST)
}

/// Packages of other balancers, for comparison.
const OTHERS: &[&str] = &["haproxy", "ipvsadm"];

/// Seconds that it may take in an emulated machine.
const MOST: u32 = 1800;
