// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lock of the state file: of two daemons, the last writer would win.
#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::{
    fcntl::{Flock, FlockArg, OFlag},
    unistd::Pid,
};

use lb_model::failure::Failure;

/// A lock on a state file, held until it is dropped or the process ends. The file `STATE.lock` beside it
/// stays, and contains the id of the process that took the lock last.
#[derive(Debug)]
pub struct StateLock {
    _lock: Flock<File>,
}

impl StateLock {
    /// Takes the lock. Returns `None` without a lock if the lock file cannot be created, as on a read-only
    /// disk: then no other daemon can write the state either.
    ///
    /// # Errors
    /// If another process has the lock.
    pub fn take(state: &Path) -> Result<Option<Self>, Failure> {
        let mut path = state.as_os_str().to_owned();
        path.push(".lock");
        let path = Path::new(&path);
        if let Some(dir) = state.parent() {
            // The directory may exist; other errors show when the file is opened.
            drop(fs::create_dir_all(dir));
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
        let Ok(file) = options.open(path) else { return Ok(None) };
        if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // The process id only serves the next process's message; a full disk must not prevent a start.
            drop(lock.set_len(0).and_then(|()| fs::write(path, format!("{}\n", Pid::this()))));
            return Ok(Some(Self { _lock: lock }));
        }
        let owner = fs::read_to_string(path).unwrap_or_default();
        let owner = match owner.trim() {
            "" => "another xvs daemon".to_owned(),
            pid => format!("another xvs daemon (pid {pid})"),
        };
        Err(Failure::failed(format!("{owner} uses the state file {}", state.display()))
            .hint("stop it first, or give this one its own --state, --bpffs and --socket"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_file_has_one_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("deep/state.json");
        let first = StateLock::take(&state).unwrap();
        assert!(first.is_some());
        let refused = StateLock::take(&state).unwrap_err();
        assert!(refused.message.contains(&format!("(pid {}) uses the state file", Pid::this())), "{refused}");
        drop(first);
        assert!(StateLock::take(&state).unwrap().is_some());
    }
}
