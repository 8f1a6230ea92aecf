// SPDX-License-Identifier: MIT OR Apache-2.0
//! One change that set-up made, and what undoes it.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::host::sysctl::Sysctl;

/// One thing that set-up changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Change {
    /// A setting got another value.
    Sysctl {
        /// Which setting.
        sysctl: Sysctl,
        /// Its value before.
        before: i32,
    },
    /// An address was added.
    Address {
        /// The address.
        address: IpNet,
        /// Name of the interface that it was added to.
        interface: String,
    },
    /// A tunnel device was made.
    Device {
        /// Its name.
        name: String,
    },
    /// An interface that was down was set up.
    Up {
        /// Its name.
        interface: String,
    },
    /// A file was written.
    File {
        /// Its path.
        path: PathBuf,
        /// What stood in it; `None` if there was none.
        before: Option<String>,
    },
    /// A symbolic link was made.
    Link {
        /// Its path.
        path: PathBuf,
    },
    /// A directory was made.
    Directory {
        /// Its path.
        path: PathBuf,
    },
    /// Rules were put into a chain of a firewall.
    Rules {
        /// The chain's family in nftables, or the program's name: `iptables-legacy`.
        family: String,
        /// Its table.
        table: String,
        /// Its name.
        chain: String,
    },
    /// The XDP decapsulator was attached.
    Program {
        /// Name of the interface.
        interface: String,
        /// Where its link is pinned.
        bpffs: PathBuf,
    },
}

impl Change {
    /// Whether both are about the same thing, whatever was there before.
    pub(super) fn same_thing(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sysctl { sysctl: a, .. }, Self::Sysctl { sysctl: b, .. }) => a == b,
            (Self::File { path: a, .. }, Self::File { path: b, .. }) => a == b,
            _ => self == other,
        }
    }
}
