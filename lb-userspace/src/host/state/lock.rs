// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks: one writer of state files at a time, and one agent for each state file.

use std::{
    fs::{self, File},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::{StateError, directory};
use lb_model::failure::Failure;

/// Maximum time that a set-up waits for others: each takes a fraction of a second, an agent's too.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Takes the lock on a directory, and waits for the present holder.
pub(super) fn wait_for(mut handle: File) -> Result<Flock<File>, Errno> {
    let end = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(handle, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, error)) if error != Errno::EWOULDBLOCK || Instant::now() >= end => return Err(error),
            Err((back, _)) => handle = back,
        }
        #[expect(clippy::disallowed_methods, reason = "set-ups wait for each other, and are not async")]
        thread::sleep(Duration::from_millis(10));
    }
}

/// A lock of an agent on a state file: a second agent would undo the changes of the first one. Held until it
/// is dropped or the process ends; the empty file `STATE.lock` stays.
#[derive(Debug)]
pub struct AgentLock {
    _lock: Flock<File>,
}

impl AgentLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// If another agent has the lock.
    pub fn take(state: &Path) -> Result<Self, Failure> {
        let path = state.with_extension("lock");
        let failed = |reason| StateError::Io { doing: "lock", path: state.to_owned(), reason };
        fs::create_dir_all(directory(state)).map_err(failed)?;
        let file = File::create(&path).map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { _lock: lock }),
            Err(_) => Err(Failure::failed(format!("another agent uses the state file {}", state.display()))
                .hint("two agents, of two directors for instance, need a file each: give this one its own with --state")),
        }
    }
}
