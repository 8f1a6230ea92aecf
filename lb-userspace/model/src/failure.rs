// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failures of commands: the message, the hint, and the exit code.
#![forbid(unsafe_code)]

use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};

/// Kind of a failure, which determines the exit code.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The request is valid, but carrying it out failed.
    Failed,
    /// The request cannot be carried out as written.
    WrongInput,
    /// The daemon cannot be reached.
    Unreachable,
}

/// Cause of a failure, for programs that must not depend on the message.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The service does not exist.
    NoService,
    /// The service exists already.
    ServiceExists,
    /// The real is not in the service.
    NoReal,
    /// The real is in the service already.
    RealExists,
    /// The check does not exist.
    NoCheck,
    /// The check exists already.
    CheckExists,
    /// A table is full.
    Full,
    /// The sender or receiver of announcements runs already.
    SyncDaemonRuns,
    /// The sender or receiver of announcements does not run.
    NoSyncDaemon,
    /// The interface does not exist.
    NoInterface,
}

/// A failed command, as shown to a person: what failed, where and why, and an optional hint.
///
/// Displays as `error: …`, then `hint: …` on a line of its own.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error, schemars::JsonSchema)]
pub struct Failure {
    /// Kind, which determines the exit code.
    pub kind: FailureKind,
    /// What failed, where, and why.
    pub message: String,
    /// Remedy, if one is known.
    pub hint: Option<String>,
    /// Cause, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<ErrorCode>,
}

impl Failure {
    /// Creates a failure of a valid request that could not be carried out: exit code 1.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Failed, message)
    }

    /// Creates a failure of a request that is wrong as written: exit code 2.
    #[must_use]
    pub fn wrong_input(message: impl Into<String>) -> Self {
        Self::new(FailureKind::WrongInput, message)
    }

    /// Creates a failure for a daemon that cannot be reached: exit code 3.
    #[must_use]
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Unreachable, message)
    }

    /// Adds a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a cause for programs.
    #[must_use]
    pub const fn because(mut self, cause: ErrorCode) -> Self {
        self.cause = Some(cause);
        self
    }

    /// Returns the exit code of the process, as documented in the help: 1 failed, 2 wrong input, 3 daemon
    /// unreachable.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self.kind {
            FailureKind::Failed => 1,
            FailureKind::WrongInput => 2,
            FailureKind::Unreachable => 3,
        }
    }

    fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, cause: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Returns an error and the errors that caused it, outermost first, joined with `: `.
///
/// Messages of this crate never contain their source, but those of some libraries do: a source whose text has
/// been printed is left out.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let message = source.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn the_hint_has_a_line_of_its_own() {
        let plain = Failure::failed("no interface eth7");
        assert_eq!(plain.to_string(), "error: no interface eth7");
        assert_eq!(plain.hint("see `ip link`").to_string(), "error: no interface eth7\nhint: see `ip link`");
    }

    #[test]
    fn exit_codes_are_as_documented() {
        assert_eq!(Failure::failed("").exit_code(), 1);
        assert_eq!(Failure::wrong_input("").exit_code(), 2);
        assert_eq!(Failure::unreachable("").exit_code(), 3);
    }
}
