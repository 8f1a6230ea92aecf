// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs ipvsadm`: the command line and the output of ipvsadm 1.31, for scripts that were written for IPVS.
//!
//! Grammar, messages, exit codes and pages are those of ipvsadm, to the byte where the values are the same.

mod address; //     host[:port]
mod connections; // -L -c
mod grammar; //     the options, and how words are read
mod help; //        --help, --version
mod kernel; //      what stands in the place of IPVS
mod legal; //       which option goes with which command
mod names; //       of hosts and ports
mod number; //      counters in nine columns
mod order; //       what a command line asks for
mod page; //        -L
mod parse; //       a command line, understood
mod restore; //     -R: command lines of a file
mod rules; //       -S
mod run; //         carries commands out
mod sort; //        the order of lists
#[cfg(test)]
pub(crate) mod tests;
mod trouble; // what went wrong, in ipvsadm's words
mod tunnel; //  --tun-type
mod values; //  of options

use std::{ffi::OsStr, path::Path};

pub use address::number as host_number;
pub use names::{Nameless, Names, System};
pub use order::Order;
pub use restore::{Line, read as read_rules};
pub use run::run;
pub use trouble::Trouble;

/// A name by which the program can be called, as Debian's package has them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Name {
    /// `ipvsadm`.
    #[default]
    Ipvsadm,
    /// `ipvsadm-save`: to stdout.
    Save,
    /// `ipvsadm-restore`: from stdin, in place of what is there.
    Restore,
}

impl Name {
    /// The name that the program was called by, if it is one of these.
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
