// SPDX-License-Identifier: MIT OR Apache-2.0
//! What set-up changed, and what was there before: a file that is written before each change.
//!
//! A crash between writing and changing leaves an entry for a change that never was; undoing that does nothing. A crash
//! can therefore lose nothing.

mod change; // one of them
mod heirs; //  others who need it still
mod lock; //   one at a time

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
};

use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};

use super::boot::Boot;
use crate::failure::Failure;
pub use change::Change;
pub(super) use heirs::heir;
pub use lock::AgentLock;

/// Bumped whenever an older program could not undo what a newer one wrote down.
const VERSION: u32 = 1;

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct State {
    version: u32,
    /// The VIPs that this host was set up for.
    vips: BTreeSet<IpAddr>,
    /// Those of them whose packets arrive in a tunnel.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    tunnelled: BTreeSet<IpAddr>,
    /// The network namespace that this is about, by its inode: hosts in containers may share a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<u64>,
    /// In the order in which they were made.
    changes: Vec<Change>,
    /// What is done again at the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<Boot>,
}

/// What is remembered, without the right to change it.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// The VIPs that this host is set up for.
    pub vips: BTreeSet<IpAddr>,
    /// In the order in which they were made.
    pub changes: Vec<Change>,
    /// What is done again at the next start.
    pub boot: Option<Boot>,
}

/// The state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("cannot {doing} the state file {path}: {reason}")]
    Io {
        /// As an infinitive.
        doing: &'static str,
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// It is not ours, or damaged.
    #[error("the state file {path} makes no sense: {reason}")]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another process has it.
    #[error("another `xvs host` is at work on {path}")]
    Busy {
        /// Its path.
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
    /// Values that this process replaced once more: they are not those from before set-up, which are remembered.
    replaced: Vec<Change>,
    /// A lock on the directory: the file itself is replaced at every change. None beside another that has it.
    _lock: Option<Flock<File>>,
}

impl StateFile {
    /// Whether there is something to restore.
    #[must_use]
    pub fn exists(path: &Path) -> bool {
        path.exists()
    }

    /// Reads the file, or begins with nothing if there is none; its directory is made if need be.
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

    /// The VIPs that this host is set up for.
    #[must_use]
    pub const fn vips(&self) -> &BTreeSet<IpAddr> {
        &self.state.vips
    }

    /// Everything that was changed, in the order in which it was.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.state.changes
    }

    /// Adds VIPs that this host is set up for, whose packets come in a tunnel or do not.
    pub fn add_vips(&mut self, vips: &BTreeSet<IpAddr>, tunnelled: bool) -> Result<(), StateError> {
        let before = self.state.clone();
        self.state.network = heirs::network();
        self.state.vips.extend(vips);
        self.state.tunnelled.retain(|vip| !vips.contains(vip));
        self.state.tunnelled.extend(vips.iter().filter(|_| tunnelled));
        if self.state == before { Ok(()) } else { self.save() }
    }

    /// What is done again at the next start.
    #[must_use]
    pub const fn boot(&self) -> Option<&Boot> {
        self.state.boot.as_ref()
    }

    /// Sets for which VIPs this host is set up, and what is done again at the next start.
    pub fn set(&mut self, vips: BTreeSet<IpAddr>, boot: Option<Boot>) -> Result<(), StateError> {
        self.state.boot = boot;
        self.state.tunnelled.retain(|vip| vips.contains(vip));
        self.state.vips = vips;
        self.save()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is remembered, for those who will change nothing; `None` if there is no file.
    pub fn peek(path: &Path) -> Result<Option<Remembered>, StateError> {
        match fs::read(path) {
            Ok(bytes) => match parse(&bytes) {
                Ok(State { vips, changes, boot, .. }) => Ok(Some(Remembered { vips, changes, boot })),
                Err(reason) => Err(StateError::Damaged { path: path.to_owned(), reason }),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(StateError::Io { doing: "read", path: path.to_owned(), reason }),
        }
    }

    /// Moves what is remembered to another file. A crash in between leaves both, of which the new one counts.
    pub fn move_to(mut self, path: &Path) -> Result<(), StateError> {
        let mut new = Self::open(path)?;
        if new.state.changes.is_empty() && new.state.vips.is_empty() {
            new.state = self.state.clone();
            new.save()?;
        }
        self.state = State { version: VERSION, ..State::default() };
        self.save()
    }

    /// Writes down a change that is about to be made; false if the same thing was changed before, in which case what
    /// is remembered of it stays.
    pub fn record(&mut self, change: Change) -> Result<bool, StateError> {
        if self.state.changes.iter().any(|known| known.same_thing(&change)) {
            self.replaced.push(change);
            return Ok(false);
        }
        self.state.changes.push(change);
        self.save()?;
        Ok(true)
    }

    /// What this process replaced although it was changed before: settings and files with what was there until now.
    pub(super) fn take_replaced(&mut self) -> Vec<Change> {
        let mut replaced = std::mem::take(&mut self.replaced);
        replaced.retain(|change| matches!(change, Change::Sysctl { .. } | Change::File { .. }));
        replaced
    }

    /// Strikes out a change that has been undone, or was not made after all.
    pub fn forget(&mut self, change: &Change) -> Result<(), StateError> {
        self.state.changes.retain(|known| !known.same_thing(change));
        self.save()
    }

    /// Writes the file so that at every moment the old or the new content is there; removes it when nothing is left.
    fn save(&self) -> Result<(), StateError> {
        let error = |doing| move |reason| StateError::Io { doing, path: self.path.clone(), reason };
        if self.state.changes.is_empty() && self.state.vips.is_empty() {
            // A crash may have left the unfinished one.
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

/// Where a new version is written before it takes the place of the old.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("new")
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
    use crate::host::sysctl::{Name, Sysctl};

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
