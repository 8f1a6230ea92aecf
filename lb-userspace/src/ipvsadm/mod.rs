// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs ipvsadm`: command line and output of ipvsadm 1.31, for scripts that were written for IPVS.
//!
//! Grammar, messages, exit codes and pages are those of ipvsadm, byte for byte where the values are the same.

mod address; //     `host[:port]`
mod connections; // `-L -c`
mod daemons; //     `--start-daemon`, `-L --daemon`
mod grammar; //     options, and reading of words
mod help; //        `--help`, `--version`
mod kernel; //      replacement of IPVS in the kernel
mod legal; //       permitted combinations of options
mod names; //       names of hosts and ports
mod number; //      counters in nine columns
mod order; //       parsed command lines
mod page; //        `-L`
mod parse; //       parser of command lines
mod restore; //     `-R`: command lines of a file
mod rules; //       `-S`
mod run; //         execution of commands
mod sort; //        order of lists
#[cfg(test)]
pub(crate) mod tests;
mod trouble; // errors, in ipvsadm's words
mod tunnel; //  `--tun-type`
mod values; //  values of options

use std::{ffi::OsStr, path::Path};

pub use address::number as host_number;
pub use names::{Nameless, Names, System};
pub use order::Order;
pub use restore::{Line, read as read_rules};
pub use run::run;
pub use trouble::Trouble;

/// A name of the program, as in Debian's package.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Name {
    /// `ipvsadm`.
    #[default]
    Ipvsadm,
    /// `ipvsadm-save`: prints the table to stdout.
    Save,
    /// `ipvsadm-restore`: replaces the table with the rules on stdin.
    Restore,
}

impl Name {
    /// Returns the name by which the program was called, if it is one of these.
    #[must_use]
    pub fn of(program: &OsStr) -> Option<Self> {
        match Path::new(program).file_name()?.to_str()? {
            "ipvsadm" => Some(Self::Ipvsadm),
            "ipvsadm-save" => Some(Self::Save),
            "ipvsadm-restore" => Some(Self::Restore),
            _ => None,
        }
    }
}
