// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test-vm`: tests that need another kernel, in a virtual machine.

use anyhow::Result;

use crate::{
    build, setup, shell,
    vm::{self, Guest, Kernel},
    workspace,
};

/// Options of the test task in a virtual machine
#[derive(clap::Args)]
pub struct Args {
    /// The version of Debian's kernel
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// Only these of the programs that run in the machine
    #[arg(long, value_name = "PROGRAM", value_parser = PROGRAMS)]
    only: Vec<String>,
    /// A debug build, which is built fast and runs slowly
    #[arg(long)]
    debug: bool,
    /// Only these of what the last program tries: schedulers, if `--only` names no other
    words: Vec<String>,
}

/// Packages that control IPVS.
const PACKAGES: &[&str] = &["ipvsadm", "keepalived", "ldirectord"];

/// Programs that run in the guest, one after the other. The last one gets the words of the command line.
const PROGRAMS: [&str; 8] = [
    "kernel_tunnels",
    "kernel_host",
    "kernel_links",
    "kernel_cards",
    "kernel_sctp",
    "beside_sync",
    "beside_ipvs_follow",
    "beside_ipvs",
];

/// Network cards: the first for the lab's switch, the others for its director.
const CARDS: &[&str] = &["e1000", "virtio-net-pci", "vmxnet3", "e1000e"];

/// Seconds that the tests may take in an emulated machine.
const TESTS: u32 = 3600;
/// Seconds that one of the programs may take, so that the others get their time.
const PROGRAM: u32 = 1200;

/// Builds everything and runs the tests in a guest.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    build::run(&build::Args { debug: args.debug })?;
    setup::packages(PACKAGES)?;
    let programs =
        || PROGRAMS.iter().filter(|one| args.only.is_empty() || args.only.iter().any(|only| only == *one));
    let mut cargo = shell::cargo();
    cargo.args(["build", "--package", "lb-tests"]);
    if !args.debug {
        cargo.arg("--release");
    }
    shell::run(cargo.args(programs().flat_map(|program| ["--bin", program])))?;
    let machine = vm::install()?;
    let guest = Guest::new(&machine, Kernel::find_or_fetch(&args.kernel)?).with_cards(CARDS);
    let folder = workspace::target().join(if args.debug { "debug" } else { "release" });
    // The root file system is the host's: it has no unix sockets, and each start of a program reads it again.
    let command = format!(
        "modprobe -a veth ip_vs ipip sit ip6_tunnel ip_gre ip6_gre fou fou6 8021q sch_netem sctp bonding e1000 e1000e vmxnet3 virtio_net && mkdir -p /var/lib/xvs-lab && mount -t tmpfs lab /var/lib/xvs-lab \
         && cp {} /run/ && export XVS_BIN=/run/xvs && {} {}",
        folder.join("xvs").display(),
        programs()
            .map(|program| format!("timeout --kill-after=5 {PROGRAM} {}", folder.join(program).display()))
            .collect::<Vec<_>>()
            .join(" && "),
        args.words.join(" "),
    );
    guest.run(&command, vm::BOOT + TESTS)
}
