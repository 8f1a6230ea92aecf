// SPDX-License-Identifier: MIT OR Apache-2.0
//! bpf-linker, linked against Debian's LLVM and kept in the target folder.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    shell::{self, say},
    workspace,
};

/// The major version of the LLVM that the linker uses.
pub const LLVM: u32 = 22;

/// The package with the library of that LLVM. The linker needs no other part of LLVM, which has 500 MB.
pub const LIBRARY: &str = "libllvm22";

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
        .env("LLVM_PREFIX", prefix()?)
        // Nearly all of its work is done by Debian's LLVM: half the time to build it is saved for nothing lost.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .args(["install", "bpf-linker", "--locked", "--force", "--version", VERSION])
        .args(["--no-default-features", "--features", &format!("llvm-{LLVM}"), "--root"])
        .arg(workspace::tools());
    shell::run(&mut install).context("cannot build bpf-linker")
}

/// Returns a folder with the link `lib/libLLVM.so` to Debian's library. Debian has that link in a package with the
/// headers and static libraries of LLVM, which the linker does not need.
fn prefix() -> Result<PathBuf> {
    let library = PathBuf::from(format!("/usr/lib/{}-linux-gnu/libLLVM.so.{LLVM}.1", env::consts::ARCH));
    ensure!(library.exists(), "{} is missing, although {LIBRARY} is installed", library.display());
    let prefix = workspace::tools().join(format!("llvm-{LLVM}"));
    let link = prefix.join("lib/libLLVM.so");
    fs::create_dir_all(prefix.join("lib")).with_context(|| prefix.display().to_string())?;
    if !link.exists() {
        symlink(&library, &link).with_context(|| link.display().to_string())?;
    }
    Ok(prefix)
}
