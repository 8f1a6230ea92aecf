// SPDX-License-Identifier: MIT OR Apache-2.0
//! States of targets in a file beside the state file: they survive a restart of the daemon.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use lb_health::{Saved, Snapshot};
use serde::{Deserialize, Serialize};

use lb_control::state_file::{self, ReadError};
use lb_model::{ServiceId, failure::chain};

/// Content of the file.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Stored {
    /// States of the targets.
    pub(super) targets: Vec<Saved>,
    /// Services with fewer healthy reals than they need, for the hysteresis.
    #[serde(default)]
    pub(super) below: BTreeSet<ServiceId>,
}

/// Returns the name of the file for a state file: `state.health.json` beside `state.json`, and the whole name with
/// `.health` beside any other, so that each state file has its own.
#[must_use]
pub fn beside(state: &Path) -> PathBuf {
    if state.extension().is_some_and(|extension| extension == "json") {
        return state.with_extension("health.json");
    }
    let mut name = state.file_name().unwrap_or_default().to_owned();
    name.push(".health");
    state.with_file_name(name)
}

/// Returns the saved states; none if there is no valid file, since the first probes give new ones.
pub(super) fn read(path: &Path) -> Stored {
    let stored = state_file::read(path).and_then(|value| Ok(serde_json::from_value::<Stored>(value)?));
    match stored {
        Ok(stored) => stored,
        Err(ReadError::Missing) => Stored::default(),
        Err(error) => {
            tracing::warn!(file = %path.display(), error = chain(&error), "saved health is not used");
            Stored::default()
        }
    }
}

/// States that are to be saved.
#[derive(Debug)]
pub struct Unsaved {
    path: PathBuf,
    snapshot: Arc<Snapshot>,
    below: BTreeSet<ServiceId>,
}

/// Held while a file is written: a stop of the daemon must not meet the periodic write.
static WRITING: Mutex<()> = Mutex::new(());

impl Unsaved {
    pub(super) const fn new(path: PathBuf, snapshot: Arc<Snapshot>, below: BTreeSet<ServiceId>) -> Self {
        Self { path, snapshot, below }
    }

    /// Saves the states. A failure costs only the states of before a restart, and is logged.
    pub fn save(&self) {
        let _one_at_a_time = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let states = self.snapshot.states.iter();
        let targets: Vec<Saved> = states.filter_map(|(key, state)| Saved::of(key, state)).collect();
        let written = state_file::prepare(&self.path, &Stored { targets, below: self.below.clone() })
            .and_then(state_file::Prepared::commit);
        if let Err(error) = written {
            tracing::warn!(file = %self.path.display(), %error, "states of reals are not saved");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_files_that_differ_in_their_extension_have_files_of_their_own() {
        let beside = |name: &str| beside(Path::new(name)).display().to_string();
        assert_eq!(beside("/var/lib/xvs/state.json"), "/var/lib/xvs/state.health.json");
        assert_eq!(beside("/var/lib/xvs/state.db"), "/var/lib/xvs/state.db.health");
        assert_eq!(beside("state"), "state.health");
    }

    #[test]
    fn a_missing_or_broken_file_has_no_states() {
        let dir = tempfile::tempdir().unwrap();
        let path = beside(&dir.path().join("state.json"));
        assert!(path.ends_with("state.health.json"));
        assert!(read(&path).targets.is_empty());
        let below = BTreeSet::from([ServiceId::parse("tcp", "192.0.2.1:80").unwrap()]);
        Unsaved::new(path.clone(), Arc::default(), below.clone()).save();
        assert!(read(&path).targets.is_empty());
        assert_eq!(read(&path).below, below);
        std::fs::write(&path, "{").unwrap();
        assert!(read(&path).below.is_empty());
    }
}
