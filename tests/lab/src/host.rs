// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine of the lab: a namespace, and commands that run in it.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Netns, Outcome, Process, folder::Folder};

/// Seconds after which a command in the lab counts as hanging (`timeout` then ends it with 124).
const PATIENCE: &str = "120";

/// A machine of the lab.
pub struct Host {
    name: String,
    ns: Netns,
    folder: PathBuf,
}

impl Host {
    #[track_caller]
    pub(super) fn create(name: &str, folder: &Folder) -> Self {
        let ns = Netns::create(folder.namespace(name));
        let host = Self { name: name.to_owned(), ns, folder: folder.path().to_owned() };
        host.ip("link set lo up");
        host
    }

    /// Returns the name: `client`, `director`, `real1`…
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the namespace.
    pub fn ns(&self) -> &Netns {
        &self.ns
    }

    /// Returns a path in the lab's folder that only this machine uses.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.{name}", self.name))
    }

    /// Returns the lab's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs something inside.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        self.ns.run(task)
    }

    /// Runs a command line inside. Words are separated by spaces; there is no quoting.
    #[track_caller]
    pub fn sh(&self, line: &str) -> Outcome {
        self.exec(line.split_whitespace())
    }

    /// Runs a command inside, given as its words.
    #[track_caller]
    pub fn exec(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Outcome {
        let words: Vec<_> = words.into_iter().collect();
        let shown: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        self.exec_as(&shown.join(" "), &words)
    }

    /// Runs a command inside that is shown in another way.
    #[track_caller]
    pub(super) fn exec_as(&self, shown: &str, words: &[impl AsRef<OsStr>]) -> Outcome {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE).args(words).stdin(Stdio::null()).env("PATH", search_path());
        let output = self.run(|| command.output()).expect("coreutils are installed");
        Outcome::new(format!("[{}] {shown}", self.name), &output)
    }

    /// Runs commands of `ip`, one a line.
    #[track_caller]
    pub fn ip(&self, script: &str) {
        self.feed(&["ip", "-batch", "-"], script);
    }

    /// Runs a command that reads `input`, and panics if it fails.
    #[track_caller]
    pub fn feed(&self, words: &[&str], input: &str) {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env("PATH", search_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child =
            self.run(|| command.spawn()).unwrap_or_else(|error| panic!("cannot start {}: {error}", words[0]));
        // The handle is dropped at the end of the statement, which is what ends the input.
        child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads its input");
        let output = child.wait_with_output().expect("a child of ours");
        let outcome = Outcome::new(format!("[{}] {}", self.name, words.join(" ")), &output);
        assert!(outcome.is_success(), "{outcome}\n--- input\n{input}");
    }

    /// Sets a sysctl of its network, named with slashes below `/proc/sys/net`.
    #[track_caller]
    pub fn sysctl(&self, name: &str, value: &str) {
        let written = self.run(|| fs::write(format!("/proc/sys/net/{name}"), value));
        written.unwrap_or_else(|error| panic!("[{}] {name} = {value}: {error}", self.name));
    }

    /// Starts a program that runs in the background.
    #[track_caller]
    pub fn start(&self, name: &str, command: &mut Command) -> Process {
        let log = self.folder.join("log").join(format!("{}-{name}", self.name));
        command.env("PATH", search_path());
        self.run(|| Process::start(&format!("{name} of {}", self.name), command, log))
    }
}

/// Returns the search path of programs, including the administrator's folders, which not every sudo has on
/// its path.
pub(super) fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}
