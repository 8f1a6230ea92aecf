// SPDX-License-Identifier: MIT OR Apache-2.0
//! Record of the changes of set-up and of the previous state: a file that is written before each change.
//!
//! A crash between the record and the change leaves a record of a change that was never made; undoing that
//! does nothing. So a crash loses nothing.

mod change; //         one change
mod lock; //           one writer at a time
mod place; //          where the file is
mod shared_changes; // changes that several set-ups need

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
};

use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};

use super::boot::{Boot, files::unfinished};
pub use change::Change;
use lb_model::failure::Failure;
pub use lock::AgentLock;
pub use place::Place;
pub use shared_changes::Sharers;

/// Version of the format. It is incremented when older programs could not undo what a newer one recorded.
const VERSION: u32 = 1;

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct State {
    version: u32,
    /// VIPs for which this host was set up.
    vips: BTreeSet<IpAddr>,
    /// Those of the VIPs whose packets arrive in a tunnel.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    tunnelled: BTreeSet<IpAddr>,
    /// Network namespace of the changes, by its inode: hosts in containers may share a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<u64>,
    /// Changes, in the order in which they were made.
    changes: Vec<Change>,
    /// Set-up at the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<Boot>,
}

/// Read-only contents of the state file.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// VIPs for which this host is set up.
    pub vips: BTreeSet<IpAddr>,
    /// Changes, in the order in which they were made.
    pub changes: Vec<Change>,
    /// Set-up at the next start.
    pub boot: Option<Boot>,
}

impl Remembered {
    /// Returns whether there is nothing to restore.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.vips.is_empty()
    }
}

impl From<State> for Remembered {
    fn from(State { vips, changes, boot, .. }: State) -> Self {
        Self { vips, changes, boot }
    }
}

/// Contents of the state file besides the changes, to which a failed set-up returns.
#[derive(Clone, Debug)]
pub struct Subject {
    vips: BTreeSet<IpAddr>,
    tunnelled: BTreeSet<IpAddr>,
    boot: Option<Boot>,
}

/// Reason why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read or written.
    #[error("cannot {doing} the state file {path}: {reason}")]
    Io {
        /// Operation, as an infinitive.
        doing: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        reason: io::Error,
    },
    /// The file is not a state file of xvs, or is damaged.
    #[error("cannot parse the state file {path}: {reason}")]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        reason: String,
    },
    /// Another process holds the lock.
    #[error("another `xvs host` uses {path}")]
    Busy {
        /// Path of the file.
        path: PathBuf,
    },
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let failure = Self::failed(error.to_string());
        match error {
            StateError::Io { .. } => failure.hint("choose another place with --state, or run as root"),
            StateError::Damaged { .. } => failure
                .hint("it holds the settings from before set-up: repair it, or undo by hand and delete it"),
            StateError::Busy { .. } => failure.hint("wait for it to end"),
        }
    }
}

/// The state file, read, and locked against other processes.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    state: State,
    /// Values that this process replaced again: they are not the recorded ones from before set-up.
    replaced: Vec<Change>,
    /// Lock on the directory, because the file itself is replaced at every change. `None` for a file beside
    /// one whose lock is held.
    _lock: Option<Flock<File>>,
}

impl StateFile {
    /// Returns whether there is something to restore.
    #[must_use]
    pub fn exists(path: &Path) -> bool {
        path.exists()
    }

    /// Reads the file, or begins with an empty state if there is none; creates its directory if necessary.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let error = |doing| move |reason| StateError::Io { doing, path: path.to_owned(), reason };
        let directory = directory(path);
        fs::create_dir_all(directory).map_err(error("make the directory of"))?;
        let handle = File::open(directory).map_err(error("open the directory of"))?;
        let lock = lock::wait_for(handle).map_err(|_| StateError::Busy { path: path.to_owned() })?;
        Self::read(path, Some(lock))
    }

    fn read(path: &Path, lock: Option<Flock<File>>) -> Result<Self, StateError> {
        let state = match fs::read(path) {
            Ok(bytes) => {
                parse(&bytes).map_err(|reason| StateError::Damaged { path: path.to_owned(), reason })?
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => State { version: VERSION, ..State::default() },
            Err(reason) => return Err(StateError::Io { doing: "read", path: path.to_owned(), reason }),
        };
        Ok(Self { path: path.to_owned(), state, replaced: Vec::new(), _lock: lock })
    }

    /// Returns the contents.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        self.state.clone().into()
    }

    /// Returns the contents besides the changes.
    #[must_use]
    pub fn subject(&self) -> Subject {
        let State { vips, tunnelled, boot, .. } = &self.state;
        Subject { vips: vips.clone(), tunnelled: tunnelled.clone(), boot: boot.clone() }
    }

    /// Returns to earlier contents besides the changes.
    pub fn revert(&mut self, Subject { vips, tunnelled, boot }: Subject) -> Result<(), StateError> {
        (self.state.vips, self.state.tunnelled, self.state.boot) = (vips, tunnelled, boot);
        self.save()
    }

    /// Returns all changes, in the order in which they were made.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.state.changes
    }

    /// Adds VIPs for which this host is set up; `tunnelled` if their packets arrive in a tunnel.
    pub fn add_vips(&mut self, vips: &BTreeSet<IpAddr>, tunnelled: bool) -> Result<(), StateError> {
        let before = self.state.clone();
        self.state.network = shared_changes::network();
        self.state.vips.extend(vips);
        self.state.tunnelled.retain(|vip| !vips.contains(vip));
        self.state.tunnelled.extend(vips.iter().filter(|_| tunnelled));
        if self.state == before { Ok(()) } else { self.save() }
    }

    /// Sets the set-up at the next start.
    pub fn set_boot(&mut self, boot: Boot) -> Result<(), StateError> {
        self.state.boot = Some(boot);
        self.save()
    }

    /// Sets the VIPs for which this host is set up, and the set-up at the next start.
    pub fn set(&mut self, vips: BTreeSet<IpAddr>, boot: Option<Boot>) -> Result<(), StateError> {
        self.state.boot = boot;
        self.state.tunnelled.retain(|vip| vips.contains(vip));
        self.state.vips = vips;
        self.save()
    }

    /// Reads the file without a lock, for read-only use; `None` if there is no file.
    pub fn peek(path: &Path) -> Result<Option<Remembered>, StateError> {
        match fs::read(path) {
            Ok(bytes) => match parse(&bytes) {
                Ok(state) => Ok(Some(state.into())),
                Err(reason) => Err(StateError::Damaged { path: path.to_owned(), reason }),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(StateError::Io { doing: "read", path: path.to_owned(), reason }),
        }
    }

    /// Moves the state to another file. A crash in between leaves both; the new one counts.
    pub fn move_to(mut self, path: &Path) -> Result<(), StateError> {
        let mut new = Self::open(path)?;
        if new.state.changes.is_empty() && new.state.vips.is_empty() {
            new.state = self.state.clone();
            new.save()?;
        }
        self.state = State { version: VERSION, ..State::default() };
        self.save()
    }

    /// Records a change that is about to be made. Returns false if there is a record with the same subject,
    /// which then stays.
    pub fn record(&mut self, change: Change) -> Result<bool, StateError> {
        if self.state.changes.iter().any(|known| known.same_thing(&change)) {
            self.replaced.push(change);
            return Ok(false);
        }
        self.state.changes.push(change);
        self.save()?;
        Ok(true)
    }

    /// Returns the changes that this process made again: sysctls and files with their values before that.
    pub(super) fn take_replaced(&mut self) -> Vec<Change> {
        let mut replaced = std::mem::take(&mut self.replaced);
        replaced.retain(|change| matches!(change, Change::Sysctl { .. } | Change::File { .. }));
        replaced
    }

    /// Removes a change that was undone, or was not made after all.
    pub fn forget(&mut self, change: &Change) -> Result<(), StateError> {
        self.state.changes.retain(|known| !known.same_thing(change));
        self.save()
    }

    /// Writes the file atomically: at every moment it has either the old or the new content. Removes it when
    /// no record is left.
    fn save(&self) -> Result<(), StateError> {
        let error = |doing| move |reason| StateError::Io { doing, path: self.path.clone(), reason };
        if self.state.changes.is_empty() && self.state.vips.is_empty() {
            // A crash may have left the unfinished file.
            for path in [&unfinished(&self.path), &self.path] {
                match fs::remove_file(path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(error("remove")(e)),
                    _ => {}
                }
            }
            return Ok(());
        }
        write_atomically(&self.path, &self.state).map_err(error("write"))
    }
}

fn parse(bytes: &[u8]) -> Result<State, String> {
    let state: State = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if state.version == VERSION {
        Ok(state)
    } else {
        Err(format!("it is of version {}, this program writes version {VERSION}", state.version))
    }
}

fn write_atomically(path: &Path, state: &State) -> io::Result<()> {
    let new = unfinished(path);
    let mut writer = BufWriter::new(File::create(&new)?);
    serde_json::to_writer_pretty(&mut writer, state)?;
    writer.write_all(b"\n")?;
    writer.into_inner()?.sync_all()?;
    fs::rename(&new, path)?;
    File::open(directory(path))?.sync_all()
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_netlink::sysctl::{Name, Sysctl};

    fn arp_ignore(before: i32) -> Change {
        Change::Sysctl { sysctl: Sysctl::new("all", Name::ArpIgnore), before }
    }

    #[test]
    fn what_was_remembered_first_stays_also_across_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/host.json");
        let mut file = StateFile::open(&path).unwrap();
        assert!(file.record(arp_ignore(0)).unwrap());
        assert!(!file.record(arp_ignore(1)).unwrap());
        drop(file);
        let mut file = StateFile::open(&path).unwrap();
        assert!(!file.record(arp_ignore(1)).unwrap());
        assert_eq!(file.changes(), [arp_ignore(0)]);
    }

    #[test]
    fn the_file_goes_when_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.json");
        let mut file = StateFile::open(&path).unwrap();
        file.record(arp_ignore(0)).unwrap();
        assert!(path.exists());
        file.forget(&arp_ignore(0)).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_at_once_and_a_damaged_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.json");
        let first = StateFile::open(&path).unwrap();
        let start = std::time::Instant::now();
        assert!(matches!(StateFile::open(&path), Err(StateError::Busy { .. })));
        assert!(start.elapsed() >= lock::PATIENCE);
        drop(first);
        for content in ["", "{}", r#"{"version": 99, "vips": [], "changes": []}"#] {
            fs::write(&path, content).unwrap();
            assert!(matches!(StateFile::open(&path), Err(StateError::Damaged { .. })), "{content}");
        }
    }
}
