// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules of IPVS and of keepalived as a config of xvs, with a list of what was not carried over.
#![forbid(unsafe_code)]

pub mod ipvsadm; //    what ipvsadm-save wrote
pub mod keepalived; // keepalived.conf

use std::{collections::BTreeSet, fmt, fmt::Write as _, path::PathBuf, sync::Arc};

use crate::{
    api::types::{Change, TimeoutOptions},
    control::{config, model::Desired},
    daemon,
    failure::Failure,
};

/// Where a line stands.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The file.
    pub file: Arc<PathBuf>,
    /// The number of the line, from 1.
    pub line: usize,
}

/// A line, or a part of it, that was not carried over.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Left {
    /// Where.
    pub place: Place,
    /// What it says.
    pub text: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, text, why } = self;
        write!(f, "{}:{}: {text}: {why}", place.file.display(), place.line)
    }
}

/// What a file came to.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// The services.
    pub desired: Desired,
    /// Timeouts that the file sets.
    pub timeouts: TimeoutOptions,
    /// Lines that the config says.
    pub carried: BTreeSet<Place>,
    /// What it does not say.
    pub left: BTreeSet<Left>,
}

impl Imported {
    /// The config file.
    #[must_use]
    pub fn config(&self) -> String {
        let TimeoutOptions { tcp, tcp_fin, udp } = self.timeouts;
        let timeouts = [("tcp-timeout", tcp), ("tcp-fin-timeout", tcp_fin), ("udp-timeout", udp)];
        let mut text = String::new();
        for (key, seconds) in timeouts {
            // Writing to a string cannot fail.
            let _ = seconds.map(|seconds| writeln!(text, "{key} = \"{seconds}s\""));
        }
        // Last: lists that are empty are written as keys of no section.
        let services = config::write(&self.desired);
        if text.is_empty() { services } else { format!("{services}\n[director]\n{text}") }
    }

    /// Makes a change, unless it would not be valid.
    fn change(&mut self, change: &Change) -> Result<(), Failure> {
        daemon::apply(&mut self.desired, change)
    }

    fn carry(&mut self, place: &Place) {
        self.carried.insert(place.clone());
    }

    fn leave(&mut self, place: &Place, text: impl Into<String>, why: impl Into<String>) {
        // A reason is one line: what follows is a hint.
        let why: String = why.into();
        let why = why.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        self.left.insert(Left { place: place.clone(), text: text.into(), why });
    }
}
