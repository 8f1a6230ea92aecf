// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes shared by several set-ups: `host setup`, an agent and a second agent each have a state file. A
//! set-up may find a change of another one and rely on it. Whichever is restored first hands such a change,
//! with the previous state, over to the others.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Change, State, StateError, StateFile, directory, parse};
use crate::host::{decap, sysctl::Name};

/// Directories of state files, besides that of the file in question.
const DIRECTORIES: [&str; 2] = ["/run/xvs", "/var/lib/xvs"];

/// Returns the network namespace of this thread.
pub(super) fn network() -> Option<u64> {
    fs::metadata("/proc/thread-self/ns/net").ok().map(|found| found.ino())
}

impl StateFile {
    /// Hands a change over to another set-up of this host that needs it. Returns the state file of that
    /// set-up, if there is one.
    pub(in crate::host) fn leave(&mut self, change: &Change) -> Result<Option<PathBuf>, StateError> {
        let Some(path) = heir(&self.path, change) else { return Ok(None) };
        // A directory has one lock, which this process holds.
        let mut heir = if path.parent() == real_directory(&self.path).as_deref() {
            Self::read(&path, None)?
        } else {
            Self::open(&path)?
        };
        heir.record(change.clone())?;
        self.forget(change)?;
        Ok(Some(path))
    }
}

/// Returns another state file of this host whose VIPs need a change.
pub(in crate::host) fn heir(own: &Path, change: &Change) -> Option<PathBuf> {
    let network = network()?;
    let own = real_directory(own)?.join(own.file_name()?);
    let mut directories: BTreeSet<PathBuf> =
        DIRECTORIES.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
    directories.extend(own.parent().map(Path::to_owned));
    let files = directories.iter().filter_map(|path| fs::read_dir(path).ok()).flatten().flatten();
    let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    paths.retain(|path| *path != own && path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    let needs = |path: &PathBuf| {
        let state = fs::read(path).ok().and_then(|bytes| parse(&bytes).ok());
        state.is_some_and(|state| state.network == Some(network) && state.needs(change))
    };
    paths.into_iter().find(needs)
}

/// Returns the directory of a file, with links resolved.
fn real_directory(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(directory(path)).ok()
}

impl State {
    fn needs(&self, change: &Change) -> bool {
        match change {
            Change::Sysctl { sysctl, .. } => match sysctl.name {
                Name::RpFilter if decap::is_ours(&sysctl.interface) => !self.tunnelled.is_empty(),
                Name::ArpIgnore | Name::ArpAnnounce | Name::RpFilter => self.vips.iter().any(IpAddr::is_ipv4),
            },
            Change::Address { address, interface } if decap::is_ours(interface) => {
                self.tunnelled.contains(&address.addr())
            }
            Change::Address { address, .. } => self.vips.contains(&address.addr()),
            Change::Device { .. } | Change::Up { .. } | Change::Program { .. } => !self.tunnelled.is_empty(),
            // A unit or a rule belongs to its own set-up only.
            Change::File { .. } | Change::Link { .. } | Change::Directory { .. } | Change::Rules { .. } => {
                false
            }
        }
    }
}
