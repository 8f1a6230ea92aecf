// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repeated set-up at the next start (`--persist`): a file for sysctl.d(5), so that the interface does not
//! answer for the VIP from its first moment on, and a systemd unit that runs `xvs host setup` when the
//! network is up.
//!
//! Both are generated from the state, and are changes like all others: recorded before they are made, and
//! undone by restore.

use std::{
    collections::BTreeMap,
    env, fs, io,
    net::IpAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use clap::ValueEnum as _;
use serde::{Deserialize, Serialize};

use super::{
    Done, HostError, Outcome, Report,
    requirement::Requirement,
    state::{Change, StateFile, unfinished},
    sysctl::{Name, Sysctl},
    target::Target,
};
use crate::failure::Failure;

const SETTINGS: &str = "sysctl.d/60-xvs-host.conf";
const UNIT: &str = "systemd/system/xvs-host.service";
const WANTED: &str = "systemd/system/multi-user.target.wants/xvs-host.service";

/// Set-up at the next start.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Boot {
    /// Directory of the files: `/etc`.
    pub etc: PathBuf,
    /// Command that sets up each VIP.
    pub commands: BTreeMap<IpAddr, String>,
    /// Sysctls by their name in sysctl(8).
    pub settings: BTreeMap<String, i32>,
}

/// A file of xvs below `/etc` cannot be written or removed.
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

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> BootError + 'a {
    move |reason| BootError { doing, path: path.to_owned(), reason }
}

impl Boot {
    /// Returns an empty set-up below `etc`, or the earlier one.
    ///
    /// # Errors
    /// If the earlier set-up is below another directory: a host starts with one of them.
    pub fn below(etc: &Path, earlier: Option<&Self>) -> Result<Self, BootError> {
        match earlier {
            None => Ok(Self { etc: etc.to_owned(), commands: BTreeMap::new(), settings: BTreeMap::new() }),
            Some(earlier) if earlier.etc == etc => Ok(earlier.clone()),
            Some(Self { etc: before, .. }) => {
                let before = before.display();
                Err(failed("write below", etc)(io::Error::other(format!(
                    "an earlier setup wrote below {before}; `--etc {before}` adds to that, `xvs host restore` takes it out"
                ))))
            }
        }
    }

    /// Adds the needs of `target`, given the changes of set-up. `state` is the state file, which must survive
    /// a restart.
    pub fn add(
        &mut self,
        target: &Target,
        requirements: &[Requirement],
        changes: &[Change],
        state: &Path,
    ) -> Result<(), HostError> {
        let program = env::current_exe().map_err(failed("find", Path::new("this program")))?;
        let state = std::path::absolute(state).map_err(failed("find", state))?;
        for vip in &target.vips {
            self.commands.insert(*vip, command(&program, target, *vip, &state));
        }
        for (sysctl, _) in requirements.iter().filter_map(Requirement::setting) {
            if is_kept(sysctl, &target.interface.name, changes) {
                self.settings.insert(sysctl.to_string(), sysctl.read()?);
            } else {
                // An earlier version wrote the value that it found.
                self.settings.remove(&sysctl.to_string());
            }
        }
        Ok(())
    }

    /// Returns the files and their contents.
    fn files(&self) -> [(PathBuf, String); 2] {
        let settings = self.settings.iter().map(|(name, value)| format!("{name} = {value}\n"));
        let settings = settings.collect::<String>();
        let commands = self.commands.values().map(|command| format!("ExecStart={command}\n"));
        let commands = commands.collect::<String>();
        [
            (
                self.etc.join(SETTINGS),
                format!(
                    "# Written by `xvs host setup --persist`, removed by `xvs host restore`.\n\
                     # The real server must not say that it has the VIP, from the first moment on.\n{settings}"
                ),
            ),
            (
                self.etc.join(UNIT),
                format!(
                    "# Written by `xvs host setup --persist`, removed by `xvs host restore`.\n\
                     [Unit]\n\
                     Description=xvs: VIPs of this real server\n\
                     Wants=network-online.target\n\
                     After=network-online.target\n\n\
                     [Service]\n\
                     Type=oneshot\n\
                     RemainAfterExit=yes\n\
                     {commands}\n\
                     [Install]\n\
                     WantedBy=multi-user.target\n"
                ),
            ),
        ]
    }

    /// Reports what [`Boot::write`] would do.
    pub(super) fn would(&self, report: Report<'_>) -> Result<(), BootError> {
        for (path, text) in self.files() {
            not_a_link(&path)?;
            let (outcome, detail) = match read(&path)? {
                Some(before) if before == text => (Outcome::Already, "written"),
                _ => (Outcome::Planned, "write"),
            };
            report(Done::new(path.display().to_string(), outcome, detail));
        }
        let link = self.etc.join(WANTED);
        let (outcome, detail) = if link.is_symlink() {
            (Outcome::Already, "enabled for the next start")
        } else {
            (Outcome::Planned, "enable for the next start")
        };
        report(Done::new(link.display().to_string(), outcome, detail));
        Ok(())
    }

    /// Writes the files and enables the unit.
    pub(super) fn write(&self, state: &mut StateFile, report: Report<'_>) -> Result<(), HostError> {
        for (path, text) in self.files() {
            make_directory(path.parent().unwrap_or(&self.etc), state)?;
            not_a_link(&path)?;
            let before = read(&path)?;
            let outcome = if before.as_ref() == Some(&text) {
                Outcome::Already
            } else {
                state.record(Change::File { path: path.clone(), before })?;
                write(&path, &text)?;
                Outcome::Changed
            };
            report(Done::new(path.display().to_string(), outcome, "written"));
        }
        let (link, unit) = (self.etc.join(WANTED), Path::new("../xvs-host.service"));
        make_directory(link.parent().unwrap_or(&self.etc), state)?;
        let outcome = if link.is_symlink() {
            if fs::canonicalize(&link).ok() != fs::canonicalize(self.etc.join(UNIT)).ok() {
                return Err(failed("make", &link)(io::Error::other("it leads elsewhere already")).into());
            }
            Outcome::Already
        } else {
            state.record(Change::Link { path: link.clone() })?;
            symlink(unit, &link).map_err(failed("make", &link))?;
            Outcome::Changed
        };
        report(Done::new(link.display().to_string(), outcome, "enabled for the next start"));
        Ok(())
    }
}

/// Returns whether a sysctl belongs into the file: the ARP settings must hold from the first moment on, even
/// if set-up did not change them; the reverse path filter only if set-up changed it, and not that of a tunnel
/// device, which is set when the device is created.
fn is_kept(sysctl: &Sysctl, interface: &str, changes: &[Change]) -> bool {
    let is_this = |change: &Change| matches!(change, Change::Sysctl { sysctl: other, .. } if other == sysctl);
    match sysctl.name {
        Name::ArpIgnore | Name::ArpAnnounce => true,
        Name::RpFilter => sysctl.interface == interface && changes.iter().any(is_this),
    }
}

fn command(program: &Path, target: &Target, vip: IpAddr, state: &Path) -> String {
    let word = |value: Option<clap::builder::PossibleValue>| {
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    };
    let mut words = vec![program.display().to_string(), "host".into(), "setup".into()];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    option("--vip", vip.to_string());
    option("--forward", word(target.method.to_possible_value()));
    option("--interface", target.interface.name.clone());
    if let Some(rip) = target.rip {
        option("--rip", rip.to_string());
    }
    option("--decap", word(target.decap.to_possible_value()));
    option("--bpffs", target.bpffs.display().to_string());
    option("--state", state.display().to_string());
    for (name, level) in [("--arp-ignore", target.arp.ignore), ("--arp-announce", target.arp.announce)] {
        if let Some(level) = level {
            option(name, level.to_string());
        }
    }
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// Quotes a word such that systemd.service(5) does not change it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    let escaped = word.chars().flat_map(|c| match c {
        '\\' | '"' => vec!['\\', c],
        '%' | '$' => vec![c, c],
        _ => vec![c],
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// Refuses a link in place of a file: it could not be restored, and may mean that the unit is masked.
fn not_a_link(path: &Path) -> Result<(), BootError> {
    if path.is_symlink() {
        return Err(failed("write", path)(io::Error::other("it is a link, such as `systemctl mask` makes")));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<String>, BootError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path)(e)),
    }
}

/// Writes a file atomically: at every moment it has either the old or the new content.
fn write(path: &Path, text: &str) -> Result<(), BootError> {
    let new = unfinished(path);
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).map_err(failed("write", path))
}

/// Creates `path` and its missing parents, and records each.
fn make_directory(path: &Path, state: &mut StateFile) -> Result<(), HostError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directory(parent, state)?;
    }
    state.record(Change::Directory { path: path.to_owned() })?;
    fs::create_dir(path).map_err(failed("make", path))?;
    Ok(())
}

/// Restores the previous content of a file.
pub(super) fn put_back(path: &Path, before: Option<&str>) -> Result<Done, HostError> {
    gone(&unfinished(path))?;
    match before {
        Some(text) => write(path, text)?,
        None => gone(path)?,
    }
    let detail = if before.is_some() { "as it was" } else { "removed" };
    Ok(Done::new(path.display().to_string(), Outcome::Restored, detail))
}

/// Removes a link.
pub(super) fn unlink(path: &Path) -> Result<Done, HostError> {
    gone(path)?;
    Ok(Done::new(path.display().to_string(), Outcome::Restored, "removed"))
}

/// Removes a directory, unless other files are in it by now.
pub(super) fn remove_directory(path: &Path) -> Result<Done, HostError> {
    let detail = match fs::remove_dir(path) {
        Ok(()) => "removed",
        Err(e) if e.kind() == io::ErrorKind::NotFound => "was gone already",
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => "stays: it is in use",
        Err(e) => return Err(failed("remove", path)(e).into()),
    };
    Ok(Done::new(path.display().to_string(), Outcome::Restored, detail))
}

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
    fn a_filter_that_was_only_found_is_not_written() {
        let filter = Sysctl::new("eth0", Name::RpFilter);
        let changed = [Change::Sysctl { sysctl: filter.clone(), before: 1 }];
        assert!(!is_kept(&filter, "eth0", &[]));
        assert!(is_kept(&filter, "eth0", &changed));
        assert!(!is_kept(&Sysctl::new("eth1", Name::RpFilter), "eth1", &changed), "another one was changed");
        let device = Sysctl::new("tunl0", Name::RpFilter);
        let changed = [Change::Sysctl { sysctl: device.clone(), before: 1 }];
        assert!(!is_kept(&device, "eth0", &changed));
        for name in [Name::ArpIgnore, Name::ArpAnnounce] {
            assert!(is_kept(&Sysctl::new("all", name), "eth0", &[]), "{name} must hold");
        }
    }

    #[test]
    fn systemd_takes_odd_words_as_they_are() {
        assert_eq!(quoted("/usr/bin/xvs"), "/usr/bin/xvs");
        assert_eq!(quoted("2001:db8::1"), "2001:db8::1");
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("100%$x\"\\"), "\"100%%$$x\\\"\\\\\"");
    }
}
