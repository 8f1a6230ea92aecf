// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where in a config file something stands.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::failure::Failure;

/// Turns offsets into lines and columns.
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

    pub(super) fn wrong(&self, at: usize, why: &str) -> Failure {
        Failure::wrong_input(format!("{}: {why}", self.name(at)))
            .hint("docs/cli.md shows every key of the config file; nothing was changed")
    }

    pub(super) fn refine(&self, at: usize, failure: Failure) -> Failure {
        Failure { message: format!("{}: {}", self.name(at), failure.message), ..failure }
    }
}
