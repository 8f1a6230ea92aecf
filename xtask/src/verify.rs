// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask verify`: every program through the kernel's verifier, here and on other kernels.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{
    build, shell,
    shell::say,
    vm::{self, Guest, Kernel},
    workspace,
};

/// Options of the verify task
#[derive(clap::Args)]
pub struct Args {
    /// Debian's kernels of these versions too, each in a virtual machine: 6.1,6.12
    #[arg(long, value_delimiter = ',', value_name = "VERSION")]
    kernels: Vec<String>,
}

/// Builds the programs and has each kernel verify them.
pub fn run(args: &Args) -> Result<()> {
    build::release()?;
    let verify = build_verify()?;
    say!("on the kernel that runs here:");
    let here = shell::run(&mut shell::root(&verify));
    if args.kernels.is_empty() {
        return here;
    }
    let mut refused: Vec<&str> = here.err().map(|_| "the running kernel").into_iter().collect();
    let virtual_machine = vm::install()?;
    for version in &args.kernels {
        let guest = Guest::new(&virtual_machine, Kernel::find_or_fetch(version)?);
        if guest.run(&verify.display().to_string(), vm::BOOT + VERIFY).is_err() {
            refused.push(version);
        }
    }
    if !refused.is_empty() {
        bail!("the programs do not pass on: {}; see above", refused.join(", "));
    }
    Ok(())
}

/// Seconds that an emulated machine may take to verify everything.
const VERIFY: u32 = 240;

fn build_verify() -> Result<PathBuf> {
    shell::run(shell::cargo().args(["build", "--release", "--package", "lb-tests", "--bin", "verify"]))?;
    Ok(workspace::target().join("release/verify"))
}
