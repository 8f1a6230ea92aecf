// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repeated set-up at the next start (`--persist`): a file for sysctl.d(5), so that the interface does not
//! answer for the VIP from its first moment on, and a systemd unit that runs `xvs host setup` when the
//! network is up.
//!
//! Both are generated from the state, and are changes like all others: steps of a plan ([`steps`]), recorded
//! before they are made, and undone by restore.

pub mod files; // present files, and changes of them
pub mod steps; // the steps that write them

use lb_netlink::sysctl::{Name, Sysctl};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::ValueEnum as _;
use serde::{Deserialize, Serialize};

use super::{HostError, observed::Observed, requirement::Requirement, state::Change, target::Target};
pub use files::BootError;
use files::{failed, refused};

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

/// The circumstances of `--persist`.
#[derive(Clone, Debug)]
pub struct Persist {
    /// Directory of the files: `/etc`.
    pub etc: PathBuf,
    /// This program.
    pub program: PathBuf,
    /// State file, which must survive a restart.
    pub state: PathBuf,
}

impl Persist {
    /// Returns the circumstances of this process.
    ///
    /// # Errors
    /// If the path of this program or the working directory cannot be read.
    pub fn now(etc: &Path, state: &Path) -> Result<Self, BootError> {
        let program = env::current_exe().map_err(failed("find", Path::new("this program")))?;
        let state = std::path::absolute(state).map_err(failed("find", state))?;
        Ok(Self { etc: etc.to_owned(), program, state })
    }
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
                let reason = format!(
                    "an earlier setup wrote below {before}; `--etc {before}` adds to that, `xvs host restore` removes it"
                );
                Err(refused("write below", etc, &reason))
            }
        }
    }

    /// Adds the needs of `target`, given the changes of set-up and the state of the host after them.
    pub fn add(
        &mut self,
        persist: &Persist,
        target: &Target,
        requirements: &[Requirement],
        changes: &[Change],
        observed: &Observed,
    ) -> Result<(), HostError> {
        for vip in &target.vips {
            self.commands.insert(*vip, command(&persist.program, target, *vip, &persist.state));
        }
        for sysctl in requirements.iter().filter_map(Requirement::sysctl) {
            if is_kept(sysctl, &target.interface.name, changes) {
                self.settings.insert(sysctl.to_string(), observed.sysctl(sysctl)?);
            } else {
                // An earlier version wrote the value that it found.
                self.settings.remove(&sysctl.to_string());
            }
        }
        Ok(())
    }

    /// Returns this set-up for the VIPs `remaining` only; `None` if it is for none of them.
    #[must_use]
    pub fn without_others(mut self, remaining: &BTreeSet<IpAddr>) -> Option<Self> {
        self.commands.retain(|vip, _| remaining.contains(vip));
        (!self.commands.is_empty()).then_some(self)
    }

    /// Returns the link that enables the unit, and the unit.
    fn link(&self) -> (PathBuf, PathBuf) {
        (self.etc.join(WANTED), self.etc.join(UNIT))
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
