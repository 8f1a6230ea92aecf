// SPDX-License-Identifier: MIT OR Apache-2.0
//! The outcome of a command.

use std::process::Output;

/// A command that has ended.
#[derive(Debug)]
pub struct Outcome {
    command: String,
    code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    pub(super) fn new(command: String, output: &Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Self { command, code: output.status.code(), stdout, stderr }
    }

    /// Returns the command, as `[host] words`.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Returns whether the command exited with code 0, for callers that continue in either case.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// Asserts that the command exited with code 0.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.ends_with(0)
    }

    /// Asserts that the command did not exit with code 0, whatever it printed.
    #[track_caller]
    pub fn ends_without_success(self) -> Self {
        assert!(!self.is_success(), "expected to fail:\n{self}");
        self
    }

    /// Asserts that the command exited with this code, and printed `error: …`.
    #[track_caller]
    pub fn fails(self, code: i32) -> Self {
        let this = self.ends_with(code);
        assert!(this.stderr.contains("error: "), "no `error: ` in\n{this}");
        this
    }

    /// Asserts that the command printed this text, on either stream.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "no {text:?} in\n{self}");
        self
    }

    /// Asserts that the command did not print this text.
    #[track_caller]
    pub fn does_not_say(self, text: &str) -> Self {
        assert!(!self.stdout.contains(text) && !self.stderr.contains(text), "{text:?} in\n{self}");
        self
    }

    /// Returns standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}):\n{self}"))
    }

    /// Asserts that the command exited with this code.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit code {code}:\n{self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        writeln!(f, "$ {}\nended with {code}", self.command)?;
        write!(f, "--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr)
    }
}
