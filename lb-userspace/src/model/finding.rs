// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the doctor finds.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Clients are not served, or not by xvs.
    Error,
    /// Served, but slower or in danger.
    Warning,
}

impl Severity {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// The check that found it, a heading of docs/doctor.md.
    pub check: String,
    /// The service that suffers, if it is one in particular.
    pub service: Option<String>,
    /// The real that suffers or causes it, if it is one in particular.
    pub real: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, and how that was seen.
    pub cause: String,
    /// Where to mend it: `director`, or a real's address.
    pub place: String,
    /// The command line that mends it, for a shell there.
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

    /// All but what mends it, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let word = match self.severity {
            Severity::Error => "WRONG",
            Severity::Warning => "warn ",
        };
        let about = self.about().map_or(String::new(), |about| format!(" {about}"));
        format!("{word} {}{about}: {}", self.check, self.cause)
    }

    /// Returns the service that suffers, and the real if it is one in particular.
    #[must_use]
    pub fn about(&self) -> Option<String> {
        match (&self.service, &self.real) {
            (Some(service), Some(real)) => Some(format!("{service} -> {real}")),
            (Some(service), None) => Some(service.clone()),
            (None, _) => None,
        }
    }

    /// Whether both say the same of the same, in whatever words.
    #[must_use]
    pub fn is_about_the_same(&self, other: &Self) -> bool {
        let about = |one: &Self| (one.check.clone(), one.service.clone(), one.real.clone(), one.fix.clone());
        about(self) == about(other)
    }

    /// Adds the service and the real that suffer.
    pub(crate) fn of(mut self, subject: impl Into<(String, String)>) -> Self {
        let (service, real) = subject.into();
        self.service = Some(service);
        self.real = Some(real);
        self
    }

    /// Names the host on which the problem is fixed.
    pub(crate) fn on(mut self, place: std::net::IpAddr) -> Self {
        self.place = place.to_string();
        self
    }
}
