// SPDX-License-Identifier: MIT OR Apache-2.0
//! Features of the kernel that the programs use.
#![forbid(unsafe_code)]

use std::io;

use aya::{
    maps::MapType,
    programs::{ProgramError, ProgramType},
};

use super::load::LoadError;

/// Checks that the kernel has the features that the programs use, before anything is created.
pub(super) fn require_kernel() -> Result<(), LoadError> {
    let denied = |error: &io::Error| error.raw_os_error() == Some(libc::EPERM);
    match aya::sys::is_program_supported(ProgramType::Xdp) {
        Ok(true) => {}
        Ok(false) => return Err(LoadError::Kernel("XDP programs")),
        Err(ProgramError::SyscallError(e)) if denied(&e.io_error) => {
            return Err(LoadError::Privileges(e.io_error.to_string()));
        }
        Err(_) => return Err(LoadError::Kernel("BPF system call")),
    }
    for (map_type, name) in [
        (MapType::LruHash, "LRU hash maps"),
        (MapType::PerCpuArray, "per-CPU arrays"),
        (MapType::DevMapHash, "device maps (Linux 5.4)"),
        (MapType::RingBuf, "ring buffers (Linux 5.8)"),
    ] {
        match aya::sys::is_map_supported(map_type) {
            Ok(true) => {}
            Err(e) if denied(&e.io_error) => return Err(LoadError::Privileges(e.io_error.to_string())),
            _ => return Err(LoadError::Kernel(name)),
        }
    }
    Ok(())
}
