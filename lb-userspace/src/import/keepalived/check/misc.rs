// SPDX-License-Identifier: MIT OR Apache-2.0
//! `MISC_CHECK`: a script.
#![forbid(unsafe_code)]

use super::super::{super::Kind, lines::Said, schedule::timer, way::Taken, words::escaped};

/// A script, and the meaning of its exit code.
#[derive(Clone, Debug, Default)]
pub(super) struct Misc {
    pub path: Option<Said>,
    pub command: Vec<String>,
    pub timeout: Option<(Said, u32)>,
    pub dynamic: Option<Said>,
    pub user: Option<String>,
}

impl Misc {
    /// Parses a line; `None` if it is about something else.
    pub fn take(&mut self, said: &Said, words: &[&str]) -> Option<Taken> {
        let lost = |why: &str| Some(Taken::No(why.to_owned(), Kind::Health));
        match words {
            ["misc_path", path, rest @ ..] => {
                self.command = escaped(path).unwrap_or_default();
                self.path = Some(said.clone());
                if !rest.is_empty() {
                    return lost("keepalived ignores the words after the first one: quote the whole command");
                }
            }
            ["misc_timeout", seconds, ..] => match timer(seconds).filter(|time| *time > 0) {
                Some(time) => self.timeout = Some((said.clone(), time)),
                None => return lost("it is no number of seconds: keepalived ignores the line"),
            },
            ["misc_dynamic", ..] => self.dynamic = Some(said.clone()),
            ["user", name, rest @ ..] => {
                self.user = Some((*name).to_owned());
                if rest.first().is_some_and(|group| group != name) {
                    return lost("the command runs with the groups of its user");
                }
            }
            _ => return None,
        }
        Some(Taken::Yes)
    }
}
