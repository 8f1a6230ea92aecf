// SPDX-License-Identifier: MIT OR Apache-2.0
//! Present effects of recorded changes: a change that was undone from outside needs no undoing, and a dry run
//! reports that.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Host,
    boot::files::{self, IN_USE},
    firewall::{ChainName, Rule},
    plan::restore::Recorded,
    state::Change,
};
use lb_netlink::{Address, Interface};

const GONE: &str = "was gone already";

/// Returns the changes, each with the reason why undoing it changes nothing, if there is one. An effect that
/// cannot be determined, for lack of privileges for instance, counts as present.
pub(super) async fn effects(host: &Host, changes: &[Change]) -> Vec<Recorded> {
    let interfaces = host.netlink.interfaces().await.unwrap_or_default();
    let addresses = host.netlink.addresses().await.unwrap_or_default();
    let mut recorded = Vec::new();
    for change in changes {
        let idle = match change {
            Change::Rules(chain) => without_rules(chain).await,
            Change::Program { interface, bpffs } => unless(host.xdp.is_pinned(interface, bpffs), GONE),
            change => idle(change, &interfaces, &addresses),
        };
        recorded.push(Recorded { change: change.clone(), idle });
    }
    keep_directories_in_use(&mut recorded);
    recorded
}

fn unless(is_there: bool, why: &str) -> Option<String> {
    (!is_there).then(|| why.to_owned())
}

/// Returns the reason why undoing a change of links, addresses, sysctls or files changes nothing.
fn idle(change: &Change, interfaces: &[Interface], addresses: &[Address]) -> Option<String> {
    let found = |name: &str| interfaces.iter().find(|interface| interface.name == name);
    match change {
        Change::Sysctl { sysctl, before } => match sysctl.read_if_there() {
            Ok(None) => Some("is gone, with its interface".to_owned()),
            Ok(Some(now)) => unless(now != *before, &format!("is {before} already")),
            Err(_) => None,
        },
        Change::Address { address, interface } => {
            let index = found(interface).map(|interface| interface.index);
            unless(addresses.iter().any(|one| Some(one.ifindex) == index && one.net == *address), GONE)
        }
        Change::Device { name } => unless(found(name).is_some(), GONE),
        Change::Up { interface } => match found(interface) {
            None => Some("is gone".to_owned()),
            Some(found) => unless(found.up, "is down already"),
        },
        Change::File { path, before } => match files::read(path) {
            Ok(now) if now == *before => {
                Some(if before.is_some() { "is as it was" } else { GONE }.to_owned())
            }
            _ => None,
        },
        Change::Link { path } | Change::Directory { path } => unless(exists(path), GONE),
        Change::Rules(_) | Change::Program { .. } => None,
    }
}

async fn without_rules(chain: &ChainName) -> Option<String> {
    match chain.rules().await {
        Ok(rules) => unless(rules.iter().any(Rule::is_ours), "has no rules of xvs"),
        Err(error) => unless(!error.is_gone(), "is gone"),
    }
}

fn exists(path: &Path) -> bool {
    !matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Marks the directories that stay because something else is in them.
fn keep_directories_in_use(recorded: &mut [Recorded]) {
    let mut undone: BTreeSet<PathBuf> = BTreeSet::new();
    for Recorded { change, .. } in &*recorded {
        if let Change::File { path, before: None } | Change::Link { path } = change {
            undone.insert(path.clone());
            undone.insert(files::unfinished(path));
        }
    }
    // The innermost directory was made last.
    for Recorded { change, idle } in recorded.iter_mut().rev() {
        let Change::Directory { path } = change else { continue };
        let entries = fs::read_dir(&*path).into_iter().flatten().flatten();
        if entries.map(|entry| entry.path()).all(|entry| undone.contains(&entry)) {
            undone.insert(path.clone());
        } else {
            *idle = Some(IN_USE.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_in_use_stay() {
        let dir = tempfile::tempdir().unwrap();
        let [outer, inner, file, other] =
            ["a", "a/b", "a/b/unit", "a/other"].map(|name| dir.path().join(name));
        fs::create_dir_all(&inner).unwrap();
        fs::write(&file, "").unwrap();
        let changes = [
            Change::Directory { path: outer },
            Change::Directory { path: inner },
            Change::File { path: file, before: None },
        ];
        let in_use = || {
            let mut recorded: Vec<Recorded> =
                changes.iter().map(|change| Recorded { change: change.clone(), idle: None }).collect();
            keep_directories_in_use(&mut recorded);
            recorded.iter().map(|one| one.idle.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(in_use(), [false, false, false]);
        fs::write(other, "").unwrap();
        assert_eq!(in_use(), [true, false, false]);
    }
}
