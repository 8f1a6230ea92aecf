// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files that this process may have open: as many as the system lets it, some of them kept back for the unix socket.
#![forbid(unsafe_code)]

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the daemon opens for itself while it runs: probes, commands of the doctor, larger tables, the files of state and config,
/// and the connections of the unix socket and of metrics.
const RESERVE: usize = 320;
/// What agents may have at the least.
const FEW: usize = 8;

/// More than this is never needed, and costs programs time that close every descriptor there may be.
const MOST: u64 = 1 << 20;

/// Raises the limit to what the system lets this process have.
pub fn raise_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = hard.min(MOST);
    if soft < wanted {
        // Where it stays as it is, `spare` says so when that is too few.
        let _stays = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    }
}

/// The limit of open files.
#[must_use]
pub fn limit() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE)
        .map_or(usize::MAX, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// How many descriptors agents may take, besides what the process has open now and must be able to open.
#[must_use]
pub fn spare() -> usize {
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let spare = limit().saturating_sub(open + RESERVE).max(FEW);
    if spare <= FEW {
        tracing::warn!("{} open files are few: the daemon has {open} open and needs {RESERVE} more", limit());
    }
    spare
}
