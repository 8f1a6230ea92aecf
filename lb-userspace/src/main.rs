// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs`: the Linux Virtual Server rebuilt on XDP.

use std::process::ExitCode;

use lb_dataplane::object::Objects;

// Built by `cargo xtask build-ebpf`.
static OBJECTS: Objects = Objects {
    programs: aya::include_bytes_aligned!(env!("XVS_OBJECT")),
    tracing: aya::include_bytes_aligned!(env!("XVS_TRACING_OBJECT")),
};

fn main() -> ExitCode {
    lb_userspace::cli::main(OBJECTS)
}
