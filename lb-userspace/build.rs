// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names the eBPF object that `cargo xtask build-ebpf` builds. It need not exist yet: only the binary embeds it.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| PathBuf::from(env::var_os(name).expect("cargo sets it"));
    // OUT_DIR is FOLDER[/TRIPLE]/PROFILE/build/PACKAGE/out, and FOLDER is cargo's target folder, wherever it is.
    let out = variable("OUT_DIR");
    let folder = out.ancestors().nth(4).expect("the layout of cargo's target folder");
    let folder =
        if folder.ends_with(variable("TARGET")) { folder.parent().unwrap_or(folder) } else { folder };
    println!("cargo::rustc-env=XVS_OBJECT={}", folder.join("ebpf/xvs.bpf.o").display());
}
