// SPDX-License-Identifier: MIT OR Apache-2.0
//! bpf-linker, built against Debian's LLVM and kept in the target folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    shell::{self, say},
    workspace,
};

/// The major version of the LLVM that the linker is built with.
pub const LLVM: u32 = 22;

/// aya 0.14 and aya-ebpf 0.2 were released with this one.
const VERSION: &str = "0.13.0";

/// Returns the path of the linker; builds it if it is missing or of another version.
pub fn find_or_build() -> Result<PathBuf> {
    let linker = workspace::tools().join("bin/bpf-linker");
    if !is_current(&linker) {
        build()?;
    }
    Ok(linker)
}

fn is_current(linker: &Path) -> bool {
    shell::ask(Command::new(linker).arg("--version")).is_some_and(|said| said.ends_with(VERSION))
}

fn build() -> Result<()> {
    say!("building bpf-linker {VERSION}: about a minute, once");
    let mut install = shell::cargo();
    install
        // Without this prefix the build ends with "unable to find library -lLLVM".
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}"))
        // Nearly all of its work is done by Debian's LLVM: half the time to build it is saved for nothing lost.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .args(["install", "bpf-linker", "--locked", "--force", "--version", VERSION])
        .args(["--no-default-features", "--features", &format!("llvm-{LLVM}"), "--root"])
        .arg(workspace::tools());
    shell::run(&mut install).context("cannot build bpf-linker")
}
