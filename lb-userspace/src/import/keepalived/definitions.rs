// SPDX-License-Identifier: MIT OR Apache-2.0
//! Variables of keepalived.conf: `$NAME=value`, replaced where a line uses them.
#![forbid(unsafe_code)]

use std::{collections::HashMap, path::Path, sync::Arc};

/// Maximum number of replacements in a line, and maximum length of the result.
const MOST: usize = 1000;
const LONGEST: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Definition {
    value: String,
    /// The value has several lines: it is then replaced only at the end of a line.
    lines: bool,
}

/// Variables.
#[derive(Debug)]
pub struct Definitions(HashMap<String, Definition>);

/// Remaining lines of a definition.
#[derive(Clone, Debug)]
pub struct Rest {
    value: Arc<str>,
    at: usize,
}

impl Rest {
    /// Returns the next line, and whether more follow.
    pub fn line(&mut self) -> (String, bool) {
        let rest = &self.value[self.at..];
        match rest.find('\n') {
            Some(end) => {
                let line = rest[..end].to_owned();
                self.at += end + 1;
                (line, true)
            }
            None => (rest.to_owned(), false),
        }
    }
}

/// A text after the replacement of variables.
#[derive(Debug, Default)]
pub struct Replaced {
    /// Text.
    pub text: String,
    /// Remaining lines of multi-line definitions in the text.
    pub begun: Vec<Rest>,
}

impl Definitions {
    /// Returns the variables that keepalived itself defines.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let folder = path.parent().unwrap_or(Path::new("")).to_string_lossy().into_owned();
        let own = [("_PWD", folder.as_str()), ("_INSTANCE", ""), ("_HASH", "#"), ("_BANG", "!")];
        let definition = |(name, value): (&str, &str)| {
            (name.to_owned(), Definition { value: value.to_owned(), lines: false })
        };
        Self(own.into_iter().map(definition).collect())
    }

    /// Sets the value of a variable.
    pub fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), Definition { value, lines: false });
    }

    /// Parses `$NAME=value`. Returns the name, and whether the definition continues in the next line.
    pub fn define(&mut self, text: &str) -> Option<(String, bool)> {
        let (name, value) = text.strip_prefix('$')?.split_once('=')?;
        if !is_name(name) {
            return None;
        }
        let value = value.trim_start_matches([' ', '\t']);
        let (value, lines) = match value.strip_suffix('\\') {
            Some(value) => (value, true),
            None => (value, false),
        };
        let mut value = value.trim_end_matches([' ', '\t']).to_owned();
        if lines && !value.is_empty() {
            value.push('\n');
        }
        self.0.insert(name.to_owned(), Definition { value, lines });
        Some((name.to_owned(), lines))
    }

    /// Adds a line to a definition. Returns whether the definition continues in the next line.
    pub fn go_on(&mut self, name: &str, line: &str) -> bool {
        let Some(definition) = self.0.get_mut(name) else { return false };
        let Some(line) = line.strip_suffix('\\') else {
            definition.value.push_str(line);
            return false;
        };
        let line = line.trim_end_matches([' ', '\t']);
        if !line.is_empty() {
            definition.value.push_str(line);
            definition.value.push('\n');
        }
        true
    }

    /// Ends a multi-line definition.
    pub fn end(&mut self, name: &str) {
        if let Some(definition) = self.0.get_mut(name)
            && definition.value.is_empty()
        {
            definition.lines = false;
        }
    }

    /// Replaces variables until no defined one is left; `None` if there was none.
    ///
    /// # Errors
    /// If the variables refer to each other endlessly.
    pub fn replace(&self, text: &str) -> Result<Option<Replaced>, String> {
        let mut replaced = Replaced { text: text.to_owned(), begun: Vec::new() };
        let (mut at, mut count) = (0, 0);
        while let Some(dollar) = replaced.text[at..].find('$') {
            at += dollar;
            let Some((definition, length)) = self.find(&replaced.text[at..]) else {
                at += 1;
                continue;
            };
            count += 1;
            if count > MOST || replaced.text.len() > LONGEST {
                return Err("its variables name each other without end".to_owned());
            }
            let value = if definition.lines {
                let mut rest = Rest { value: definition.value.as_str().into(), at: 0 };
                let (line, more) = rest.line();
                if more {
                    replaced.begun.push(rest);
                }
                line
            } else {
                definition.value.clone()
            };
            replaced.text.replace_range(at..at + length, &value);
            // A sequence is parsed before its variables have values.
            if value.trim_start_matches([' ', '\t']).starts_with('~') {
                break;
            }
        }
        Ok((count > 0).then_some(replaced))
    }

    /// Finds the variable at the start of a text, `$NAME` or `${NAME}`, and the length of its name with the
    /// sigil.
    fn find(&self, text: &str) -> Option<(&Definition, usize)> {
        let after = &text[1..];
        let (name, length) = if let Some(inner) = after.strip_prefix('{') {
            let (name, _) = inner.split_once('}')?;
            (name, name.len() + 3)
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            if !after[end..].is_empty() && !after[end..].starts_with([' ', '\t', ',', ')']) {
                return None;
            }
            (&after[..end], end + 1)
        };
        if !is_name(name) {
            return None;
        }
        let definition = self.0.get(name)?;
        (!definition.lines || length == text.len()).then_some((definition, length))
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
