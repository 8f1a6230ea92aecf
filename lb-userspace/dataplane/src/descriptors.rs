// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limit of open files: the daemon raises it to the maximum, and reserves some descriptors for the unix
//! socket.
#![forbid(unsafe_code)]

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Number of descriptors that the daemon needs at run time: probes, commands of the doctor, larger tables,
/// the files of state and config, and the connections of the unix socket and of metrics.
const RESERVE: usize = 320;
/// Minimum number of descriptors for agents.
const FEW: usize = 8;

/// Maximum limit to set: more is never needed, and costs programs time that close every possible descriptor.
const MOST: u64 = 1 << 20;

/// Raises the soft limit of open files to the hard limit, or to `MOST` if that is lower.
pub fn raise_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = hard.min(MOST);
    if soft < wanted {
        // If the limit stays as it is and is too low, `spare` logs a warning.
        let _stays = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    }
}

/// Returns the limit of open files.
#[must_use]
pub fn limit() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE)
        .map_or(usize::MAX, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// Returns the number of descriptors that agents may use, besides those that the process has open now and
/// those in reserve.
#[must_use]
pub fn spare() -> usize {
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let spare = limit().saturating_sub(open + RESERVE).max(FEW);
    if spare <= FEW {
        tracing::warn!("{} open files are few: the daemon has {open} open and needs {RESERVE} more", limit());
    }
    spare
}
