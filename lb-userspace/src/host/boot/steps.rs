// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps that write the files for the next start, and enable the unit.

use std::path::{Path, PathBuf};

use super::{
    Boot, BootError,
    files::{Disk, Found, real, refused},
};
use crate::host::{
    Done, Outcome,
    plan::{Entry, Step},
};

impl Boot {
    /// Reads the present files.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn disk(&self) -> Result<Disk, BootError> {
        let files = self.files().map(|(path, _)| path);
        let (link, _) = self.link();
        Disk::read(files.iter().map(PathBuf::as_path).chain([link.as_path()]))
    }

    /// Returns the steps that write the files and enable the unit, given the present files.
    ///
    /// # Errors
    /// If there is a link in the place of a file, or the unit's link leads elsewhere.
    pub fn plan(&self, mut disk: Disk) -> Result<Vec<Entry>, BootError> {
        let mut entries = Vec::new();
        for (path, text) in self.files() {
            let missing = disk.make_directories_above(&path);
            entries.extend(missing.into_iter().map(|path| Entry::Step(Step::Directory { path })));
            let before = match disk.at(&path) {
                Found::Nothing => None,
                Found::Text(before) if *before == text => {
                    entries.push(already(&path, "written"));
                    continue;
                }
                Found::Text(before) => Some(before.clone()),
                // Restore could not make the link again, and a link may mean that the unit is masked.
                Found::Link(_) => {
                    return Err(refused("write", &path, "it is a link, such as `systemctl mask` makes"));
                }
            };
            entries.push(Entry::Step(Step::File { path, text, before }));
        }
        let (path, unit) = self.link();
        let missing = disk.make_directories_above(&path);
        entries.extend(missing.into_iter().map(|path| Entry::Step(Step::Directory { path })));
        match disk.at(&path) {
            Found::Nothing => {
                let name = unit.file_name().unwrap_or_default();
                entries.push(Entry::Step(Step::Link { path, target: Path::new("..").join(name) }));
            }
            Found::Link(to) if *to == real(&unit) => {
                entries.push(already(&path, "enabled for the next start"));
            }
            Found::Link(_) => return Err(refused("make", &path, "it leads elsewhere already")),
            Found::Text(_) => return Err(refused("make", &path, "it is no link")),
        }
        Ok(entries)
    }
}

fn already(path: &Path, detail: &str) -> Entry {
    Entry::Note(Done::new(path.display().to_string(), Outcome::Already, detail))
}
