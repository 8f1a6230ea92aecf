// SPDX-License-Identifier: MIT OR Apache-2.0
//! Origin of the services: the config file that they come from, and the changes since.
#![forbid(unsafe_code)]

use std::path::{self, Path};

use crate::api::config::ConfigStatus;
use lb_control::config::DirectorSection;

/// Owner of the number of changes, and of what is known about the config file.
pub(super) struct Origin {
    /// The `[director]` section that the daemon started with.
    section: DirectorSection,
    /// Config file from which the services come, and the value of `revision` when it was read.
    file: Option<(String, u64)>,
    /// Number of changes since the start.
    revision: u64,
}

impl Origin {
    pub(super) const fn new(section: DirectorSection) -> Self {
        Self { section, file: None, revision: 0 }
    }

    /// Returns the number of changes since the start.
    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    /// Counts changes of the services.
    pub(super) const fn count(&mut self, changes: usize) {
        self.revision += changes as u64;
    }

    /// Notes that the services come from a config file. Its name is that for every folder: those who edit the file
    /// are in another one than the daemon.
    pub(super) fn note_config_file(&mut self, file: &Path) {
        let file = path::absolute(file).unwrap_or_else(|_| file.to_owned());
        self.file = Some((file.display().to_string(), self.revision));
    }

    /// Returns the config file from which the services come.
    pub(super) fn file(&self) -> Option<&str> {
        self.file.as_ref().map(|(file, _)| file.as_str())
    }

    /// Returns the config file, and the number of changes since it was read.
    pub(super) fn status(&self) -> Option<ConfigStatus> {
        let (file, read) = self.file.as_ref()?;
        Some(ConfigStatus {
            file: file.clone(),
            changes: self.revision - read,
            differences: None,
            error: None,
        })
    }

    /// Returns a warning if a config file has changed keys that only take effect at the next start.
    pub(super) fn needs_restart(&self, section: &DirectorSection) -> Option<String> {
        self.section.needs_restart(section)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_since_the_file_was_read() {
        let mut origin = Origin::new(DirectorSection::default());
        origin.count(2);
        assert!(origin.status().is_none() && origin.file().is_none());
        origin.note_config_file(Path::new("xvs.toml"));
        origin.count(3);
        let status = origin.status().unwrap();
        assert_eq!((origin.revision(), status.changes), (5, 3));
        let file = Path::new(&status.file);
        assert!(file.is_absolute() && file.ends_with("xvs.toml"), "{status:?}");
    }
}
