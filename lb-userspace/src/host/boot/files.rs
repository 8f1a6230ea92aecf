// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files below `/etc`: the present ones, and changes of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::host::{Done, Outcome};
use lb_model::failure::Failure;

/// A file of xvs below `/etc` cannot be read, written or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}: {reason}")]
pub struct BootError {
    doing: &'static str,
    path: PathBuf,
    reason: io::Error,
}

impl From<BootError> for Failure {
    fn from(error: BootError) -> Self {
        Self::failed(error.to_string())
            .hint("`ls -l` shows what is there; `--etc DIR` names another folder than /etc")
    }
}

/// Returns a function that adds operation and path to an error of the system.
pub(super) fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> BootError + 'a {
    move |reason| BootError { doing, path: path.to_owned(), reason }
}

/// Refuses an operation for a reason of xvs.
pub(super) fn refused(doing: &'static str, path: &Path, reason: &str) -> BootError {
    failed(doing, path)(io::Error::other(reason.to_owned()))
}

/// One path at the time of the request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// Nothing is there.
    Nothing,
    /// A file with this content.
    Text(String),
    /// A symbolic link, with the path that it leads to.
    Link(PathBuf),
}

/// Files, and the directories above them, at the time of the request.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    found: BTreeMap<PathBuf, Found>,
    directories: BTreeSet<PathBuf>,
}

impl Disk {
    /// Reads `paths`.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn read<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Self, BootError> {
        let mut disk = Self::default();
        for path in paths {
            disk.found.insert(path.to_owned(), look_up(path)?);
            let above = path.ancestors().skip(1).filter(|path| path.is_dir());
            disk.directories.extend(above.map(Path::to_owned));
        }
        Ok(disk)
    }

    /// Returns what is at a path.
    #[must_use]
    pub fn at(&self, path: &Path) -> &Found {
        self.found.get(path).unwrap_or(&Found::Nothing)
    }

    /// Adds the directories above `path`, and returns those that did not exist, first the topmost one.
    pub fn make_directories_above(&mut self, path: &Path) -> Vec<PathBuf> {
        let above = path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
        let mut missing: Vec<PathBuf> =
            above.take_while(|path| !self.directories.contains(*path)).map(Path::to_owned).collect();
        missing.reverse();
        self.directories.extend(missing.iter().cloned());
        missing
    }
}

fn look_up(path: &Path) -> Result<Found, BootError> {
    if path.is_symlink() {
        let to = fs::read_link(path).map_err(failed("read", path))?;
        let to = path.parent().unwrap_or(path).join(to);
        return Ok(Found::Link(real(&fs::canonicalize(path).unwrap_or(to))));
    }
    Ok(read(path)?.map_or(Found::Nothing, Found::Text))
}

/// Returns a path without links above the file, which need not exist.
pub(super) fn real(path: &Path) -> PathBuf {
    let parent = path.parent().and_then(|parent| fs::canonicalize(parent).ok());
    match (fs::canonicalize(path), parent, path.file_name()) {
        (Ok(real), ..) => real,
        (Err(_), Some(parent), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

/// Returns the content of a file; `None` if there is none.
pub fn read(path: &Path) -> Result<Option<String>, BootError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path)(e)),
    }
}

/// Writes a file atomically: at every moment it has either the old or the new content.
pub fn write(path: &Path, text: &str) -> Result<(), BootError> {
    let new = unfinished(path);
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).map_err(failed("write", path))
}

/// Creates a directory.
pub fn make_directory(path: &Path) -> Result<(), BootError> {
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(failed("make", path)(e)),
        _ => Ok(()),
    }
}

/// Creates a symbolic link at `path`.
pub fn link(path: &Path, target: &Path) -> Result<(), BootError> {
    symlink(target, path).map_err(failed("make", path))
}

/// Returns the path to which a new version is written before it replaces the old one.
#[must_use]
pub fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Restores the previous content of a file.
pub fn put_back(path: &Path, before: Option<&str>) -> Result<Done, BootError> {
    gone(&unfinished(path))?;
    match before {
        Some(text) => write(path, text)?,
        None => gone(path)?,
    }
    let detail = if before.is_some() { "as it was" } else { "removed" };
    Ok(Done::new(path.display().to_string(), Outcome::Restored, detail))
}

/// Removes a link.
pub fn unlink(path: &Path) -> Result<Done, BootError> {
    gone(path)?;
    Ok(Done::new(path.display().to_string(), Outcome::Restored, "removed"))
}

/// Removes a directory, unless other files are in it by now.
pub fn remove_directory(path: &Path) -> Result<Done, BootError> {
    let detail = match fs::remove_dir(path) {
        Ok(()) => "removed",
        Err(e) if e.kind() == io::ErrorKind::NotFound => "was gone already",
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => IN_USE,
        Err(e) => return Err(failed("remove", path)(e)),
    };
    Ok(Done::new(path.display().to_string(), Outcome::Restored, detail))
}

/// Detail of a directory that stays.
pub const IN_USE: &str = "stays: it is in use";

fn gone(path: &Path) -> Result<(), BootError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_missing_once() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["x/y/a", "x/z/b"].map(|name| dir.path().join(name));
        let mut disk = Disk::read([a.as_path(), b.as_path()]).unwrap();
        let below = |names: &[&str]| names.iter().map(|name| dir.path().join(name)).collect::<Vec<_>>();
        assert_eq!(disk.make_directories_above(&a), below(&["x", "x/y"]));
        assert_eq!(disk.make_directories_above(&b), below(&["x/z"]));
        assert_eq!(disk.make_directories_above(&b), below(&[]));
    }

    #[test]
    fn a_link_leads_to_a_file_that_does_not_exist_yet() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("wants")).unwrap();
        let (unit, link_path) = (dir.path().join("unit"), dir.path().join("wants/unit"));
        link(&link_path, Path::new("../unit")).unwrap();
        let disk = || Disk::read([link_path.as_path()]).unwrap();
        assert_eq!(disk().at(&link_path), &Found::Link(real(&unit)));
        write(&unit, "text").unwrap();
        assert_eq!(disk().at(&link_path), &Found::Link(real(&unit)));
        assert_eq!(disk().at(&unit), &Found::Nothing, "it was not read");
    }
}
