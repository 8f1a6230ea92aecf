// SPDX-License-Identifier: MIT OR Apache-2.0
//! Findings of the doctor.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// Severity of a finding.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
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

/// A fault.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
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
    /// Host on which to fix the fault: `director`, or a real's address.
    pub place: String,
    /// Command line that fixes the fault, for a shell on that host.
    pub fix: String,
}

impl Finding {
    pub(crate) fn new(
        check: &str,
        severity: Severity,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            check: check.to_owned(),
            service: None,
            real: None,
            severity,
            cause: cause.into(),
            place: "director".to_owned(),
            fix: fix.into(),
        }
    }

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

    /// Returns whether both findings have the same check, service, real and fix; their wording may differ.
    #[must_use]
    pub fn is_about_the_same(&self, other: &Self) -> bool {
        let about = |one: &Self| (one.check.clone(), one.service.clone(), one.real.clone(), one.fix.clone());
        about(self) == about(other)
    }

    /// Sets the affected service and real.
    pub(crate) fn of(mut self, subject: impl Into<(String, String)>) -> Self {
        let (service, real) = subject.into();
        self.service = Some(service);
        self.real = Some(real);
        self
    }

    /// Sets the host on which the fault is fixed.
    pub(crate) fn on(mut self, place: std::net::IpAddr) -> Self {
        self.place = place.to_string();
        self
    }
}
