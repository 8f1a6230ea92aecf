// SPDX-License-Identifier: MIT OR Apache-2.0
//! One daemon per pin directory: two writers would undo each other's changes.
#![forbid(unsafe_code)]

use std::{fs::File, path::Path};

use nix::fcntl::{Flock, FlockArg};

use crate::failure::Failure;

/// A lock on a pin directory, held until it is dropped or the process ends.
pub struct PinLock {
    _lock: Flock<File>,
}

impl PinLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// If somebody else has it.
    pub fn take(dir: &Path) -> Result<Self, Failure> {
        let file = File::open(dir)
            .map_err(|error| Failure::failed(format!("cannot open {}: {error}", dir.display())))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { _lock: lock }),
            Err((_, _)) => Err(Failure::failed(format!("another xvs daemon uses the pins under {}", dir.display()))
                .hint("`xvs status` shows it; stop it first, or give this one its own --socket, --bpffs and --state")),
        }
    }
}
