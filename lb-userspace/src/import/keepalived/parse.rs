// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parser of blocks and the words in them.
#![forbid(unsafe_code)]

mod checks; // checkers of a real
mod values; // blocks of lines without words of their own

use std::{net::IpAddr, path::Path};

use super::{
    super::{Block, Imported, Kind, Left},
    check::Checker,
    group::Group,
    lines::{Line, Lines},
    real::Real,
    server::Server,
    way::Taken,
    words::{
        CHECKS, HOST, LINES, VALUES_OF_CHECK, VALUES_OF_FILE, VALUES_OF_REAL, VALUES_OF_SERVER, VRRP, words,
    },
};

/// A parsed file.
#[derive(Debug, Default)]
pub struct File {
    /// Groups of addresses, in order; the first one of a name counts.
    pub groups: Vec<Group>,
    /// Virtual servers, in order.
    pub servers: Vec<Server>,
    /// SNAT addresses for full NAT, by the name of their group.
    pub local: Vec<(String, Vec<IpAddr>)>,
    /// User of the scripts that have none of their own.
    pub script_user: Option<String>,
}

/// Reason why a line about keepalived itself is not carried over.
const OF_THE_HOST: &str = "it is about keepalived or the host";

/// Reason why a real is not carried over: it has another IP version than its service.
const OTHER_VERSION: &str = "only a tunnel goes to the other version of IP";

/// Kind of a block, which determines its words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Level {
    /// The file itself.
    File,
    /// `global_defs`.
    Global,
    /// A block that is not about services and has no inner blocks.
    Flat,
    /// `virtual_server`.
    Server,
    /// `real_server`.
    Real,
    /// A check with inner blocks of this name.
    Check(&'static str),
}

impl Level {
    /// Returns the words that prevent the start of keepalived if their value is missing.
    const fn values(self) -> &'static [&'static str] {
        match self {
            Self::File => VALUES_OF_FILE,
            Self::Global | Self::Flat => &[],
            Self::Server => VALUES_OF_SERVER,
            Self::Real => VALUES_OF_REAL,
            Self::Check(_) => VALUES_OF_CHECK,
        }
    }
}

/// Parser of a file.
pub struct Parser<'a> {
    lines: Lines<'a>,
    imported: &'a mut Imported,
    file: File,
    /// Open top-level block.
    block: Option<Block>,
    /// Open server, and open real in it; `None` if their line was invalid.
    server: Option<Server>,
    real: Option<Real>,
    /// Open checker of that real.
    checker: Option<Checker>,
    depth: usize,
    skip: Skip,
    /// Reason why lines are skipped, and kind of the loss.
    skipped: (String, Kind),
}

/// State of skipping.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Skip {
    No,
    /// The block of the previous line is skipped, if it has one.
    Next,
    /// A block is being skipped; the number counts open braces.
    Block(usize),
}

impl<'a> Parser<'a> {
    /// Creates a parser of a text for a host.
    pub fn new(text: &str, path: &Path, host: Option<&'a str>, imported: &'a mut Imported) -> Self {
        Self {
            lines: Lines::new(text, path, host),
            imported,
            file: File::default(),
            block: None,
            server: None,
            real: None,
            checker: None,
            depth: 0,
            skip: Skip::No,
            skipped: (String::new(), Kind::Rest),
        }
    }

    /// Returns the content of the file.
    ///
    /// # Errors
    /// If a line prevents the start of keepalived; the error has the line.
    pub fn file(mut self) -> Result<File, Left> {
        self.stream(Level::File, false)?;
        Ok(self.file)
    }

    fn next(&mut self) -> Option<Line> {
        self.lines.next(self.imported)
    }

    fn leave(&mut self, line: &Line, why: &str, kind: Kind) {
        self.imported.leave(&line.place, &line.text, why, kind, self.block.as_ref());
    }

    fn leave_skipped(&mut self, line: &Line) {
        let (why, kind) = self.skipped.clone();
        self.leave(line, &why, kind);
    }

    /// Parses the lines of a block. Returns whether the block was skipped.
    fn stream(&mut self, level: Level, mut needs_brace: bool) -> Result<bool, Left> {
        while let Some(line) = self.next() {
            let words = words(&line.text);
            let Some(first) = words.first().copied() else { continue };
            if self.skip == Skip::Next {
                self.skip = if first == "{" { Skip::Block(1) } else { Skip::No };
                if first == "{" {
                    needs_brace = false;
                    continue;
                }
            }
            if let Skip::Block(open) = self.skip {
                let closed = self.skip_line(&line, first, open);
                if closed && self.depth > 0 {
                    return Ok(true);
                }
                continue;
            }
            if std::mem::take(&mut needs_brace) {
                if first == "{" && self.depth > 0 {
                    continue;
                }
            } else if first == "{" {
                // The brace opens no block that keepalived knows, and is ignored.
                continue;
            }
            if first == "}" {
                if self.depth > 0 {
                    return Ok(false);
                }
                continue;
            }
            if words.len() == 1 && level.values().contains(&first) {
                let why = "keepalived does not start with this line: a value is missing";
                return Err(Left::new(&line.place, &line.text, why, Kind::Service, None));
            }
            self.word(level, &line, &words)?;
        }
        Ok(false)
    }

    /// Skips a line. Returns whether the block ends with it.
    fn skip_line(&mut self, line: &Line, first: &str, open: usize) -> bool {
        let open = match first {
            "{" => open + 1,
            "}" => open - 1,
            _ => {
                self.leave_skipped(line);
                open
            }
        };
        self.skip = if open == 0 { Skip::No } else { Skip::Block(open) };
        open == 0
    }

    /// Parses the block of a word.
    fn inside(&mut self, level: Level) -> Result<bool, Left> {
        self.depth += 1;
        let skipped = self.stream(level, true)?;
        self.depth -= 1;
        Ok(skipped)
    }

    /// Skips the block of a word.
    fn skip(&mut self, why: &str, kind: Kind) {
        self.skipped = (why.to_owned(), kind);
        self.skip = Skip::Next;
    }

    fn word(&mut self, level: Level, line: &Line, words: &[&str]) -> Result<(), Left> {
        let misplaced = match (level, words[0]) {
            (Level::File, _) | (Level::Server, "real_server") => None,
            (_, "virtual_server" | "virtual_server_group") => Some(Kind::Service),
            (_, "real_server") => Some(Kind::Real),
            _ => None,
        };
        if let Some(kind) = misplaced {
            self.leave(line, "it stands inside another block: is there a brace missing before it?", kind);
            return Ok(());
        }
        match level {
            Level::File => self.root(line, words)?,
            Level::Global => self.global(line, words),
            Level::Flat => self.leave(line, "it is not about a service", Kind::Rest),
            Level::Server => self.of_server(line, words)?,
            Level::Real => self.of_real(line, words)?,
            Level::Check(inner) => self.of_checker(line, words, inner)?,
        }
        Ok(())
    }

    fn root(&mut self, line: &Line, words: &[&str]) -> Result<(), Left> {
        let block = Block { place: line.place.clone(), text: super::super::left::shown(&line.text) };
        self.block = Some(block.clone());
        match words[0] {
            "virtual_server" => {
                match Server::new(&block, &words[1..])? {
                    Ok(server) => self.server = Some(server),
                    Err(why) => {
                        self.leave(line, &why, Kind::Service);
                        self.skip(&why, Kind::Service);
                    }
                }
                let skipped = self.inside(Level::Server)?;
                if let Some(mut server) = self.server.take()
                    && !skipped
                {
                    if let Some(sorry) = server.end() {
                        sorry.leave(self.imported, &server.block, OTHER_VERSION);
                    }
                    self.file.servers.push(server);
                }
            }
            "virtual_server_group" => self.group(&block, words)?,
            "local_address_group" => self.local_addresses(line, words),
            "global_defs" => {
                self.leave(line, OF_THE_HOST, Kind::Rest);
                self.inside(Level::Global)?;
            }
            word if LINES.contains(&word) => self.leave(line, OF_THE_HOST, Kind::Rest),
            word if HOST.contains(&word) => {
                self.leave(line, OF_THE_HOST, Kind::Rest);
                self.skip(OF_THE_HOST, Kind::Rest);
                // The skipped lines belong to this block.
                return Ok(());
            }
            "SSL" | "bfd_instance" | "track_file" | "vrrp_track_file" => {
                self.leave(line, "it is not about a service", Kind::Rest);
                self.inside(Level::Flat)?;
            }
            word if VRRP.contains(&word) => {
                let why = "VRRP is not part of xvs: keepalived keeps doing it";
                self.imported.vips_elsewhere |= word == "vrrp_instance";
                self.leave(line, why, Kind::Rest);
                self.skip(why, Kind::Rest);
                self.inside(Level::Flat)?;
            }
            "real_server" => {
                self.block = None;
                let why = "it stands outside of any virtual_server: is there a brace too many before it?";
                self.leave(line, why, Kind::Real);
            }
            word => {
                self.block = None;
                let why = if word.starts_with('\u{feff}') {
                    "a byte order mark stands before it, with which keepalived does not know the word"
                } else {
                    "it stands outside of any block that keepalived 2.2.7 knows"
                };
                self.leave(line, why, Kind::Rest);
            }
        }
        self.block = None;
        Ok(())
    }

    fn of_server(&mut self, line: &Line, words: &[&str]) -> Result<(), Left> {
        let Some(server) = &mut self.server else {
            self.leave_skipped(line);
            return Ok(());
        };
        if words[0] == "real_server" {
            let skipped_why = match Real::new(&line.said(), &words[1..], server.way) {
                Ok(real) => {
                    self.real = Some(real);
                    None
                }
                Err(why) => Some(why),
            };
            if let Some(why) = &skipped_why {
                self.leave(line, why, Kind::Real);
                self.skip(why, Kind::Real);
            }
            let skipped = self.inside(Level::Real)?;
            if let (Some(real), Some(server)) = (self.real.take(), &mut self.server)
                && !skipped
                && let Some(real) = server.add(real)
            {
                real.leave(self.imported, &server.block, OTHER_VERSION);
            }
            return Ok(());
        }
        let taken = server.take(&line.said(), words);
        self.taken(taken, line, true);
        Ok(())
    }

    fn of_real(&mut self, line: &Line, words: &[&str]) -> Result<(), Left> {
        if let Some((_, inner)) = CHECKS.iter().find(|(check, _)| *check == words[0]) {
            return self.checker(line, words[0], inner);
        }
        if let Some(real) = &mut self.real {
            let taken = real.take(&line.said(), words);
            self.taken(taken, line, false);
        } else {
            self.leave_skipped(line);
        }
        Ok(())
    }

    /// Records whether a line was carried over.
    fn taken(&mut self, taken: Taken, line: &Line, of_server: bool) {
        match taken {
            Taken::Yes => {
                let lines = match (&mut self.server, &mut self.real) {
                    (_, Some(real)) if !of_server => &mut real.lines,
                    (Some(server), _) => &mut server.lines,
                    _ => return,
                };
                lines.push(line.said());
            }
            Taken::No(why, kind) => self.leave(line, &why, kind),
        }
    }
}
