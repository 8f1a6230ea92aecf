// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lock of the pin directory: only one daemon may use it, because two writers would undo each other's changes.
#![forbid(unsafe_code)]

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use lb_model::failure::Failure;

/// A lock on a pin directory, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct PinLock {
    _lock: Flock<File>,
}

/// Purpose of the lock, which selects the error message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum For {
    /// Start of a daemon.
    Daemon,
    /// `xvs detach`.
    Detach,
}

impl PinLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// If another process has it.
    pub fn take(dir: &Path, wanted: For) -> Result<Self, Failure> {
        let file = File::open(dir).map_err(|error| {
            Failure::failed(format!("cannot open the pins under {}: {error}", dir.display()))
                .hint("run it as root: only their owner can use the pins")
        })?;
        let inode = file.metadata().map(|data| data.ino()).unwrap_or_default();
        let (file, error) = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Self { _lock: lock }),
            Err(refused) => refused,
        };
        drop(file);
        let dir = dir.display();
        if error != Errno::EWOULDBLOCK {
            return Err(Failure::failed(format!("cannot lock {dir}: {error}")));
        }
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let pid = holder(&locks, inode).map_or_else(String::new, |pid| format!(" (pid {pid})"));
        Err(match wanted {
            For::Daemon => Failure::failed(format!("another xvs daemon{pid} uses the pins under {dir}"))
                .hint("`xvs status` shows it; stop it first, or give this one its own --socket, --bpffs and --state"),
            For::Detach => Failure::failed(format!("the daemon{pid} that uses the pins under {dir} still runs"))
                .hint("stop it first; `xvs run --detach-on-exit` detaches when it stops"),
        })
    }
}

/// Returns the process that holds a lock on the file with this inode, according to the text of `/proc/locks`.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        // 1: FLOCK  ADVISORY  WRITE 1234 00:2a:5678 0 EOF
        let words: Vec<&str> = line.split_whitespace().collect();
        let of = words.get(5)?.rsplit(':').next()?.parse::<u64>().ok()?;
        (words.get(1) == Some(&"FLOCK") && of == inode).then(|| words.get(4)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_has_the_lock_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let lock = PinLock::take(dir.path(), For::Daemon).unwrap();
        let pid = std::process::id();
        let refused = PinLock::take(dir.path(), For::Daemon).unwrap_err();
        assert!(refused.message.contains(&format!("another xvs daemon (pid {pid}) uses")), "{refused}");
        let refused = PinLock::take(dir.path(), For::Detach).unwrap_err();
        assert!(refused.message.contains(&format!("the daemon (pid {pid})")), "{refused}");
        assert!(refused.message.ends_with("still runs"), "{refused}");
        drop(lock);
        PinLock::take(dir.path(), For::Detach).unwrap();
    }
}
