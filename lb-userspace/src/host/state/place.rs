// SPDX-License-Identifier: MIT OR Apache-2.0
//! The place of a state file, and that of an earlier one whose contents move there.

use std::path::{Path, PathBuf};

use super::{Remembered, StateError, StateFile};

/// The place of a state file.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    /// A file whose contents move to `path` before the first change.
    earlier: Option<PathBuf>,
}

impl Place {
    /// Returns a place without an earlier file.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), earlier: None }
    }

    /// Returns a place to which the contents of the file `earlier` move, if it exists.
    pub fn after(earlier: impl Into<PathBuf>, path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), earlier: Some(earlier.into()) }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the paths of both files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.path.as_path()).chain(self.earlier.as_deref())
    }

    /// Reads the contents that [`Place::open`] would find, without a lock, for read-only use; `None` if there
    /// is no file.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn peek(&self) -> Result<Option<Remembered>, StateError> {
        let own = StateFile::peek(&self.path)?;
        let Some(earlier) = &self.earlier else { return Ok(own) };
        match own {
            Some(own) if !own.is_empty() => Ok(Some(own)),
            own => Ok(StateFile::peek(earlier)?.or(own)),
        }
    }

    /// Opens the file as [`StateFile::open`] does, after moving the contents of the earlier file into it.
    ///
    /// # Errors
    /// If a file cannot be read or written, or another process holds a lock.
    pub fn open(&self) -> Result<StateFile, StateError> {
        if let Some(earlier) = self.earlier.as_deref().filter(|path| path.exists()) {
            StateFile::open(earlier)?.move_to(&self.path)?;
        }
        StateFile::open(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::state::Change;
    use lb_netlink::sysctl::{Name, Sysctl};

    #[test]
    fn a_dry_run_reads_what_a_real_run_finds() {
        let change = |before| Change::Sysctl { sysctl: Sysctl::new("all", Name::ArpIgnore), before };
        let changes = |place: &Place| place.peek().unwrap().map(|remembered| remembered.changes);
        for with_own in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let [old, new] = ["run/host.json", "lib/host.json"].map(|name| dir.path().join(name));
            let place = Place::after(&old, &new);
            assert_eq!(changes(&place), None);
            StateFile::open(&old).unwrap().record(change(0)).unwrap();
            if with_own {
                StateFile::open(&new).unwrap().record(change(7)).unwrap();
            }
            let seen = changes(&place).unwrap();
            assert_eq!(seen, [change(if with_own { 7 } else { 0 })]);
            assert_eq!(place.open().unwrap().changes(), seen);
            assert!(!old.exists() && changes(&place) == Some(seen));
        }
    }
}
