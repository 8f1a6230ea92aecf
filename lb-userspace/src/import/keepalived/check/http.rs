// SPDX-License-Identifier: MIT OR Apache-2.0
//! `url` of `HTTP_GET` and `SSL_GET`.
#![forbid(unsafe_code)]

use super::super::{super::Kind, lines::Said, schedule::Notes, way::Taken, words::escaped};
use lb_model::check::{Check, CheckType, StatusRanges};

/// A request, and the expected answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Url {
    pub path: Option<String>,
    pub virtualhost: Option<String>,
    status: Vec<(u16, u16)>,
    regex: Option<(Said, String)>,
    /// Flags of the regular expression, in the syntax of the regex crate.
    flags: String,
    no_match: bool,
}

impl Url {
    /// Parses a line; `None` if its word is unknown.
    pub fn take(&mut self, said: &Said, words: &[&str]) -> Option<Taken> {
        let value = words.get(1).copied().unwrap_or_default();
        let lost = |why: String| Some(Taken::No(why, Kind::Health));
        match words[0] {
            "path" if words.len() > 1 => self.path = Some(value.to_owned()),
            "virtualhost" if words.len() > 1 => self.virtualhost = Some(value.to_owned()),
            "digest" => {
                return lost(
                    "the check examines the status, since there is no digest of the body: `body = REGEX` \
                     examines the body"
                        .to_owned(),
                );
            }
            "status_code" => {
                let mut wrong = Vec::new();
                for word in &words[1..] {
                    match range(word) {
                        Some(range) => self.status.push(range),
                        None => wrong.push(*word),
                    }
                }
                if !wrong.is_empty() {
                    return lost(format!("{} is no status from 100 to 599", wrong.join(", ")));
                }
            }
            // keepalived reads this line with escapes, and ignores it if it has more words.
            "regex" => match escaped(&said.1).as_deref() {
                Some([_, pattern]) => self.regex = Some((said.clone(), pattern.clone())),
                _ => return lost("keepalived takes one word, in quotes, and ignores the line".to_owned()),
            },
            "regex_no_match" => self.no_match = true,
            "regex_options" => {
                let mut wrong = Vec::new();
                for word in &words[1..] {
                    match *word {
                        "caseless" => self.flags.push('i'),
                        "dotall" => self.flags.push('s'),
                        "extended" => self.flags.push('x'),
                        "multiline" => self.flags.push('m'),
                        "ungreedy" => self.flags.push('U'),
                        // Patterns are of Unicode in any case, and the rest changes only the speed.
                        "utf" | "ucp" | "no_auto_capture" | "no_auto_possess" | "no_dotstar_anchor"
                        | "no_start_optimize" => {}
                        other => wrong.push(other),
                    }
                }
                if !wrong.is_empty() {
                    return lost(format!("regular expressions have no option {}", wrong.join(", ")));
                }
            }
            "regex_min_offset" | "regex_max_offset" => {
                return lost("the pattern is searched for in the first 64 KiB of the body".to_owned());
            }
            // It is about the memory of the matcher.
            "regex_stack" => {}
            _ => return None,
        }
        Some(Taken::Yes)
    }

    /// Returns the statuses of a success.
    pub fn statuses(&self) -> StatusRanges {
        let ranges: Vec<String> = self.status.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        // `status_code 200` is 200, not 200-200, and keepalived's default is every 2xx.
        ranges.join(",").parse().or_else(|_| "200-299".parse()).unwrap_or_default()
    }

    /// Returns the pattern of the body. A note has the reason why there is none.
    pub fn body(&self, notes: &mut Notes) -> Option<String> {
        let (said, pattern) = self.regex.as_ref()?;
        if self.no_match {
            let why = "a check cannot demand that a pattern is missing: it examines the status";
            notes.push((said.clone(), why.to_owned()));
            return None;
        }
        let pattern =
            if self.flags.is_empty() { pattern.clone() } else { format!("(?{}){pattern}", self.flags) };
        let check = Check { body: Some(pattern.clone()), ..Check::new(CheckType::Http) };
        if check.validate().is_err() {
            let why = "the pattern has a feature of PCRE that checks lack: the check examines the status";
            notes.push((said.clone(), why.to_owned()));
            return None;
        }
        Some(pattern)
    }
}

/// Parses a status or a range of statuses.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && first >= 100 && last <= 599).then_some((first, last))
}
