// SPDX-License-Identifier: MIT OR Apache-2.0
//! Journal of changes beside a large state file: a change is appended, so that its cost does not follow from the size
//! of the state. A line that is on disk counts, also after a crash.
//!
//! ```text
//! state.json                  in force; its field `journal` has the name of its journal
//! state.json.journal-NAME     lines of the changes since: a checksum, a space, and JSON
//! ```
#![forbid(unsafe_code)]

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use serde_json::Value;

/// Part of the names of journals.
const INFIX: &str = ".journal-";

/// Journal of a state file, open for more changes.
#[derive(Debug)]
pub struct Journal {
    file: File,
    /// Length of the changes in force, in bytes.
    length: u64,
}

/// A change on disk, at the end of its journal. It is removed again on drop, unless [`keep`](Self::keep) was called.
#[derive(Debug)]
#[must_use]
pub struct Appended {
    file: File,
    before: u64,
    after: u64,
    kept: bool,
}

/// Content of a journal.
#[derive(Debug, Default)]
pub struct Content {
    /// Changes in order, up to the first line that is invalid.
    pub changes: Vec<Value>,
    /// The last line is cut and left out: a crash came before it was on disk.
    pub is_cut: bool,
    /// Number of the first line that does not match its checksum, if any.
    pub damaged: Option<usize>,
}

/// Returns a name for a new journal.
#[must_use]
pub fn new_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}", now.as_nanos())
}

/// Returns the path of a journal of a state file.
#[must_use]
pub fn path(state_file: &Path, name: &str) -> PathBuf {
    let mut path = state_file.file_name().map_or_else(OsString::new, OsString::from);
    path.push(INFIX);
    path.push(name);
    state_file.with_file_name(path)
}

impl Journal {
    /// Creates the journal with that name, with the bytes `content` of another one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(state_file: &Path, name: &str, content: &[u8]) -> io::Result<Self> {
        let path = path(state_file, name);
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()?;
        Ok(Self { file, length: content.len() as u64 })
    }

    /// Returns the length in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Returns the changes from a length on.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn since(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length.saturating_sub(length) as usize];
        self.file.seek(SeekFrom::Start(length))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Appends a change, and flushes it to disk.
    ///
    /// # Errors
    /// If it cannot be written; then the journal has the changes before it.
    pub fn append(&self, change: &impl Serialize) -> io::Result<Appended> {
        let json = serde_json::to_string(change)?;
        let line = format!("{} {json}\n", checksum(json.as_bytes()));
        let mut file = self.file.try_clone()?;
        let after = self.length + line.len() as u64;
        // Dropped after an error, it removes what was written.
        let appended = Appended { file: file.try_clone()?, before: self.length, after, kept: false };
        file.seek(SeekFrom::Start(self.length))?;
        file.write_all(line.as_bytes())?;
        file.sync_data()?;
        Ok(appended)
    }

    /// Keeps an appended change.
    pub fn keep(&mut self, mut appended: Appended) {
        appended.kept = true;
        self.length = appended.after;
    }
}

impl Drop for Appended {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let removed = self.file.set_len(self.before).and_then(|()| self.file.sync_data());
        if let Err(error) = removed {
            tracing::error!(%error, "a change that was not made stays in the journal of the state file");
        }
    }
}

/// Reads the journal with that name. A missing one has no changes.
///
/// # Errors
/// If it cannot be read.
pub fn read(state_file: &Path, name: &str) -> io::Result<Content> {
    let bytes = match fs::read(path(state_file, name)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
        Err(error) => return Err(error),
    };
    let mut content = Content::default();
    for (number, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        if let Some(change) = parsed(line) {
            content.changes.push(change);
            continue;
        }
        content.is_cut = !line.ends_with(b"\n");
        content.damaged = (!content.is_cut).then_some(number);
        break;
    }
    Ok(content)
}

/// Removes all journals of a state file but those with these names.
pub fn remove_others(state_file: &Path, keep: &[&str]) {
    let folder = state_file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let kept: Vec<PathBuf> = keep.iter().map(|name| path(state_file, name)).collect();
    let Some(prefix) = path(state_file, "").file_name().map(OsString::from) else { return };
    let files = fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten().filter_map(Result::ok);
    let prefix = prefix.as_encoded_bytes();
    let journals = files.filter(|file| file.file_name().as_encoded_bytes().starts_with(prefix));
    for path in journals
        .map(|file| file.path())
        .filter(|path| !kept.iter().any(|kept| kept.file_name() == path.file_name()))
    {
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "an old journal is not removed");
        }
    }
}

/// Returns the change in a line; `None` if the line is invalid.
fn parsed(line: &[u8]) -> Option<Value> {
    let line = line.strip_suffix(b"\n")?;
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (stated, json) = (&line[..space], &line[space + 1..]);
    if stated != checksum(json).as_bytes() {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn checksum(json: &[u8]) -> String {
    format!("crc32:{:08x}", crc32fast::hash(json))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changes(state_file: &Path) -> Vec<Value> {
        read(state_file, "a").unwrap().changes
    }

    #[test]
    fn what_is_kept_is_read_and_what_is_dropped_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let state_file = folder.path().join("state.json");
        assert!(changes(&state_file).is_empty());
        let mut journal = Journal::create(&state_file, "a", &[]).unwrap();
        for number in 0..3 {
            let appended = journal.append(&json!({ "number": number })).unwrap();
            assert_eq!(changes(&state_file).len(), number + 1, "it is on disk before it is kept");
            journal.keep(appended);
        }
        drop(journal.append(&json!({ "number": 9 })).unwrap());
        let [zero, one, two] = [0, 1, 2].map(|number| json!({ "number": number }));
        assert_eq!(changes(&state_file), [zero, one.clone(), two.clone()]);
        let rest = journal.since(path(&state_file, "a").metadata().unwrap().len() / 3).unwrap();
        Journal::create(&state_file, "b", &rest).unwrap();
        assert_eq!(read(&state_file, "b").unwrap().changes, [one, two]);
        assert!(Journal::create(&state_file, "b", &[]).is_err(), "no journal replaces another one");
        remove_others(&state_file, &["b"]);
        assert!(!path(&state_file, "a").exists() && path(&state_file, "b").exists());
    }

    #[test]
    fn a_cut_end_costs_the_last_line_and_a_flipped_bit_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let state_file = folder.path().join("state.json");
        let mut journal = Journal::create(&state_file, "a", &[]).unwrap();
        for number in 0..3 {
            let appended = journal.append(&json!({ "number": number })).unwrap();
            journal.keep(appended);
        }
        let whole = fs::read(path(&state_file, "a")).unwrap();
        let two_lines = whole.len() / 3 * 2;
        for cut in 1..whole.len() / 3 {
            fs::write(path(&state_file, "a"), &whole[..two_lines + cut]).unwrap();
            let Content { changes, is_cut, damaged } = read(&state_file, "a").unwrap();
            assert_eq!((changes.len(), is_cut, damaged), (2, true, None), "{cut} bytes of the last line");
        }
        for at in 0..two_lines {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(path(&state_file, "a"), bytes).unwrap();
            let Content { changes, damaged, .. } = read(&state_file, "a").unwrap();
            let line = at / (two_lines / 2);
            assert_eq!((changes.len(), damaged), (line, Some(line + 1)), "a flipped bit in byte {at}");
        }
    }
}
