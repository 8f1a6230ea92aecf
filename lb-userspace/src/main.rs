// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs`: the Linux Virtual Server rebuilt on XDP.

use std::process::ExitCode;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("XVS_OBJECT")); // built by `cargo xtask build-ebpf`

fn main() -> ExitCode {
    lb_userspace::cli::main(OBJECT)
}
