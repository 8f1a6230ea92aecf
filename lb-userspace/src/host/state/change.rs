// SPDX-License-Identifier: MIT OR Apache-2.0
//! One change of set-up, with the data to undo it.

use lb_model::command;
use lb_netlink::sysctl::Sysctl;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::host::firewall::ChainName;

/// One change of set-up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Change {
    /// A sysctl got another value.
    Sysctl {
        /// Sysctl.
        sysctl: Sysctl,
        /// Previous value.
        before: i32,
    },
    /// An address was added.
    Address {
        /// Address.
        address: IpNet,
        /// Name of the interface.
        interface: String,
    },
    /// A tunnel device was created.
    Device {
        /// Name of the device.
        name: String,
    },
    /// An interface that was down was set up.
    Up {
        /// Name of the interface.
        interface: String,
    },
    /// A file was written.
    File {
        /// Path.
        path: PathBuf,
        /// Previous content; `None` if the file did not exist.
        before: Option<String>,
    },
    /// A symbolic link was created.
    Link {
        /// Path.
        path: PathBuf,
    },
    /// A directory was created.
    Directory {
        /// Path.
        path: PathBuf,
    },
    /// Rules were inserted into a chain of a firewall.
    Rules(ChainName),
    /// The XDP decapsulator was attached.
    Program {
        /// Name of the interface.
        interface: String,
        /// Directory of its pins.
        bpffs: PathBuf,
    },
}

impl Change {
    /// Returns whether both changes have the same subject, regardless of the previous state.
    pub(in crate::host) fn same_thing(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sysctl { sysctl: a, .. }, Self::Sysctl { sysctl: b, .. }) => a == b,
            (Self::File { path: a, .. }, Self::File { path: b, .. }) => a == b,
            _ => self == other,
        }
    }

    /// Returns whether the change is one of files for the next start.
    #[must_use]
    pub const fn is_for_boot(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Link { .. } | Self::Directory { .. })
    }

    /// Returns the subject in words.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Sysctl { sysctl, .. } => sysctl.to_string(),
            Self::Address { address, interface } => format!("{address} on {interface}"),
            Self::Device { name } => format!("tunnel device {name}"),
            Self::Up { interface } => interface.clone(),
            Self::Rules(chain) => format!("rules in {chain}"),
            Self::Program { interface, .. } => format!("XDP decapsulator on {interface}"),
            Self::File { path, .. } | Self::Link { path } | Self::Directory { path } => {
                path.display().to_string()
            }
        }
    }

    /// Returns an imperative for undoing the change.
    #[must_use]
    pub fn undoing(&self) -> String {
        match self {
            Self::Sysctl { before, .. } => format!("set back to {before}"),
            Self::Up { .. } => "set down".to_owned(),
            Self::Program { .. } => "detach".to_owned(),
            Self::File { before: Some(_), .. } => "put back as it was".to_owned(),
            Self::Address { .. }
            | Self::Device { .. }
            | Self::File { before: None, .. }
            | Self::Link { .. }
            | Self::Rules(_)
            | Self::Directory { .. } => "remove".to_owned(),
        }
    }

    /// Returns the command by which an operator would undo the change; `None` if only xvs can.
    #[must_use]
    pub fn undo_command(&self) -> Option<String> {
        let path = |path: &PathBuf| path.display().to_string();
        Some(match self {
            Self::Sysctl { sysctl, before } => sysctl.command(*before),
            Self::Address { address, interface } => {
                command::line(&["ip", "address", "delete", &address.to_string(), "dev", interface])
            }
            Self::Device { name } => command::line(&["ip", "link", "delete", name]),
            Self::Up { interface } => command::line(&["ip", "link", "set", interface, "down"]),
            Self::File { path: file, before: Some(text) } => command::write(&path(file), text),
            Self::File { path: file, before: None } | Self::Link { path: file } => {
                command::line(&["rm", &path(file)])
            }
            Self::Directory { path: directory } => command::line(&["rmdir", &path(directory)]),
            Self::Rules(chain) => chain.command_to_close(),
            Self::Program { .. } => return None,
        })
    }
}
