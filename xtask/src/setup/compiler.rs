// SPDX-License-Identifier: MIT OR Apache-2.0
//! A compiler for the bpf target.
//!
//! That target has no prebuilt `core`, so the compiler must have the sources of its library
//! (`-Z build-std`), and an LLVM that is not newer than the linker's.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::{linker, packages};
use crate::shell::{self, say};

/// Debian's newest compiler, with its sources.
const DEBIAN: &[&str] = &["rustc-web", "rust-web-src", "cargo-web"];

/// Seconds after which rustup's server counts as out of reach.
const RUSTUP_PATIENCE: &str = "180";

/// A cargo and its rustc.
pub struct Compiler {
    rustc: PathBuf,
    cargo: PathBuf,
}

impl Compiler {
    /// Returns a command for this cargo, without the environment variables of the cargo that runs this
    /// process.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        for (name, _) in std::env::vars_os().filter(|(name, _)| misleads(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        // A stable compiler refuses `-Z` without this; a nightly one does not mind.
        command.env("RUSTC", &self.rustc).env("RUSTC_BOOTSTRAP", "1");
        command.current_dir(crate::workspace::root());
        command
    }
}

/// Returns whether an environment variable is one of those by which cargo names the compiler, package, flags
/// and libraries of `cargo xtask` itself.
fn misleads(variable: &str) -> bool {
    let kept = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"];
    let ours = ["CARGO", "RUSTC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"];
    let starts = |prefix: &&str| variable.starts_with(*prefix);
    ours.iter().any(starts) && !kept.iter().any(starts)
}

/// Returns the first usable compiler: rustup's nightly, the one in use, Debian's; then Debian's and rustup's
/// again after an attempt to install it.
pub fn find_or_install() -> Result<Compiler> {
    if let Some(compiler) = rustup("nightly").or_else(in_use).or_else(debian) {
        return Ok(compiler);
    }
    say!("no compiler here has the sources of its library; installing Debian's");
    if packages::install(DEBIAN).is_err() {
        say!("Debian's compiler is not available; trying rustup");
        let mut install = Command::new("timeout");
        install.args([RUSTUP_PATIENCE, "rustup", "toolchain", "install", "nightly"]);
        install.args(["--profile", "minimal", "--component", "rust-src"]);
        // The command's own message is on the screen, and ours below names the next step.
        shell::run(&mut install).unwrap_or_else(|error| say!("{error:#}"));
    }
    if let Some(compiler) = debian().or_else(|| rustup("nightly")) {
        return Ok(compiler);
    }
    bail!(
        "no compiler for the bpf target: it needs Rust {} or later, the sources of its library, and LLVM {} or earlier\n\
         hint: one of\n  rustup toolchain install nightly --component rust-src\n  apt-get install {}",
        env!("CARGO_PKG_RUST_VERSION"),
        linker::LLVM,
        DEBIAN.join(" "),
    )
}

fn rustup(toolchain: &str) -> Option<Compiler> {
    let mut print = Command::new("rustup");
    print.args(["run", toolchain, "rustc", "--print", "sysroot"]).env("RUSTUP_AUTO_INSTALL", "0");
    in_sysroot(Path::new(&shell::ask(&mut print)?))
}

fn in_use() -> Option<Compiler> {
    in_sysroot(Path::new(&shell::ask(Command::new("rustc").args(["--print", "sysroot"]))?))
}

/// Returns Debian's compiler by its path, since Debian's compilers are installed beside rustup's and are not
/// first on PATH.
fn debian() -> Option<Compiler> {
    in_sysroot(Path::new("/usr"))
}

fn in_sysroot(sysroot: &Path) -> Option<Compiler> {
    let compiler = Compiler { rustc: sysroot.join("bin/rustc"), cargo: sysroot.join("bin/cargo") };
    let has_sources = sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists();
    (has_sources && compiler.cargo.exists() && fits(&shell::ask(Command::new(&compiler.rustc).arg("-vV"))?))
        .then_some(compiler)
}

/// Returns whether the compiler, by the output of `rustc -vV`, is new enough for the workspace and old enough
/// for the linker.
fn fits(version: &str) -> bool {
    let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).map(major_minor);
    let Some((release, llvm)) = field("release: ").zip(field("LLVM version: ")) else { return false };
    release >= major_minor(env!("CARGO_PKG_RUST_VERSION")) && llvm.0 <= linker::LLVM
}

/// Returns the first two numbers of a version.
fn major_minor(version: &str) -> (u32, u32) {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_fits_by_release_and_llvm() {
        assert!(fits("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8"));
        assert!(fits("release: 1.97.0-nightly\nLLVM version: 22.1.4"));
        assert!(!fits("release: 1.85.0\nLLVM version: 19.1.7"), "too old for the workspace");
        assert!(!fits("release: 1.99.0-nightly\nLLVM version: 23.0.0"), "too new for the linker");
        assert!(!fits("nonsense"));
    }

    #[test]
    fn another_cargo_is_not_misled() {
        for ours in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR", "RUSTC_WRAPPER", "RUSTUP_TOOLCHAIN"] {
            assert!(misleads(ours), "{ours}");
        }
        for kept in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_MINE_INDEX", "PATH", "RUST_LOG"] {
            assert!(!misleads(kept), "{kept}");
        }
    }
}
