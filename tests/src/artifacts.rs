// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `cargo xtask build` leaves in the target folder.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The binary under test: `XVS_BIN`, or the release build.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn xvs() -> PathBuf {
    built(env::var_os("XVS_BIN").map_or_else(|| target().join("release/xvs"), PathBuf::from))
}

/// The XDP program that passes everything.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn stub() -> PathBuf {
    built(target().join("ebpf/stub.bpf.o"))
}

/// The programs of the benchmark.
///
/// # Panics
/// If they were not built.
#[must_use]
pub fn bench() -> PathBuf {
    built(target().join("ebpf/bench.bpf.o"))
}

/// The target folder that this very program runs from.
fn target() -> PathBuf {
    let exe = env::current_exe().expect("/proc is mounted");
    // Tests run from target/debug/deps, the demo from target/release.
    let profile = exe.ancestors().find(|dir| dir.ends_with("debug") || dir.ends_with("release"));
    profile.and_then(Path::parent).expect("cargo's target folder").to_owned()
}

#[track_caller]
fn built(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `cargo xtask build` first", path.display());
    path
}
