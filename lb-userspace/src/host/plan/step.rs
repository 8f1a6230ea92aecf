// SPDX-License-Identifier: MIT OR Apache-2.0
//! One step of a plan: its words, the command that an operator would type, and its record in the state file,
//! by which it is undone.

use lb_model::command;
use lb_netlink::sysctl::Sysctl;
use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

use ipnet::IpNet;

use crate::host::{
    Done, Outcome,
    decap::Device,
    firewall::{ChainName, Rule},
    state::Change,
};
use lb_netlink::TunnelDevice;

/// One change of this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Sets a sysctl.
    Sysctl {
        /// Sysctl.
        sysctl: Sysctl,
        /// New value.
        value: i32,
        /// Present value.
        before: i32,
    },
    /// Adds an address.
    Address {
        /// Address.
        address: IpNet,
        /// Name of the interface.
        interface: String,
        /// The address is valid inside this host only.
        host_scope: bool,
    },
    /// Creates a device that decapsulates.
    Device {
        /// Name and purpose.
        device: Device,
        /// Kind and local address.
        kind: TunnelDevice,
        /// The alternative if the kernel turns out to have no such devices, in words.
        otherwise: Option<String>,
    },
    /// Sets an interface up.
    Up {
        /// Name of the interface.
        interface: String,
        /// A step before this one creates the interface.
        is_new: bool,
    },
    /// Attaches the XDP decapsulator, or updates its tunnels.
    Program {
        /// Name of the interface.
        interface: String,
        /// Directory of its pins.
        bpffs: PathBuf,
        /// Directors whose tunnels it accepts; empty for all.
        from: BTreeSet<IpAddr>,
    },
    /// Creates a directory.
    Directory {
        /// Path.
        path: PathBuf,
    },
    /// Writes a file.
    File {
        /// Path.
        path: PathBuf,
        /// New content.
        text: String,
        /// Present content; `None` if there is no such file.
        before: Option<String>,
    },
    /// Creates a symbolic link.
    Link {
        /// Path.
        path: PathBuf,
        /// Content of the link.
        target: PathBuf,
    },
    /// Inserts a rule that accepts packets at the top of a firewall's chain.
    Insert {
        /// Name of the chain.
        chain: ChainName,
        /// Matches of the rule.
        matches: String,
        /// Comment of the rule.
        comment: String,
    },
    /// Deletes a rule of xvs that is too far down.
    Delete {
        /// Name of the chain.
        chain: ChainName,
        /// Rule.
        rule: Rule,
    },
    /// Leaves a change to another set-up of this host that needs it.
    HandOver {
        /// Change.
        change: Change,
        /// State file of the other set-up.
        to: PathBuf,
    },
    /// Undoes a recorded change.
    Undo {
        /// Change.
        change: Change,
        /// The reason why undoing changes nothing, if that is the case.
        idle: Option<String>,
    },
}

impl Step {
    /// Returns whether the step undoes a change. Such a step does not depend on those before it.
    #[must_use]
    pub const fn is_undoing(&self) -> bool {
        matches!(self, Self::Undo { .. })
    }

    /// Returns the subject in words.
    #[must_use]
    pub fn item(&self) -> String {
        match self {
            Self::Sysctl { sysctl, .. } => sysctl.to_string(),
            Self::Address { address, interface, .. } if interface == "lo" => {
                format!("VIP {}", address.addr())
            }
            Self::Address { interface, .. } => format!("address of {interface}"),
            Self::Device { .. } | Self::Program { .. } => "decapsulation".to_owned(),
            Self::Up { interface, .. } => interface.clone(),
            Self::Directory { path } | Self::File { path, .. } | Self::Link { path, .. } => {
                path.display().to_string()
            }
            Self::Insert { chain, .. } | Self::Delete { chain, .. } => chain.to_string(),
            Self::HandOver { change, .. } | Self::Undo { change, .. } => change.subject(),
        }
    }

    /// Returns the line of a dry run, with the command.
    #[must_use]
    pub fn planned(&self) -> Done {
        let (outcome, detail) = match self {
            Self::Undo { idle: Some(why), .. } => (Outcome::Already, why.clone()),
            Self::HandOver { .. } => (Outcome::Already, self.done_detail()),
            _ => (Outcome::Planned, self.imperative()),
        };
        let command = (outcome == Outcome::Planned).then(|| self.command()).flatten();
        Done { command, ..Done::new(self.item(), outcome, detail) }
    }

    fn imperative(&self) -> String {
        match self {
            Self::Sysctl { value, before, .. } => format!("set to {value} (now {before})"),
            Self::Address { address, interface, host_scope } => {
                let scope = if *host_scope { " with scope host" } else { "" };
                if interface == "lo" {
                    format!("add to lo{scope}")
                } else {
                    format!("add {}", address.addr())
                }
            }
            Self::Device { device, otherwise: None, .. } => format!("make {device}"),
            Self::Device { device, otherwise: Some(otherwise), .. } => {
                format!("make {device}; if the kernel has no such devices: {otherwise}")
            }
            Self::Up { .. } => "set up".to_owned(),
            Self::Program { interface, .. } => format!("attach the XDP program to {interface}"),
            Self::Directory { .. } => "make the directory".to_owned(),
            Self::File { .. } => "write".to_owned(),
            Self::Link { .. } => "enable for the next start".to_owned(),
            Self::Insert { matches, .. } => format!("insert at the top: {matches}: accept"),
            Self::Delete { .. } => "delete a rule of xvs below others".to_owned(),
            Self::HandOver { .. } => self.done_detail(),
            Self::Undo { change, .. } => change.undoing(),
        }
    }

    /// Returns the line about the step after it was carried out.
    #[must_use]
    pub fn done(&self) -> Done {
        let outcome = match self {
            Self::HandOver { .. } => Outcome::Already,
            Self::Undo { .. } => Outcome::Restored,
            _ => Outcome::Changed,
        };
        Done::new(self.item(), outcome, self.done_detail())
    }

    fn done_detail(&self) -> String {
        match self {
            Self::Sysctl { value, before, .. } => format!("{value} (was {before})"),
            Self::Address { address, interface, host_scope } => {
                let scope = if *host_scope { " with scope host" } else { "" };
                if interface == "lo" {
                    format!("added to lo{scope}")
                } else {
                    format!("{} added", address.addr())
                }
            }
            Self::Device { device, .. } => format!("by {device}"),
            Self::Up { .. } => "set up".to_owned(),
            Self::Program { interface, .. } => format!("by the XDP program on {interface}"),
            Self::Directory { .. } => "made".to_owned(),
            Self::File { .. } => "written".to_owned(),
            Self::Link { .. } => "enabled for the next start".to_owned(),
            Self::Insert { chain, matches, .. } if chain.is_of_iptables() => format!("{matches} -j ACCEPT"),
            Self::Insert { matches, .. } => format!("{matches} accept"),
            Self::Delete { .. } => "a rule of xvs below others deleted".to_owned(),
            Self::HandOver { to, .. } => {
                format!("stays: it is needed by what {} is about", to.display())
            }
            Self::Undo { change, .. } => change.undoing(),
        }
    }

    /// Returns the command by which an operator would do the same; `None` if only xvs can.
    #[must_use]
    pub fn command(&self) -> Option<String> {
        let path = |path: &PathBuf| path.display().to_string();
        Some(match self {
            Self::Sysctl { sysctl, value, .. } => sysctl.command(*value),
            Self::Address { address, interface, host_scope } => {
                let address_text = address.to_string();
                let mut words = vec!["ip", "address", "add", &address_text, "dev", interface];
                // A VIP is meant to be on several hosts.
                words.extend(address.addr().is_ipv6().then_some("nodad"));
                words.extend(host_scope.then_some(["scope", "host"]).into_iter().flatten());
                command::line(&words)
            }
            Self::Device { device, kind, .. } => {
                let local =
                    if let TunnelDevice::Sit(local) = kind { local.to_string() } else { String::new() };
                let mut words = vec!["ip", "link", "add", &device.name, "type", kind.kind()];
                match kind {
                    TunnelDevice::Sit(_) => words.extend(["local", &local]),
                    TunnelDevice::Ipip | TunnelDevice::Ip6tnl => words.push("external"),
                }
                command::line(&words)
            }
            Self::Up { interface, .. } => command::line(&["ip", "link", "set", interface, "up"]),
            Self::Directory { path: directory } => command::line(&["mkdir", &path(directory)]),
            Self::File { path: file, text, .. } => command::write(&path(file), text),
            Self::Link { path: link, target } => command::line(&["ln", "-s", &path(target), &path(link)]),
            Self::Insert { chain, matches, comment } => of_words(&chain.insert_words(matches, comment)),
            Self::Delete { chain, rule } => of_words(&chain.delete_words(rule)),
            Self::Undo { change, .. } => return change.undo_command(),
            Self::Program { .. } | Self::HandOver { .. } => return None,
        })
    }

    /// Returns the change that is recorded in the state file before the step is carried out. Undoing that
    /// change undoes the step.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        Some(match self {
            Self::Sysctl { sysctl, before, .. } => Change::Sysctl { sysctl: sysctl.clone(), before: *before },
            Self::Address { address, interface, .. } => {
                Change::Address { address: *address, interface: interface.clone() }
            }
            Self::Device { device, .. } => Change::Device { name: device.name.clone() },
            Self::Up { interface, is_new: false } => Change::Up { interface: interface.clone() },
            Self::Program { interface, bpffs, .. } => {
                Change::Program { interface: interface.clone(), bpffs: bpffs.clone() }
            }
            Self::Directory { path } => Change::Directory { path: path.clone() },
            Self::File { path, before, .. } => Change::File { path: path.clone(), before: before.clone() },
            Self::Link { path, .. } => Change::Link { path: path.clone() },
            Self::Insert { chain, .. } => Change::Rules(chain.clone()),
            // The device goes as a whole; old rules of xvs are replaced; the others are recorded already.
            Self::Up { is_new: true, .. }
            | Self::Delete { .. }
            | Self::HandOver { .. }
            | Self::Undo { .. } => {
                return None;
            }
        })
    }

    /// Returns the step that undoes this one, if it is recorded.
    #[must_use]
    pub fn undo(&self) -> Option<Self> {
        self.change().map(|change| Self::Undo { change, idle: None })
    }
}

fn of_words(words: &[String]) -> String {
    command::line(&words.iter().map(String::as_str).collect::<Vec<_>>())
}
