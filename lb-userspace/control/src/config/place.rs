// SPDX-License-Identifier: MIT OR Apache-2.0
//! Positions in a config file.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use lb_model::failure::Failure;

/// Converts offsets to lines and columns.
pub(super) struct Place<'a> {
    pub(super) text: &'a str,
    pub(super) path: PathBuf,
}

impl Place<'_> {
    fn name(&self, at: usize) -> String {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("{}, line {line}, column {column}", self.path.display())
    }

    /// Returns the line at an offset.
    pub(super) fn line(&self, at: usize) -> &str {
        let at = at.min(self.text.len());
        let begin = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        self.text[begin..].lines().next().unwrap_or_default()
    }

    pub(super) fn wrong(&self, at: usize, why: &str) -> Failure {
        Failure::wrong_input(format!("{}: {why}{}", self.name(at), self.pointed(at)))
            .hint("docs/cli.md shows every key of the config file; nothing was changed")
    }

    /// Returns the line with a mark below the offset, or nothing if the line is empty.
    fn pointed(&self, at: usize) -> String {
        let line = self.line(at);
        if line.trim().is_empty() {
            return String::new();
        }
        let at = at.min(self.text.len());
        let column = self.text[..at].chars().rev().take_while(|c| *c != '\n').count();
        // Tabs stay tabs, so that terminals of every tab width show the mark in the right column.
        let space: String = line.chars().take(column).map(|c| if c == '\t' { c } else { ' ' }).collect();
        format!("\n  | {line}\n  | {space}^")
    }

    pub(super) fn refine(&self, at: usize, failure: Failure) -> Failure {
        Failure { message: format!("{}: {}", self.name(at), failure.message), ..failure }
    }
}
