// SPDX-License-Identifier: MIT OR Apache-2.0
//! One change of set-up, with the data to undo it.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::host::sysctl::Sysctl;

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
    Rules {
        /// Family of the chain in nftables, or name of the program: `iptables-legacy`.
        family: String,
        /// Table of the chain.
        table: String,
        /// Name of the chain.
        chain: String,
    },
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
    pub(super) fn same_thing(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sysctl { sysctl: a, .. }, Self::Sysctl { sysctl: b, .. }) => a == b,
            (Self::File { path: a, .. }, Self::File { path: b, .. }) => a == b,
            _ => self == other,
        }
    }
}
