// SPDX-License-Identifier: MIT OR Apache-2.0
//! Types of the API about the config: its file, plans, revisions and confirmations.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::{Deserialize, Serialize};

use lb_model::text::count;

/// Longest time to confirm a config.
pub const CONFIRM_LONGEST: Duration = Duration::from_hours(24);

/// Config file that the daemon read.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ConfigStatus {
    /// Name of the file.
    pub file: String,
    /// Number of changes since the file was read, which the next read reverts.
    pub changes: u64,
    /// Number of differences between the file as it is now and the running state; `None` if the file has no
    /// services, or is invalid.
    #[serde(default)]
    pub differences: Option<u64>,
    /// Reason why the file is invalid now.
    #[serde(default)]
    pub error: Option<String>,
}

impl ConfigStatus {
    /// Returns the line of `xvs status`.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { file, changes, differences, error } = self;
        let since = match changes {
            0 => "no change since it was read".to_owned(),
            _ => format!("{} since it was read", count(*changes as usize, "change")),
        };
        match (error, differences) {
            (Some(error), _) => format!("{file}, {since}; it is invalid now: {error}"),
            (None, Some(0)) if *changes > 0 => format!("{file}, {since}; it is as the running state again"),
            (None, Some(number @ 1..)) => {
                let differences = count(*number as usize, "difference");
                format!("{file}, {since}; {differences} from the running state: `xvs plan {file}` shows them")
            }
            (None, _) if *changes > 0 => format!("{file}, {since}: `xvs plan {file}` shows them"),
            (None, _) => format!("{file}, {since}"),
        }
    }
}

/// A config that reverts unless it is confirmed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Unconfirmed {
    /// Seconds until it reverts.
    pub seconds_left: u64,
    /// Who applied it.
    pub by: String,
}

impl Unconfirmed {
    /// Returns the line of `xvs status`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("the config of {} reverts in {} s, unless `xvs confirm` keeps it", self.by, self.seconds_left)
    }
}

/// Author of the revision that an automatic revert makes.
pub const REVERT: &str = "revert of an unconfirmed config";

/// A revision of the config.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Revision {
    /// Number of the revision.
    pub number: u64,
    /// Time of the change, in seconds since 1970.
    pub time: u64,
    /// Who made it: a user, a token, or what the daemon did.
    pub who: String,
    /// Number of services, reals, groups and checks that were added.
    pub added: u64,
    /// Number of those that were changed.
    pub changed: u64,
    /// Number of those that were removed.
    pub removed: u64,
}

/// Changes that a config file would make.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Planned {
    /// Changes, one line each.
    pub changes: Vec<String>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
    /// Number of services, reals, groups and checks to add.
    #[serde(default)]
    pub add: u64,
    /// Number of those to change.
    #[serde(default)]
    pub change: u64,
    /// Number of those to remove.
    #[serde(default)]
    pub remove: u64,
    /// Number of open connections that end.
    #[serde(default)]
    pub breaks: u64,
    /// Number of open connections that continue on another real.
    #[serde(default)]
    pub moves: u64,
}

impl Planned {
    /// Adds a warning, if there is one.
    #[must_use]
    pub fn warn(mut self, warning: Option<String>) -> Self {
        self.warnings.extend(warning);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_whether_the_file_is_in_force() {
        let line = |changes, differences, error: Option<&str>| {
            let error = error.map(str::to_owned);
            ConfigStatus { file: "a.toml".to_owned(), changes, differences, error }.line()
        };
        assert_eq!(line(0, Some(0), None), "a.toml, no change since it was read");
        assert_eq!(
            line(0, Some(1), None),
            "a.toml, no change since it was read; 1 difference from the running state: `xvs plan a.toml` shows them"
        );
        assert!(
            line(2, Some(0), None).ends_with("2 changes since it was read; it is as the running state again")
        );
        assert!(line(1, None, None).ends_with("1 change since it was read: `xvs plan a.toml` shows them"));
        assert!(line(0, None, Some("line 3")).ends_with("it is invalid now: line 3"));
    }
}
