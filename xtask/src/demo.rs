// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask demo`: real traffic by every forwarding method, in namespaces.

use anyhow::Result;

use crate::{build, build_ebpf, shell, workspace};

/// Options of the demo task
#[derive(clap::Args)]
pub struct Args {
    /// Leave the lab up, and print how to enter and how to delete it
    #[arg(long)]
    keep: bool,
}

/// Builds everything and runs the demo as root.
pub fn run(args: &Args) -> Result<()> {
    shell::authenticate()?;
    build::lab("quick", build_ebpf::demo)?;
    let mut demo = shell::root(workspace::target().join("quick/demo"));
    if args.keep {
        demo.arg("--keep");
    }
    shell::run(&mut demo)
}
