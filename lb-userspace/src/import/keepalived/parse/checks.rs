// SPDX-License-Identifier: MIT OR Apache-2.0
//! Blocks of checkers.
#![forbid(unsafe_code)]

use super::{
    super::{super::Left, check::Checker, lines::Line, way::Taken},
    Level, Parser,
};

impl Parser<'_> {
    /// Parses the block of a checker.
    pub(super) fn checker(&mut self, line: &Line, word: &str, inner: &'static str) -> Result<(), Left> {
        if self.real.is_none() {
            self.leave_skipped(line);
        }
        self.checker = self.real.is_some().then(|| Checker::new(line.said(), word));
        self.inside(Level::Check(inner))?;
        if let (Some(checker), Some(real)) = (self.checker.take(), &mut self.real) {
            real.checkers.push(checker);
        }
        Ok(())
    }

    /// Parses a line in the block of a checker, which may have blocks of this name.
    pub(super) fn of_checker(
        &mut self,
        line: &Line,
        words: &[&str],
        inner: &'static str,
    ) -> Result<(), Left> {
        let is_inner = words[0] == inner;
        let Some(checker) = &mut self.checker else {
            self.leave_skipped(line);
            if is_inner {
                self.inside(Level::Check(""))?;
            }
            return Ok(());
        };
        if is_inner {
            checker.lines.push(line.said());
            checker.open();
            self.inside(Level::Check(""))?;
            if let Some(checker) = &mut self.checker {
                checker.close();
            }
            return Ok(());
        }
        match checker.take(&line.said(), words) {
            Taken::Yes => checker.lines.push(line.said()),
            Taken::No(why, kind) => self.leave(line, &why, kind),
        }
        Ok(())
    }
}
