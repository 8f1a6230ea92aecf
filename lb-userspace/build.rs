// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names the eBPF objects that `cargo xtask build-ebpf` builds. They need not exist yet: only the binary embeds them.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| PathBuf::from(env::var_os(name).expect("cargo sets it"));
    // OUT_DIR is FOLDER[/TRIPLE]/PROFILE/build/PACKAGE/out, and FOLDER is cargo's target folder, wherever it is.
    let out = variable("OUT_DIR");
    let folder = out.ancestors().nth(4).expect("the layout of cargo's target folder");
    let folder =
        if folder.ends_with(variable("TARGET")) { folder.parent().unwrap_or(folder) } else { folder };
    for (variable, object) in [("XVS_OBJECT", "xvs.bpf.o"), ("XVS_TRACING_OBJECT", "xvs-tracing.bpf.o")] {
        println!("cargo::rustc-env={variable}={}", folder.join("ebpf").join(object).display());
    }
}
