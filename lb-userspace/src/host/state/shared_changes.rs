// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes shared by several set-ups: `host setup`, an agent and a second agent each have a state file. A
//! set-up may find a change of another one and rely on it. Whichever is restored first hands such a change,
//! with the previous state, over to the others.

use lb_netlink::sysctl::Name;
use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Change, Place, State, StateError, StateFile, directory, parse};
use crate::host::encapsulation::Kind;

/// Directories of state files, besides that of the file in question.
const DIRECTORIES: [&str; 2] = ["/run/xvs", "/var/lib/xvs"];

/// Returns the network namespace of this thread.
pub(super) fn network() -> Option<u64> {
    fs::metadata("/proc/thread-self/ns/net").ok().map(|found| found.ino())
}

/// The other set-ups of this host.
#[derive(Clone, Debug, Default)]
pub struct Sharers {
    files: Vec<(PathBuf, State)>,
}

impl Sharers {
    /// Reads the state files of the other set-ups of this host; files that cannot be read are left out.
    #[must_use]
    pub fn besides(own: &Place) -> Self {
        let Some(network) = network() else { return Self::default() };
        let own: Vec<PathBuf> = own.paths().filter_map(real).collect();
        let mut directories: BTreeSet<PathBuf> =
            DIRECTORIES.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
        directories.extend(own.iter().filter_map(|path| path.parent().map(Path::to_owned)));
        let files = directories.iter().filter_map(|path| fs::read_dir(path).ok()).flatten().flatten();
        let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
        paths.retain(|path| !own.contains(path) && path.extension().is_some_and(|ending| ending == "json"));
        paths.sort();
        let state = |path: &PathBuf| fs::read(path).ok().and_then(|bytes| parse(&bytes).ok());
        let files = paths.into_iter().filter_map(|path| state(&path).map(|state| (path, state)));
        Self { files: files.filter(|(_, state)| state.network == Some(network)).collect() }
    }

    /// Returns the state file of a set-up that needs a change, if there is one.
    #[must_use]
    pub fn of(&self, change: &Change) -> Option<&Path> {
        self.files.iter().find(|(_, state)| state.needs(change)).map(|(path, _)| path.as_path())
    }
}

impl StateFile {
    /// Hands a change over to another set-up of this host, unless that does not need it any more. Returns
    /// whether it did.
    pub(in crate::host) fn hand_over(&mut self, change: &Change, to: &Path) -> Result<bool, StateError> {
        // A directory has one lock, which this process holds.
        let mut other =
            if to.parent().is_some() && to.parent() == real(&self.path).as_deref().and_then(Path::parent) {
                Self::read(to, None)?
            } else {
                Self::open(to)?
            };
        if !other.state.needs(change) {
            return Ok(false);
        }
        other.record(change.clone())?;
        self.forget(change)?;
        Ok(true)
    }
}

/// Returns the path of a file, with the links of its directory resolved.
fn real(path: &Path) -> Option<PathBuf> {
    Some(fs::canonicalize(directory(path)).ok()?.join(path.file_name()?))
}

impl State {
    fn needs(&self, change: &Change) -> bool {
        match change {
            Change::Sysctl { sysctl, .. } => match sysctl.name {
                Name::RpFilter if Kind::of_device(&sysctl.interface).is_some() => !self.tunnelled.is_empty(),
                Name::ArpIgnore | Name::ArpAnnounce | Name::RpFilter => self.vips.iter().any(IpAddr::is_ipv4),
            },
            Change::Address { address, interface } if Kind::of_device(interface).is_some() => {
                self.tunnelled.contains(&address.addr())
            }
            Change::Address { address, .. } => self.vips.contains(&address.addr()),
            Change::Device { .. } | Change::Up { .. } | Change::Program { .. } => !self.tunnelled.is_empty(),
            // A unit or a rule belongs to its own set-up only.
            Change::File { .. } | Change::Link { .. } | Change::Directory { .. } | Change::Rules(_) => false,
        }
    }
}
