// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file from which keepalived learns whether the director is ready.
#![forbid(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use lb_model::failure::Failure;

/// Content of the file while the director is ready, and else: with any weight that keepalived multiplies it by, the number
/// below is the lowest priority, and without a weight a fault.
const READY: &str = "0\n";
const NOT_READY: &str = "-254\n";

/// The ready file.
#[derive(Debug)]
pub struct ReadyFile {
    path: PathBuf,
    /// The readiness that was written last.
    written: Option<bool>,
    has_failed: bool,
}

impl ReadyFile {
    /// Opens or creates the file. It says that the director is not ready, unless a file of an earlier daemon is kept whose
    /// programs still forward.
    ///
    /// # Errors
    /// If the file cannot be written, as in a missing directory.
    pub fn open(path: &Path, continues: bool) -> Result<Self, Failure> {
        let file = Self { path: path.to_owned(), written: None, has_failed: false };
        let is_kept = continues && path.exists();
        let opened = if is_kept { file.opened().map(drop) } else { file.put(NOT_READY) };
        opened.map_err(|error| {
            Failure::wrong_input(format!("cannot write the `ready-file` {}: {error}", path.display())).hint(
                "create its directory before the daemon starts, or choose another one in [director]; /run/xvs \
                 exists if systemd starts the daemon",
            )
        })?;
        Ok(file)
    }

    /// Writes whether the director is ready, unless the file says so. What cannot be written is written by a later call.
    pub fn write(&mut self, is_ready: bool) {
        if self.written == Some(is_ready) {
            return;
        }
        match self.put(if is_ready { READY } else { NOT_READY }) {
            Ok(()) => (self.written, self.has_failed) = (Some(is_ready), false),
            Err(error) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    let says = if is_ready { "ready" } else { "not ready" };
                    tracing::error!(
                        "cannot write to the ready file {} that the director is {says}: {error}; it is tried again",
                        self.path.display()
                    );
                }
            }
        }
    }

    fn opened(&self) -> io::Result<File> {
        // The file keeps its inode, which keepalived watches.
        OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)
    }

    /// Replaces the content. A reader never sees an empty file, which keepalived would take for 0.
    fn put(&self, content: &str) -> io::Result<()> {
        let mut file = self.opened()?;
        file.write_all(content.as_bytes())?;
        file.set_len(content.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_of_an_earlier_daemon_is_kept_only_while_its_programs_forward() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready");
        let read = || fs::read_to_string(&path).unwrap();
        let mut file = ReadyFile::open(&path, true).unwrap();
        assert_eq!(read(), "-254\n", "a new file");
        file.write(true);
        assert_eq!(read(), "0\n");
        let mut file = ReadyFile::open(&path, true).unwrap();
        assert_eq!(read(), "0\n");
        file.write(false);
        assert_eq!(read(), "-254\n");
        file.write(true);
        drop(ReadyFile::open(&path, false).unwrap());
        assert_eq!(read(), "-254\n", "nothing is forwarded");
    }

    #[test]
    fn a_missing_directory_is_refused_and_a_lost_one_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("run");
        let path = directory.join("ready");
        let failure = ReadyFile::open(&path, false).unwrap_err();
        assert!(failure.message.contains("`ready-file`"), "{}", failure.message);
        fs::create_dir(&directory).unwrap();
        let mut file = ReadyFile::open(&path, false).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        file.write(true);
        fs::create_dir(&directory).unwrap();
        file.write(true);
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n");
    }
}
