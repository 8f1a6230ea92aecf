// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands of a file or of stdin, one a line, as `ipvsadm -R` takes them.
#![forbid(unsafe_code)]

use super::{
    names::Names,
    parse::{Order, parse},
    trouble::Trouble,
};

/// A command and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The number of its line.
    pub number: usize,
    /// The line.
    pub text: String,
    /// What it asks for.
    pub order: Result<Order, Trouble>,
}

/// Reads commands: a line each, which may begin with `ipvsadm`. Empty lines and comments are left out.
#[must_use]
pub fn read(text: &str, names: &dyn Names) -> Vec<Line> {
    let line = |(index, line): (usize, &str)| {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if words[0] == "ipvsadm" {
            words.remove(0);
        }
        let order = if words.is_empty() { Err(Trouble::try_help()) } else { parse(&words, names) };
        Some(Line { number: index + 1, text: text.to_owned(), order })
    };
    text.lines().enumerate().filter_map(line).collect()
}
