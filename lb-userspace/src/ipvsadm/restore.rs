// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands of a file or of stdin, one per line, as `ipvsadm -R` accepts them.
#![forbid(unsafe_code)]

use super::{names::Names, order::Order, parse::parse, trouble::Trouble};

/// A command and its position.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Number of its line.
    pub number: usize,
    /// Text of the line.
    pub text: String,
    /// Parsed command.
    pub order: Result<Order, Trouble>,
    /// Deviations from the command.
    pub notes: Vec<String>,
}

/// Reads commands: one per line, which may begin with `ipvsadm`, with any path, and with `sudo`.
///
/// A backslash at the end of a line continues it. Empty lines and comments are left out.
#[must_use]
pub fn read(text: &str, names: &dyn Names) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut physical = text.trim_start_matches('\u{feff}').lines().enumerate();
    while let Some((index, line)) = physical.next() {
        let mut line = line.trim().to_owned();
        while !line.starts_with('#') && line.ends_with('\\') {
            line.pop();
            let Some((_, more)) = physical.next() else { break };
            line = format!("{} {}", line.trim_end(), more.trim());
        }
        lines.extend(command(index + 1, &line, names));
    }
    lines
}

fn command(number: usize, line: &str, names: &dyn Names) -> Option<Line> {
    // A comment begins with a word; `#` inside a word belongs to it.
    let words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    if words.is_empty() {
        return None;
    }
    if words[0] == "sudo" && words.len() > 1 {
        words.remove(0);
    }
    if words[0].rsplit('/').next() == Some("ipvsadm") {
        words.remove(0);
    }
    let mut notes = Vec::new();
    let order = if words.is_empty() { Err(Trouble::Help) } else { parse(&words, names, &mut notes) };
    Some(Line { number, text: line.to_owned(), order, notes })
}
