// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one set-up made, another may have found and rely on: `host setup`, an agent, a second agent each remember in
//! a file of their own. Whoever goes first leaves such a change, and what was there before it, to the others.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Change, State, StateError, StateFile, directory, parse};
use crate::host::{decap, sysctl::Name};

/// Where state files are, besides the directory of the one in question.
const DIRECTORIES: [&str; 2] = ["/run/xvs", "/var/lib/xvs"];

/// The network namespace of this thread.
pub(super) fn network() -> Option<u64> {
    fs::metadata("/proc/thread-self/ns/net").ok().map(|found| found.ino())
}

impl StateFile {
    /// Leaves a change to another set-up of this host that needs it: to which file, if there is one.
    pub(in crate::host) fn leave(&mut self, change: &Change) -> Result<Option<PathBuf>, StateError> {
        let Some(path) = heir(&self.path, change) else { return Ok(None) };
        // In one directory there is one lock, which is ours.
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

/// Another state file of this host whose VIPs need what was changed.
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

/// The directory of a file, whatever links lead to it.
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
            // A unit or a rule is for its own set-up alone.
            Change::File { .. } | Change::Link { .. } | Change::Directory { .. } | Change::Rules { .. } => {
                false
            }
        }
    }
}
