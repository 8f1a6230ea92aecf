// SPDX-License-Identifier: MIT OR Apache-2.0
//! States of targets in a file beside the state file: they survive a restart of the daemon.
#![forbid(unsafe_code)]

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use lb_health::{Saved, Snapshot};
use serde::{Deserialize, Serialize};

use lb_control::state_file::{self, ReadError};
use lb_model::failure::chain;

#[derive(Deserialize, Serialize)]
struct Stored {
    targets: Vec<Saved>,
}

/// Returns the name of the file for a state file.
#[must_use]
pub fn beside(state: &Path) -> PathBuf {
    state.with_extension("health.json")
}

/// Returns the saved states; none if there is no valid file, since the first probes give new ones.
pub(super) fn read(path: &Path) -> Vec<Saved> {
    let stored = state_file::read(path).and_then(|value| Ok(serde_json::from_value::<Stored>(value)?));
    match stored {
        Ok(stored) => stored.targets,
        Err(ReadError::Missing) => Vec::new(),
        Err(error) => {
            tracing::warn!(file = %path.display(), error = chain(&error), "saved health is not used");
            Vec::new()
        }
    }
}

/// States that are to be saved.
#[derive(Debug)]
pub struct Unsaved {
    path: PathBuf,
    snapshot: Arc<Snapshot>,
}

/// Held while a file is written: a stop of the daemon must not meet the periodic write.
static WRITING: Mutex<()> = Mutex::new(());

impl Unsaved {
    pub(super) const fn new(path: PathBuf, snapshot: Arc<Snapshot>) -> Self {
        Self { path, snapshot }
    }

    /// Saves the states. A failure costs only the states of before a restart, and is logged.
    pub fn save(&self) {
        let _one_at_a_time = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let states = self.snapshot.states.iter();
        let targets: Vec<Saved> = states.filter_map(|(key, state)| Saved::of(key, state)).collect();
        let written =
            state_file::prepare(&self.path, &Stored { targets }).and_then(state_file::Prepared::commit);
        if let Err(error) = written {
            tracing::warn!(file = %self.path.display(), %error, "states of reals are not saved");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_broken_file_has_no_states() {
        let dir = tempfile::tempdir().unwrap();
        let path = beside(&dir.path().join("state.json"));
        assert!(path.ends_with("state.health.json"));
        assert!(read(&path).is_empty());
        Unsaved::new(path.clone(), Arc::default()).save();
        assert!(path.exists() && read(&path).is_empty());
        std::fs::write(&path, "{").unwrap();
        assert!(read(&path).is_empty());
    }
}
