// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines of keepalived.conf and of the files that it includes, in the form in which keepalived's parser
//! processes them: without comments, with variables replaced and sequences expanded, and with each brace on a
//! line of its own.
#![forbid(unsafe_code)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    super::{Imported, Kind, Place},
    definitions::{Definitions, Rest},
    sequence::Sequence,
};

/// A line for the parser.
#[derive(Clone, Debug)]
pub struct Line {
    /// Position of the original line in its file.
    pub place: Place,
    /// Text.
    pub text: String,
}

/// A line, as position and text.
pub type Said = (Place, String);

impl Line {
    /// Returns the line as position and text.
    pub fn said(&self) -> Said {
        (self.place.clone(), self.text.clone())
    }
}

/// Maximum depth of includes.
const DEEPEST: usize = 16;

struct File {
    path: Arc<PathBuf>,
    lines: std::vec::IntoIter<String>,
    number: usize,
    depth: usize,
}

impl File {
    fn new(path: &Path, text: &str, depth: usize) -> Self {
        let lines: Vec<String> = text.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect();
        Self { path: Arc::new(path.to_owned()), lines: lines.into_iter(), number: 0, depth }
    }
}

/// Reader of lines.
pub struct Lines<'a> {
    /// Host name for which `@host` lines are read.
    host: Option<&'a str>,
    files: Vec<File>,
    place: Place,
    definitions: Definitions,
    sequences: Vec<Sequence>,
    /// Number of sequences that were open when the lines of a definition began: these wait until its end.
    waiting: usize,
    /// Remaining lines of a definition, and those of the enclosing definitions.
    rest: Option<Rest>,
    outer: Vec<(Rest, usize)>,
    /// Text after a brace.
    residue: Option<String>,
}

impl<'a> Lines<'a> {
    /// Creates a reader of a text for a host.
    #[must_use]
    pub fn new(text: &str, path: &Path, host: Option<&'a str>) -> Self {
        let file = File::new(path, text, 0);
        Self {
            host,
            place: Place { file: Arc::clone(&file.path), line: 0 },
            files: vec![file],
            definitions: Definitions::new(path),
            sequences: Vec::new(),
            waiting: 0,
            rest: None,
            outer: Vec::new(),
            residue: None,
        }
    }

    /// Returns the next line. Input that does not become a line, such as a definition, is marked as carried
    /// over in `imported`; omitted input is listed there.
    pub fn next(&mut self, imported: &mut Imported) -> Option<Line> {
        // Variable whose definition continues in the next line.
        let mut defining: Option<String> = None;
        let mut text = loop {
            let text = self.raw(&mut defining)?;
            if let Some(name) = defining.take() {
                imported.carry(&self.place);
                if self.definitions.go_on(&name, &text) {
                    defining = Some(name);
                }
                continue;
            }
            let Some(text) = self.understood(text, &mut defining, imported) else { continue };
            match included(&text) {
                Some(pattern) => self.include(&text, pattern, imported),
                None => break text,
            }
        };
        self.residue = divide(&mut text);
        Some(Line { place: self.place.clone(), text })
    }

    /// Returns the next non-empty piece of text: the text after a brace, the text of a sequence, a line of a
    /// definition or a line of a file.
    fn raw(&mut self, defining: &mut Option<String>) -> Option<String> {
        loop {
            if let Some(residue) = self.residue.take() {
                return Some(residue);
            }
            if self.sequences.len() > self.waiting
                && let Some(sequence) = self.sequences.last_mut()
            {
                let text = sequence.text().to_owned();
                let more = sequence.step(&mut self.definitions);
                if !more {
                    self.sequences.pop();
                }
                return Some(text);
            }
            if let Some(rest) = &mut self.rest {
                let (text, more) = rest.line();
                if !more {
                    (self.rest, self.waiting) = match self.outer.pop() {
                        Some((rest, waiting)) => (Some(rest), waiting),
                        None => (None, 0),
                    };
                }
                if text.is_empty() {
                    continue;
                }
                return Some(text);
            }
            let file = self.files.last_mut()?;
            let Some(line) = file.lines.next() else {
                self.files.pop();
                continue;
            };
            file.number += 1;
            self.place = Place { file: Arc::clone(&file.path), line: file.number };
            if line.is_empty() {
                // An empty line ends a definition.
                if let Some(name) = defining.take() {
                    self.definitions.end(&name);
                }
                continue;
            }
            let text = without_comment(&line);
            if !text.is_empty() {
                return Some(text);
            }
        }
    }

    /// Returns a text after checking its condition and replacing its variables; `None` if it is a definition,
    /// or for another host.
    fn understood(
        &mut self,
        mut text: String,
        defining: &mut Option<String>,
        imported: &mut Imported,
    ) -> Option<String> {
        loop {
            if let Some(condition) = text.strip_prefix('@') {
                let (name, after) = condition.split_once([' ', '\t']).unwrap_or((condition, ""));
                let wanted = match name.strip_prefix('^') {
                    Some(name) => self.host != Some(name),
                    None => self.host == Some(name),
                };
                if !wanted || after.is_empty() {
                    let why = match self.host {
                        Some(host) => format!("it is not for host {host}"),
                        None => "it is for one host: --host NAME names this one".to_owned(),
                    };
                    imported.leave(&self.place, &text, why, Kind::Rest, None);
                    return None;
                }
                text = text.split_off(text.len() - after.trim_start_matches([' ', '\t']).len());
            }
            if let Some((name, more)) = self.definitions.define(&text) {
                imported.carry(&self.place);
                *defining = more.then_some(name);
                return None;
            }
            if text.starts_with("~SEQ") || text.starts_with("~LST") {
                match Sequence::read(&text, &mut self.definitions) {
                    Ok(sequence) => {
                        imported.carry(&self.place);
                        self.sequences.push(sequence);
                    }
                    Err(why) => imported.leave(&self.place, &text, why, Kind::Service, None),
                }
                return None;
            }
            if text.starts_with('~') || !text.contains('$') {
                break;
            }
            match self.replace(&text) {
                Ok(Some(replaced)) => {
                    text = without_comment(&replaced);
                    // It contains nothing to carry over or to list.
                    if text.chars().all(|c| ['{', '}', ' ', '\t'].contains(&c)) {
                        imported.carry(&self.place);
                    }
                }
                Ok(None) => break,
                Err(why) => {
                    imported.leave(&self.place, &text, why, Kind::Service, None);
                    return None;
                }
            }
            if !text.starts_with('@') && !text.contains('$') {
                break;
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// Replaces the variables of a text; `None` if it has no defined one.
    fn replace(&mut self, text: &str) -> Result<Option<String>, String> {
        let Some(replaced) = self.definitions.replace(text)? else { return Ok(None) };
        for rest in replaced.begun {
            // The remaining lines of the present definition enclose those of the new one.
            if let Some(before) = self.rest.replace(rest) {
                self.outer.push((before, self.waiting));
            }
            self.waiting = self.sequences.len();
        }
        Ok(Some(replaced.text))
    }

    fn include(&mut self, text: &str, pattern: &str, imported: &mut Imported) {
        let mut leave = |why: String| imported.leave(&self.place, text, why, Kind::Service, None);
        let depth = self.files.last().map_or(0, |file| file.depth);
        if depth == DEEPEST {
            return leave("files include each other too deeply".to_owned());
        }
        let folder = self.place.file.parent().unwrap_or(Path::new(""));
        let files = matches(folder, pattern);
        if files.is_empty() {
            return leave("there is no such file".to_owned());
        }
        let mut read = Vec::new();
        for path in files {
            match content(&path) {
                Ok(text) => read.push(File::new(&path, &text, depth + 1)),
                Err(why) => leave(format!("{}: {why}", path.display())),
            }
        }
        if !read.is_empty() {
            imported.carry(&self.place);
        }
        self.files.extend(read.into_iter().rev());
    }
}

fn content(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 != 0 {
        return Err("keepalived skips what is no file, or is executable".to_owned());
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the pattern of an include line.
fn included(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("include")?;
    let rest = if rest.starts_with(['r', 'm', 'w', 'b', 'a']) { &rest[1..] } else { rest };
    rest.starts_with(char::is_whitespace).then(|| rest.trim())
}

/// Returns the files that match a pattern with braces, `*`, `?` and `[…]`, in order.
fn matches(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let one = |pattern: String| {
        // The folder itself is not a pattern.
        let path = if pattern.starts_with('/') || folder.as_os_str().is_empty() {
            pattern
        } else {
            format!("{}/{pattern}", glob::Pattern::escape(&folder.to_string_lossy()))
        };
        glob::glob_with(&path, options).into_iter().flatten().flatten().collect::<Vec<_>>()
    };
    alternatives(pattern).into_iter().flat_map(one).collect()
}

/// Expands `{a,b}` as a shell does.
fn alternatives(pattern: &str) -> Vec<String> {
    let Some(open) = pattern.find('{') else { return vec![pattern.to_owned()] };
    let (mut depth, mut parts, mut start) = (0, Vec::new(), open + 1);
    for (at, c) in pattern.char_indices().skip_while(|(at, _)| *at < open) {
        match c {
            '{' => depth += 1,
            ',' if depth == 1 => {
                parts.push(&pattern[start..at]);
                start = at + 1;
            }
            '}' if depth == 1 => {
                parts.push(&pattern[start..at]);
                let (before, after) = (&pattern[..open], &pattern[at + 1..]);
                return parts
                    .iter()
                    .flat_map(|part| alternatives(&format!("{before}{part}{after}")))
                    .collect();
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    vec![pattern.to_owned()]
}

/// Removes a comment, and blanks at both ends. A backslash before `#` or `!` outside quotes makes these
/// ordinary characters; one at the end of the line stays, even behind a comment.
fn without_comment(line: &str) -> String {
    let line = line.trim_start_matches([' ', '\t']);
    let (mut text, mut quoted, mut comment, mut goes_on) = (String::new(), false, None, false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if comment.is_none() => quoted = !quoted,
            '\\' => match chars.next() {
                None => {
                    goes_on = true;
                    break;
                }
                Some(next @ ('#' | '!')) if !quoted => {
                    text.push(next);
                    continue;
                }
                Some(next) => {
                    text.push(c);
                    text.push(next);
                    continue;
                }
            },
            '#' | '!' if !quoted && comment.is_none() => comment = Some(text.len()),
            _ => {}
        }
        text.push(c);
    }
    if let Some(end) = comment {
        text.truncate(end);
    }
    text.truncate(text.trim_end_matches([' ', '\t']).len());
    if goes_on {
        text.push('\\');
    }
    text
}

/// Cuts a text at its first brace outside quotes, and returns the rest.
fn divide(text: &mut String) -> Option<String> {
    let brace = if text.starts_with(['{', '}']) {
        Some(0)
    } else {
        let mut at = 0;
        loop {
            let Some(found) = text[at..].find(['{', '}', '"']) else { break None };
            at += found;
            if !text[at..].starts_with('"') {
                break Some(at);
            }
            match text[at + 1..].find('"') {
                Some(close) => at += close + 2,
                None => break None,
            }
        }
    };
    let residue = brace.and_then(|at| {
        let cut = if at == 0 {
            let rest = &text[1..];
            1 + rest.len() - rest.trim_start_matches([' ', '\t']).len()
        } else {
            at
        };
        let residue = text[cut..].trim_end_matches([' ', '\t']).to_owned();
        text.truncate(cut);
        (!residue.is_empty()).then_some(residue)
    });
    text.truncate(text.trim_end_matches([' ', '\t']).len());
    residue
}
