// SPDX-License-Identifier: MIT OR Apache-2.0
//! keepalived.conf as a tree of statements: comments, quotes, braces, includes, conditions, variables.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::super::{Imported, Place};

/// A line, and the block that it opens.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Where it stands.
    pub place: Place,
    /// Its words, without quotes.
    pub words: Vec<String>,
    /// The statements in its braces.
    pub block: Option<Vec<Statement>>,
}

impl Statement {
    /// The statement as one line.
    #[must_use]
    pub fn text(&self) -> String {
        if self.words.is_empty() { "{".to_owned() } else { self.words.join(" ") }
    }
}

/// How deep files may include each other.
const DEEPEST: usize = 16;

/// Reads files.
pub struct Reader<'a> {
    /// Name of the host that `@host` lines are for.
    pub host: Option<&'a str>,
    /// What could not be read.
    pub imported: &'a mut Imported,
    variables: HashMap<String, String>,
    /// A statement for each open brace, and the file's own statements below them.
    open: Vec<(Option<Statement>, Vec<Statement>)>,
}

enum Token {
    Word(String),
    Open,
    Close,
}

impl<'a> Reader<'a> {
    /// Reads for a host.
    pub fn new(host: Option<&'a str>, imported: &'a mut Imported) -> Self {
        Self { host, imported, variables: HashMap::new(), open: vec![(None, Vec::new())] }
    }

    /// The statements of a text and of the files that it includes.
    pub fn read(mut self, text: &str, path: &Path) -> Vec<Statement> {
        self.file(text, path, 0);
        while self.open.len() > 1 {
            if let Some((Some(statement), _)) = self.open.last() {
                let (place, text) = (statement.place.clone(), statement.text());
                self.imported.leave(&place, text, "its block is not closed");
            }
            self.close();
        }
        self.open.pop().map(|(_, statements)| statements).unwrap_or_default()
    }

    fn close(&mut self) {
        if let Some((Some(mut statement), block)) = self.open.pop()
            && let Some((_, outer)) = self.open.last_mut()
        {
            statement.block = Some(block);
            outer.push(statement);
        }
    }

    fn file(&mut self, text: &str, path: &Path, depth: usize) {
        let file = Arc::new(path.to_owned());
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let place = Place { file: Arc::clone(&file), line: index + 1 };
            let mut line = line.trim().to_owned();
            // A definition goes on in the next line after a backslash.
            while line.starts_with('$') && line.ends_with('\\') {
                line.pop();
                let Some((_, more)) = lines.next() else { break };
                line.push_str(more.trim());
            }
            self.line(&line, &place, depth);
        }
    }

    fn line(&mut self, line: &str, place: &Place, depth: usize) {
        let mut rest = line;
        while let Some(condition) = rest.strip_prefix('@') {
            let (name, after) = condition.split_once(char::is_whitespace).unwrap_or((condition, ""));
            let wanted = match name.strip_prefix('^') {
                Some(name) => self.host != Some(name),
                None => self.host == Some(name),
            };
            if !wanted {
                let host = self.host.unwrap_or("none: choose one by --host");
                self.imported.leave(place, line, format!("not for this host ({host})"));
                return;
            }
            rest = after.trim_start();
        }
        if let Some((name, value)) = definition(rest) {
            match self.expand(value) {
                Ok(value) => {
                    self.variables.insert(name.to_owned(), value);
                    self.imported.carry(place);
                }
                Err(name) => self.imported.leave(place, line, format!("variable {name} is not defined")),
            }
            return;
        }
        let expanded = match self.expand(rest) {
            Ok(expanded) => expanded,
            Err(name) => {
                self.imported.leave(place, line, format!("variable {name} is not defined"));
                // Its brace still opens a block.
                rest.to_owned()
            }
        };
        self.tokens(&expanded, place, depth);
    }

    fn tokens(&mut self, line: &str, place: &Place, depth: usize) {
        let (tokens, closed) = tokens(line);
        if !closed {
            self.imported.leave(place, line, "a quote is not closed");
        }
        let mut words = Vec::new();
        for token in tokens {
            match token {
                Token::Word(word) => words.push(word),
                Token::Open => {
                    let words = std::mem::take(&mut words);
                    let before = self.open.last_mut().and_then(|(_, statements)| statements.pop());
                    let statement = match before {
                        // The brace of the line before.
                        Some(before) if words.is_empty() && before.block.is_none() => before,
                        before => {
                            if let Some((_, statements)) = self.open.last_mut() {
                                statements.extend(before);
                            }
                            Statement { place: place.clone(), words, block: None }
                        }
                    };
                    self.open.push((Some(statement), Vec::new()));
                }
                Token::Close => {
                    self.statement(std::mem::take(&mut words), place, depth);
                    if self.open.len() > 1 {
                        self.close();
                    } else {
                        self.imported.leave(place, "}", "it closes no block");
                    }
                }
            }
        }
        self.statement(words, place, depth);
    }

    fn statement(&mut self, words: Vec<String>, place: &Place, depth: usize) {
        let Some(first) = words.first() else { return };
        if !matches!(
            first.as_str(),
            "include" | "includer" | "includem" | "includew" | "includeb" | "includea"
        ) {
            if let Some((_, statements)) = self.open.last_mut() {
                statements.push(Statement { place: place.clone(), words, block: None });
            }
            return;
        }
        let text = words.join(" ");
        let Some(pattern) = words.get(1) else {
            return self.imported.leave(place, text, "it names no file");
        };
        if depth == DEEPEST {
            return self.imported.leave(place, text, "files include each other too deeply");
        }
        let folder = place.file.parent().unwrap_or(Path::new("")).to_owned();
        let files = matches(&folder, pattern);
        if files.is_empty() {
            self.imported.leave(place, text.clone(), "there is no such file");
        }
        for path in files {
            match fs::read_to_string(&path) {
                Ok(included) => {
                    self.imported.carry(place);
                    self.file(&included, &path, depth + 1);
                }
                Err(error) => {
                    self.imported.leave(place, text.clone(), format!("{}: {error}", path.display()));
                }
            }
        }
    }

    /// Puts values in the place of `$NAME` and `${NAME}`; or the name that has none.
    fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let (name, left) = match after.strip_prefix('{').and_then(|after| after.split_once('}')) {
                Some(split) => split,
                None => after.split_at(
                    after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len()),
                ),
            };
            // In a comment a dollar is nothing.
            if before.contains(['#', '!']) {
                out.push('$');
                rest = after;
                continue;
            }
            out.push_str(self.variables.get(name).ok_or_else(|| format!("${name}"))?);
            rest = left;
        }
        Ok(out + rest)
    }
}

/// `$NAME=value`.
fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('$')?.split_once('=')?;
    let name = name.trim();
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain.then_some((name, value.trim()))
}

/// Words and braces of a line, and whether every quote is closed.
fn tokens(line: &str) -> (Vec<Token>, bool) {
    let (mut tokens, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#' | '!') => break,
            (None, '{' | '}') => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(if c == '{' { Token::Open } else { Token::Close });
            }
            (None, c) if c.is_whitespace() => tokens.extend(word.take().map(Token::Word)),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    tokens.extend(word.map(Token::Word));
    (tokens, quote.is_none())
}

/// Files of a pattern whose last part may have `*` and `?`, in their order.
fn matches(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let path = folder.join(pattern);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !name.contains(['*', '?']) {
        return if path.is_file() { vec![path] } else { Vec::new() };
    }
    let entries = path.parent().and_then(|folder| fs::read_dir(folder).ok());
    let files = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let is_like = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        like(name.as_bytes(), file.as_bytes()) && path.is_file()
    };
    let mut files: Vec<PathBuf> = files.filter(is_like).collect();
    files.sort();
    files
}

fn like(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', more)), None) => like(more, name),
        (Some((b'*', more)), Some((_, left))) => like(more, name) || like(pattern, left),
        (Some((p, more)), Some((n, left))) => (*p == b'?' || p == n) && like(more, left),
        _ => false,
    }
}
