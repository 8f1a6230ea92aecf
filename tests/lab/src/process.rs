// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that runs in the background.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::wait::eventually;

/// Number of log lines that a failing test shows.
const SHOWN: usize = 40;

/// A running program. Dropping it ends it; a failing test shows the end of its log.
#[must_use]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; the caller's thread decides in which namespace.
    #[track_caller]
    pub(super) fn start(name: &str, command: &mut Command, log: PathBuf) -> Self {
        let file =
            File::options().create(true).append(true).open(&log).expect("the lab's folder is writable");
        let copy = file.try_clone().expect("a file handle more");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `look` succeeds, or panics when the program ends before.
    #[track_caller]
    pub fn is_ready_when<T>(&mut self, mut look: impl FnMut() -> Result<T, String>) -> T {
        let (name, log, child) = (&self.name, &self.log, &mut self.child);
        eventually(&format!("{name} is ready"), || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("{name} ended with {status}:\n{}", fs::read_to_string(log).unwrap_or_default());
            }
            look()
        })
    }

    /// Waits for its end and returns its exit code, `None` if a signal ended it.
    #[track_caller]
    pub fn ends(&mut self) -> Option<i32> {
        let (name, child) = (&self.name, &mut self.child);
        eventually(&format!("{name} ends"), || match child.try_wait() {
            Ok(Some(status)) => Ok(status.code()),
            still => Err(format!("{still:?}")),
        })
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("a child of ours");
    }

    /// Asks it to end, and waits until it has.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.ends()
    }

    fn signal(&self, signal: Signal) {
        // The process may have ended on its own, which is no failure.
        let _gone = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            if !log.is_empty() {
                eprintln!("--- the log of {}", self.name);
            }
            let from = log.lines().count().saturating_sub(SHOWN);
            log.lines().skip(from).for_each(|line| eprintln!("{line}"));
            self.kill();
        } else if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.stop();
        }
    }
}
