// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hands the eBPF object, which `cargo xtask build-ebpf` builds, to `include_bytes_aligned!`.

use std::{env, fs, path::PathBuf};

fn main() {
    let object = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/xvs.bpf.o");
    println!("cargo::rerun-if-changed={}", object.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("xvs.bpf.o");
    if let Err(error) = fs::copy(&object, &out) {
        println!(
            "cargo::error=no eBPF object at target/ebpf/xvs.bpf.o ({error}): run `cargo xtask build-ebpf` first"
        );
    }
}
