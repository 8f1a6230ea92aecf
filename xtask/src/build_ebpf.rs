// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask build-ebpf`: the XDP programs, as objects in target/ebpf.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use object::build::elf::{Builder, SectionData};

use crate::{
    setup::{self, Toolchain},
    shell::{self, say},
    workspace,
};

const TARGET: &str = "bpfel-unknown-none";

/// A binary, and the object that others embed or load.
type Object = (&'static str, &'static str);

/// The object of a release, which `xvs` embeds.
const XVS: Object = ("xvs-bpf", "xvs.bpf.o");
/// The same programs for `xvs trace`, which `xvs` embeds too.
const TRACING: Object = ("xvs-bpf", "xvs-tracing.bpf.o");
/// The program that the lab attaches to its veth devices.
const STUB: Object = ("stub-bpf", "stub.bpf.o");
/// The programs of the benchmark.
const BENCH: Object = ("bench-bpf", "bench.bpf.o");
/// The programs that run the flow table on all CPUs.
const STORM: Object = ("storm-bpf", "storm.bpf.o");

const RUSTFLAGS: &[&str] = &[
    // Type information comes from debug info, and the verifier's messages show source lines from it.
    "-Cdebuginfo=2",
    // Maps that are declared by their types need BTF. For all crates, not by profile: a callee
    // without it makes the program unloadable (aya #1649).
    "-Clink-arg=--btf",
    // LLVM 22 crashes when it expands an in-order copy with a known alignment of more than 8, such as of an
    // IPv6 address within a structure on the stack.
    "-Clink-arg=--disable-expand-memcpy-in-order",
    // Instructions of Linux 5.12 and newer: atomics that return the old value, 32-bit arithmetic.
    "-Ctarget-cpu=v3",
    // aya-ebpf asks which machine's registers a context has.
    HOST_ARCH,
];

const HOST_ARCH: &str = if cfg!(target_arch = "x86_64") {
    r#"--cfg=bpf_target_arch="x86_64""#
} else if cfg!(target_arch = "aarch64") {
    r#"--cfg=bpf_target_arch="aarch64""#
} else {
    panic!("name this machine's architecture here as aya-build does")
};

/// Builds every object.
pub fn run() -> Result<()> {
    build(&setup::toolchain()?, &[XVS, STUB, BENCH, STORM])
}

/// Installs what the demo needs, and builds the objects that it uses.
pub fn demo() -> Result<()> {
    setup::lab()?;
    build(&setup::toolchain()?, &[XVS, STUB])
}

/// Builds objects, and the tracing build of the programs.
fn build(toolchain: &Toolchain, objects: &[Object]) -> Result<()> {
    compile(toolchain, &[TRACING], &["--package", "lb-ebpf", "--features", "samples"])?;
    compile(toolchain, objects, &["--package", "lb-ebpf", "--package", "lb-tests-ebpf"])
}

/// Builds objects of packages.
fn compile(toolchain: &Toolchain, objects: &[Object], packages: &[&str]) -> Result<()> {
    let Toolchain { compiler, linker } = toolchain;
    // A separate folder: two compilers in one would rebuild each other's output.
    let target = workspace::target().join("bpf");
    let mut cargo = compiler.cargo();
    cargo
        .args(["build", "--release"])
        .args(packages)
        .args(objects.iter().flat_map(|(binary, _)| ["--bin", binary]))
        .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\u{1f}"))
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    shell::run(&mut cargo)?;

    let folder = workspace::target().join("ebpf");
    fs::create_dir_all(&folder)?;
    for (binary, object) in objects {
        copy_if_changed(&target.join(TARGET).join("release").join(binary), &folder.join(object))?;
    }
    Ok(())
}

/// Returns an object without DWARF, which is most of it. BTF has the types and the source lines that the kernel
/// shows.
fn without_debug_info(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    builder.delete_orphans();
    // LLVM keeps the names of sections in the table of all names; the library writes a table of their own.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// Copies an object without debug info, unless it is unchanged: an unchanged object keeps its time stamp, so
/// that nothing that embeds it is rebuilt.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let built = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let built = without_debug_info(&built).with_context(|| format!("cannot strip {}", from.display()))?;
    if fs::read(to).is_ok_and(|present| present == built) {
        return Ok(());
    }
    say!("{} is new: {} bytes", to.display(), built.len());
    fs::write(to, built).with_context(|| format!("cannot write {}", to.display()))
}
