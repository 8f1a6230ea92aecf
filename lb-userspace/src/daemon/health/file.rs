// SPDX-License-Identifier: MIT OR Apache-2.0
//! States of targets in a file beside the state file: they survive a restart of the daemon.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

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

/// Saves the states. A failure costs only the states of before a restart, and is logged.
pub(super) fn write(path: &Path, snapshot: &Snapshot) {
    let targets: Vec<Saved> =
        snapshot.states.iter().filter_map(|(key, state)| Saved::of(key, state)).collect();
    let written = state_file::prepare(path, &Stored { targets }).and_then(state_file::Prepared::commit);
    if let Err(error) = written {
        tracing::warn!(file = %path.display(), %error, "states of reals are not saved");
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
        write(&path, &Snapshot::default());
        assert!(path.exists() && read(&path).is_empty());
        std::fs::write(&path, "{").unwrap();
        assert!(read(&path).is_empty());
    }
}
