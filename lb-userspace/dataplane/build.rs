// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hands the eBPF object, which `cargo xtask build-ebpf` builds, to `include_bytes_aligned!`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // Cargo's target folder, wherever it is: OUT_DIR is target[/TRIPLE]/PROFILE/build/PACKAGE/out.
    let targets = out.ancestors().skip(4).take(2).map(|dir| dir.join("ebpf/xvs.bpf.o"));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/xvs.bpf.o");
    let object = targets.into_iter().find(|object| object.exists()).unwrap_or(workspace);
    println!("cargo::rerun-if-changed={}", object.display());
    if let Err(error) = fs::copy(&object, out.join("xvs.bpf.o")) {
        println!(
            "cargo::error=no eBPF object at {} ({error}): run `cargo xtask build-ebpf` first",
            object.display()
        );
    }
}
