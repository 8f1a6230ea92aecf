// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines that are not carried over.
#![forbid(unsafe_code)]

use std::{cmp::Ordering, fmt};

use super::Place;

/// Kind of the loss, the worst first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A service.
    Service,
    /// A real of a service.
    Real,
    /// A health check, or a setting of one.
    Health,
    /// A setting of a service or real.
    Setting,
    /// A line that is not about services.
    Rest,
}

/// Top-level block of a line.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Block {
    /// Position of its first line.
    pub place: Place,
    /// First line.
    pub text: String,
}

/// A line that is not carried over.
#[derive(Clone, Debug)]
pub struct Left {
    /// Position.
    pub place: Place,
    /// Text, without secrets.
    pub text: String,
    /// Reason.
    pub why: String,
    /// Kind of the loss.
    pub kind: Kind,
    /// Block of the line.
    pub block: Option<Block>,
}

/// Words before a secret.
const SECRETS: &[&str] = &["auth_pass", "password"];

impl Left {
    pub(super) fn new(place: &Place, text: &str, why: &str, kind: Kind, block: Option<&Block>) -> Self {
        // A reason has one line: the rest is a hint.
        let why = why.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Self { place: place.clone(), text: shown(text), why, kind, block: block.cloned() }
    }
}

/// Returns a line without its secret.
pub(super) fn shown(text: &str) -> String {
    let Some(at) = SECRETS.iter().filter_map(|word| Some(text.find(word)? + word.len())).min() else {
        return text.to_owned();
    };
    // The rest of the line is hidden, because a quoted secret may have blanks.
    if text[at..].trim().is_empty() { text.to_owned() } else { format!("{} ***", &text[..at]) }
}

// A line is listed once, even with several reasons.
impl Ord for Left {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.place, &self.text).cmp(&(&other.place, &other.text))
    }
}

impl PartialOrd for Left {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Left {}

impl PartialEq for Left {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, text, why, .. } = self;
        write!(f, "{}:{}: {text}: {why}", place.file.display(), place.line)
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn secrets_are_not_shown() {
        for (text, shown) in [
            ("auth_pass geheim", "auth_pass ***"),
            (
                "authentication auth_type PASS auth_pass \"ge heim\"",
                "authentication auth_type PASS auth_pass ***",
            ),
            ("password geheim", "password ***"),
            ("auth_pass", "auth_pass"),
            ("auth_type PASS", "auth_type PASS"),
        ] {
            assert_eq!(super::shown(text), shown);
        }
    }
}
