// SPDX-License-Identifier: MIT OR Apache-2.0
//! Findings of the doctor, as the API, the metrics and the log show them.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// Severity of a finding.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Clients are not served, or not by xvs.
    Error,
    /// Clients are served, but slowly or at risk.
    Warning,
}

impl Severity {
    /// Returns the name in output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// `place` of findings whose fix is run on the director.
pub const DIRECTOR: &str = "director";

/// A fault. All fields are text, so that a client also understands the checks of a newer daemon.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct FindingView {
    /// Check that found the fault, a heading of docs/doctor.md.
    pub check: String,
    /// Affected service, if the fault is about one.
    pub service: Option<String>,
    /// Real that is affected or causes the fault, if it is about one.
    pub real: Option<String>,
    /// Severity.
    pub severity: Severity,
    /// Fault, and how it was detected.
    pub cause: String,
    /// Host on which to fix the fault: [`DIRECTOR`], the address of a real, or the Ethernet address of
    /// another host.
    pub place: String,
    /// Command line that fixes the fault, for a shell on that host.
    pub fix: String,
}

impl FindingView {
    /// Returns all but the fix in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let word = match self.severity {
            Severity::Error => "WRONG",
            Severity::Warning => "warn ",
        };
        let about = self.about().map_or(String::new(), |about| format!(" {about}"));
        format!("{word} {}{about}: {}", self.check, self.cause)
    }

    /// Returns the affected service, and the real if the fault is about one.
    #[must_use]
    pub fn about(&self) -> Option<String> {
        match (&self.service, &self.real) {
            (Some(service), Some(real)) => Some(format!("{service} -> {real}")),
            (Some(service), None) => Some(service.clone()),
            (None, _) => None,
        }
    }
}
