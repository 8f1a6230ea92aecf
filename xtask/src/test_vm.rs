// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test-vm`: what needs another kernel than this one, in a virtual machine.

use anyhow::Result;

use crate::{
    build, setup, shell,
    vm::{self, Guest, Kernel},
    workspace,
};

/// Which kernel to boot.
#[derive(clap::Args)]
pub struct Args {
    /// The version of Debian's kernel
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// Only these schedulers
    schedulers: Vec<String>,
}

/// What drives IPVS.
const PACKAGES: &[&str] = &["ipvsadm"];

/// Seconds that the tests may take in an emulated machine.
const TESTS: u32 = 1800;

/// Builds everything and runs the tests in a guest.
pub fn run(args: &Args) -> Result<()> {
    build::release()?;
    setup::packages(PACKAGES)?;
    let bins = [
        "--bin",
        "beside_ipvs",
        "--bin",
        "kernel_tunnels",
        "--bin",
        "kernel_host",
        "--bin",
        "kernel_links",
        "--bin",
        "kernel_sctp",
    ];
    shell::run(shell::cargo().args(["build", "--release", "--package", "lb-tests"]).args(bins))?;
    let machine = vm::install()?;
    let guest = Guest::new(&machine, Kernel::find_or_fetch(&args.kernel)?);
    let release = workspace::target().join("release");
    // The root file system is the host's: it has no unix sockets, and each start of a program reads it anew.
    let command = format!(
        "modprobe -a veth ip_vs ipip sit ip6_tunnel ip_gre ip6_gre fou fou6 8021q sch_netem sctp bonding && mkdir -p /var/lib/xvs-lab && mount -t tmpfs lab /var/lib/xvs-lab \
         && cp {} /run/ && export XVS_BIN=/run/xvs && {} && {} && {} && {} && {} {}",
        release.join("xvs").display(),
        release.join("kernel_tunnels").display(),
        release.join("kernel_host").display(),
        release.join("kernel_links").display(),
        release.join("kernel_sctp").display(),
        release.join("beside_ipvs").display(),
        args.schedulers.join(" "),
    );
    guest.run(&command, vm::BOOT + TESTS)
}
