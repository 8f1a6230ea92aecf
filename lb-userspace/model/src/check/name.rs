// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of health checks.
#![forbid(unsafe_code)]

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Name of a health check: 1 to 64 letters, digits, dots, hyphens and underscores, and not `none`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckName(String);

impl CheckName {
    /// Maximum length in bytes.
    pub const LONGEST: usize = 64;
    /// Word that stands for no check.
    pub const NONE: &'static str = "none";

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CheckName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > Self::LONGEST {
            return Err(format!("the name of a check has 1 to {} characters", Self::LONGEST));
        }
        if text == Self::NONE {
            return Err("'none' stands for no check and cannot be the name of one".to_owned());
        }
        match text.chars().find(|one| !one.is_ascii_alphanumeric() && !".-_".contains(*one)) {
            None => Ok(Self(text.to_owned())),
            Some(wrong) => Err(format!(
                "'{text}' cannot be the name of a check: {wrong:?} is none of letters, digits, '.', '-' and '_'"
            )),
        }
    }
}

impl TryFrom<String> for CheckName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<CheckName> for String {
    fn from(name: CheckName) -> Self {
        name.0
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

crate::text_schema!(CheckName, "Name of a health check.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_plain_characters() {
        for name in ["web", "web-2.https_x", &"x".repeat(64)] {
            assert_eq!(name.parse::<CheckName>().unwrap().as_str(), name);
        }
        for (name, why) in [
            ("", "1 to 64"),
            (&*"x".repeat(65), "1 to 64"),
            ("none", "no check"),
            ("a b", "' '"),
            ("ä", "'ä'"),
        ] {
            let refused = name.parse::<CheckName>().unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
