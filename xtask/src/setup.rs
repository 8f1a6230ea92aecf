// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask setup`: from a bare machine to one that builds and tests xvs.
//!
//! Each part looks before it acts, so that this costs well under a second when nothing is missing.

mod cargo_fuzz;
mod compiler;
mod linker;
mod packages;

use std::path::PathBuf;

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

/// Installs cargo-fuzz, which only fuzzing needs.
pub fn cargo_fuzz() -> Result<PathBuf> {
    cargo_fuzz::find_or_build()
}

/// Installs missing tools and packages.
pub fn run() -> Result<Toolchain> {
    packages::install(packages::NEEDED)?;
    Ok(Toolchain { compiler: compiler::find_or_install()?, linker: linker::find_or_build()? })
}
