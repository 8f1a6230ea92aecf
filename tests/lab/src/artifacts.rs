// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files that `cargo xtask build` leaves in the target folder.

use std::{env, path::PathBuf};

/// Returns the binary under test: `XVS_BIN` or, beside a program built by the profile `release` or `quick`, the
/// binary of that profile, else that of the profile `lab`, which is built in less time.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn xvs() -> PathBuf {
    let (target, profile) = target();
    let built_for_us = match profile {
        "release" => "release/xvs",
        "quick" => "quick/xvs",
        _ => "lab/xvs",
    };
    built(env::var_os("XVS_BIN").map_or_else(|| target.join(built_for_us), PathBuf::from))
}

/// Returns the path of schemathesis, which tests an API by its document.
///
/// # Panics
/// If it was not installed.
#[must_use]
pub fn schemathesis() -> PathBuf {
    let (target, _) = target();
    let path = target.join("tools/schemathesis/bin/schemathesis");
    assert!(path.exists(), "{} is missing: run `cargo xtask setup` first", path.display());
    path
}

/// Returns whether slow tests run longer: `cargo xtask test --full`.
#[must_use]
pub fn is_full() -> bool {
    env::var_os("XVS_FULL").is_some()
}

/// Returns the path of the programs that `xvs` embeds.
///
/// # Panics
/// If they were not built.
#[must_use]
pub fn programs() -> PathBuf {
    object("xvs.bpf.o")
}

/// Returns the path of the tracing build of the programs, which `xvs` embeds too.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn tracing() -> PathBuf {
    object("xvs-tracing.bpf.o")
}

/// Returns the path of the XDP program that passes everything.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn stub() -> PathBuf {
    object("stub.bpf.o")
}

/// Returns the path of the benchmark's programs.
///
/// # Panics
/// If they were not built.
#[must_use]
pub fn bench() -> PathBuf {
    object("bench.bpf.o")
}

/// Returns the path of the programs that run the flow table on all CPUs.
///
/// # Panics
/// If they were not built.
#[must_use]
pub fn storm() -> PathBuf {
    object("storm.bpf.o")
}

/// Returns the path of axe-core, which finds faults of accessibility in a page.
///
/// # Panics
/// If it was not fetched.
#[must_use]
pub fn axe() -> PathBuf {
    let path = target().0.join("tools/axe-core/package/axe.min.js");
    assert!(path.exists(), "{} is missing: run `cargo xtask setup` first", path.display());
    path
}

/// Returns the path of an object. Fuzz targets run from a folder within cargo's target folder.
fn object(name: &str) -> PathBuf {
    let exe = env::current_exe().expect("/proc is mounted");
    let path = exe.ancestors().map(|folder| folder.join("ebpf").join(name)).find(|path| path.exists());
    path.unwrap_or_else(|| panic!("{name} is missing: run `cargo xtask build-ebpf` first"))
}

/// Returns the target folder that this very program runs from, and the folder of its profile there.
fn target() -> (PathBuf, &'static str) {
    let exe = env::current_exe().expect("/proc is mounted");
    // Tests run from target/debug/deps, the demo from target/quick, the benchmark from target/release.
    let of_profile = |name: &'static str| {
        let folder = exe.ancestors().find(|folder| folder.ends_with(name))?;
        Some((folder.parent()?.to_owned(), name))
    };
    ["debug", "lab", "quick", "release"].into_iter().find_map(of_profile).expect("cargo's target folder")
}

#[track_caller]
fn built(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `cargo xtask build` first", path.display());
    path
}
