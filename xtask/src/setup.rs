// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask setup`: from a bare machine to one that builds and tests xvs.
//!
//! Each part looks before it acts, so that this costs well under a second when nothing is missing.

mod axe;
mod cargo_fuzz;
mod compiler;
mod linker;
mod packages;
mod schemathesis;

use std::{panic, path::PathBuf, thread};

use anyhow::Result;

pub use compiler::Compiler;

/// The compiler that builds the XDP programs.
pub struct Toolchain {
    /// A compiler that has the sources of its `core`.
    pub compiler: Compiler,
    /// Path of bpf-linker.
    pub linker: PathBuf,
}

/// Installs those of Debian's packages that are missing.
pub fn packages(names: &[&str]) -> Result<()> {
    packages::install(names)
}

/// Installs the packages of the build and the lab.
pub fn lab() -> Result<()> {
    packages::install(&[packages::BUILD, packages::LAB].concat())
}

/// Installs cargo-fuzz, which only fuzzing needs.
pub fn cargo_fuzz() -> Result<PathBuf> {
    cargo_fuzz::find_or_build()
}

/// Installs missing tools and packages of the build.
pub fn toolchain() -> Result<Toolchain> {
    packages::install(packages::BUILD)?;
    // One waits for the network and the disk, the other one for the compiler.
    thread::scope(|scope| {
        let linker = scope.spawn(linker::find_or_build);
        let compiler = compiler::find_or_install()?;
        let linker = linker.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?;
        Ok(Toolchain { compiler, linker })
    })
}

/// Installs everything that is missing for any task.
pub fn run() -> Result<()> {
    packages::install(&[packages::BUILD, packages::LAB, packages::TESTS].concat())?;
    axe::find_or_fetch()?;
    schemathesis::install()?;
    toolchain().map(drop)
}
