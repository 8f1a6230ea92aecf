// SPDX-License-Identifier: MIT OR Apache-2.0
//! Blocks of lines without words of their own, and `global_defs`.
#![forbid(unsafe_code)]

use super::{
    super::{
        super::{Block, Kind, Left},
        group::{self, Group},
        lines::Line,
        silent::EVENTS,
        timeouts::timeouts,
        words::words,
    },
    OF_THE_HOST, Parser,
};

impl Parser<'_> {
    pub(super) fn global(&mut self, line: &Line, words: &[&str]) {
        if words[0] == "lvs_timeouts" && words.len() > 2 {
            return match timeouts(&words[1..], &mut self.imported.timeouts) {
                Ok(()) => self.imported.carry(&line.place),
                Err(why) => self.leave(line, &why, Kind::Setting),
            };
        }
        if let ["script_user", user, ..] = words {
            self.file.script_user = Some((*user).to_owned());
            return self.imported.carry(&line.place);
        }
        if words[0].starts_with("lvs_notify_fifo") {
            return self.leave(line, EVENTS, Kind::Health);
        }
        self.leave(line, OF_THE_HOST, Kind::Rest);
        if words[0] == "notification_email" {
            self.values(|parser, line, _| {
                parser.leave(line, OF_THE_HOST, Kind::Rest);
                Ok(())
            })
            // No error is possible in it.
            .unwrap_or_default();
        }
    }

    /// Parses a block of lines without words of their own.
    fn values(
        &mut self,
        mut each: impl FnMut(&mut Self, &Line, &[&str]) -> Result<(), Left>,
    ) -> Result<(), Left> {
        let mut needs_brace = true;
        while let Some(line) = self.next() {
            let words = words(&line.text);
            let Some(first) = words.first().copied() else { continue };
            if std::mem::take(&mut needs_brace) && first == "{" {
                continue;
            }
            if first == "}" {
                break;
            }
            each(self, &line, &words)?;
        }
        Ok(())
    }

    pub(super) fn group(&mut self, block: &Block, words: &[&str]) -> Result<(), Left> {
        let mut group = Group::new(block, words[1]);
        self.values(|parser, line, words| {
            match group.entry(&line.place, &line.text, words)? {
                Ok(()) => {}
                Err(why) => parser.leave(line, &why, Kind::Service),
            }
            Ok(())
        })?;
        match group.wrong() {
            Some(why) => group.leave(self.imported, why),
            None => self.file.groups.push(group),
        }
        Ok(())
    }

    pub(super) fn local_addresses(&mut self, line: &Line, words: &[&str]) {
        let name = words.get(1).copied().unwrap_or_default().to_owned();
        let mut addresses = Vec::new();
        self.imported.carry(&line.place);
        self.values(|parser, line, words| {
            match group::addresses(words[0]) {
                Ok(found) => {
                    addresses.extend(found);
                    parser.imported.carry(&line.place);
                }
                Err(why) => parser.leave(line, &why, Kind::Setting),
            }
            Ok(())
        })
        // No error is possible in it.
        .unwrap_or_default();
        self.file.local.push((name, addresses));
    }
}
