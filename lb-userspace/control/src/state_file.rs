// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replacement of the state file, such that a crash, a full disk or a flipped bit costs at most the last
//! change.
//!
//! ```text
//! state.json        in force, with a checksum
//! state.json.prev   the one before it
//! state.json.new    the next one, while a change is carried out
//! ```
#![forbid(unsafe_code)]

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

/// Key of the checksum in the file.
const CHECKSUM: &str = "checksum";

/// Reason why a file is invalid.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file is missing.
    #[error("it is missing")]
    Missing,
    /// The file cannot be read.
    #[error(transparent)]
    Io(io::Error),
    /// The file is not JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The content does not match the checksum.
    #[error("its checksum is {found}, and that of its content {computed}")]
    Checksum {
        /// Checksum in the file.
        found: String,
        /// Checksum of the content.
        computed: String,
    },
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Missing } else { Self::Io(error) }
    }
}

/// Returns the path of the predecessor of `path`.
#[must_use]
pub fn previous(path: &Path) -> PathBuf {
    beside(path, ".prev")
}

/// Reads a file and verifies its checksum. A file without a checksum was written by hand and is accepted.
///
/// # Errors
/// [`ReadError`] if it is invalid.
pub fn read(path: &Path) -> Result<Value, ReadError> {
    let mut content: Value = serde_json::from_slice(&fs::read(path)?)?;
    let stated = content.as_object_mut().and_then(|fields| fields.remove(CHECKSUM));
    if let Some(stated) = stated {
        let computed = checksum(&content);
        if stated != Value::String(computed.clone()) {
            let found = stated.as_str().map_or_else(|| stated.to_string(), str::to_owned);
            return Err(ReadError::Checksum { found, computed });
        }
    }
    Ok(content)
}

/// Next version of the file, on disk beside the one in force. It is removed on drop, unless
/// [`commit`](Self::commit) was called.
#[derive(Debug)]
#[must_use]
pub struct Prepared {
    path: PathBuf,
    new: PathBuf,
    known: Option<Stamp>,
    committed: bool,
}

/// Identity of a file that this process has written, and that is valid unless another one has changed it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Self { inode: metadata.ino(), length: metadata.len(), modified }
    }

    /// Returns whether this is the identity of the file at `path`.
    #[must_use]
    pub fn is_of(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| Self::of(&metadata) == *self)
    }
}

/// Writes the next version of the file and flushes it to disk. The version in force stays until
/// [`Prepared::commit`].
///
/// # Errors
/// If it cannot be written.
pub fn prepare(path: &Path, content: &impl Serialize) -> io::Result<Prepared> {
    let mut content = serde_json::to_value(content)?;
    let checksum = checksum(&content);
    if let Some(fields) = content.as_object_mut() {
        fields.insert(CHECKSUM.to_owned(), Value::String(checksum));
    }
    let mut text = serde_json::to_vec_pretty(&content)?;
    text.push(b'\n');
    fs::create_dir_all(folder(path))?;
    let new = beside(path, ".new");
    // Remove the file of a crashed daemon. This also avoids following a symbolic link at this path.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let prepared = Prepared { path: path.to_owned(), new, known: None, committed: false };
    file.write_all(&text)?;
    file.sync_all()?;
    Ok(prepared)
}

impl Prepared {
    /// Names the version in force that this process has written, which then need not be read to be kept.
    pub fn after(mut self, known: Option<Stamp>) -> Self {
        self.known = known;
        self
    }

    /// Puts the next version in force, and keeps the present one as its predecessor. Returns the identity of
    /// the new version.
    ///
    /// # Errors
    /// If it cannot be renamed; then the present version stays in force.
    pub fn commit(mut self) -> io::Result<Stamp> {
        if let Err(error) = keep_previous(&self.path, self.known) {
            tracing::debug!(path = %self.path.display(), %error, "the previous state is not kept");
        }
        let stamp = Stamp::of(&fs::metadata(&self.new)?);
        let folder = File::open(folder(&self.path))?;
        fs::rename(&self.new, &self.path)?;
        self.committed = true;
        if let Err(error) = folder.sync_all() {
            // The next version is in force already.
            tracing::warn!(path = %self.path.display(), %error, "a crash of this host may revert the last change");
        }
        Ok(stamp)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.committed {
            // The file is not in force. If it cannot be removed, the next change replaces it.
            drop(fs::remove_file(&self.new));
        }
    }
}

/// Links the file in force to the name of the predecessor, under which it stays after the replacement.
fn keep_previous(path: &Path, known: Option<Stamp>) -> io::Result<()> {
    if !known.is_some_and(|known| known.is_of(path)) && read(path).is_err() {
        // The existing predecessor may be valid.
        return Ok(());
    }
    let link = beside(path, ".old");
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::hard_link(path, &link)?;
    fs::rename(&link, previous(path))?;
    // `rename` does nothing if both names refer to the same file.
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns the checksum of a content, independent of its white space. The fields of [`Value`] are sorted.
fn checksum(content: &Value) -> String {
    format!("crc32:{:08x}", crc32fast::hash(content.to_string().as_bytes()))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("state")).to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn save(path: &Path, content: &Value) {
        prepare(path, content).unwrap().commit().unwrap();
    }

    #[test]
    fn a_known_version_is_kept_and_a_changed_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let next = |number: u32, known| {
            prepare(&path, &json!({ "number": number })).unwrap().after(known).commit().unwrap()
        };
        let first = next(1, None);
        let second = next(2, Some(first));
        assert_eq!(read(&previous(&path)).unwrap(), json!({ "number": 1 }));
        // The file is cut, but not by this process.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(10).unwrap();
        next(3, Some(second));
        assert_eq!(read(&previous(&path)).unwrap(), json!({ "number": 1 }), "the cut file replaces nothing");
        assert_eq!(read(&path).unwrap(), json!({ "number": 3 }));
    }

    #[test]
    fn the_version_before_is_kept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state.json");
        assert!(matches!(read(&path), Err(ReadError::Missing)));
        for number in 0..3 {
            save(&path, &json!({ "number": number }));
        }
        assert_eq!(read(&path).unwrap(), json!({ "number": 2 }));
        assert_eq!(read(&previous(&path)).unwrap(), json!({ "number": 1 }));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "VIPs and RIPs are not for everyone");
    }

    #[test]
    fn what_is_not_committed_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        save(&path, &json!({ "number": 1 }));
        drop(prepare(&path, &json!({ "number": 2 })).unwrap());
        assert_eq!(read(&path).unwrap(), json!({ "number": 1 }));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_does_not_replace_the_version_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        save(&path, &json!({ "number": 1 }));
        save(&path, &json!({ "number": 2 }));
        fs::write(&path, "").unwrap();
        save(&path, &json!({ "number": 3 }));
        assert_eq!(read(&previous(&path)).unwrap(), json!({ "number": 1 }));
    }

    #[test]
    fn a_link_in_the_place_of_the_next_version_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("state.json"), folder.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("state.json.new")).unwrap();
        save(&path, &json!({}));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn a_file_without_a_checksum_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        fs::write(&path, "{\"number\": 1}").unwrap();
        assert_eq!(read(&path).unwrap(), json!({ "number": 1 }));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_changes_nothing_or_is_found(at in 0usize..1000, bit in 0u8..8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.json");
            let content = json!({ "address": "192.0.2.1:80", "weight": 100, "vips": ["192.0.2.1"] });
            save(&path, &content);
            let mut bytes = fs::read(&path).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
            match read(&path) {
                Ok(found) => {
                    // The flipped bit may be in the name of the checksum's key: then there is an additional,
                    // unknown field.
                    let mut found = found;
                    found.as_object_mut().unwrap().retain(|key, _| content.get(key).is_some());
                    prop_assert_eq!(found, content);
                }
                Err(error) => prop_assert!(!matches!(error, ReadError::Missing)),
            }
        }
    }
}
