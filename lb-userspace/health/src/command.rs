// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands as processes of an unprivileged user, each in a process group of its own.
#![forbid(unsafe_code)]

use std::io;

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use lb_model::names;

/// Search path of commands.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// User that runs a command.
#[derive(Clone, Debug)]
pub struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// Looks up an unprivileged user by name or number.
    ///
    /// # Errors
    /// A sentence, if there is no such user, or if it is root or in its group.
    pub fn named(name: &str) -> Result<Self, String> {
        match names::account(name) {
            Ok(Some(account)) if account.uid == 0 || account.gid == 0 => {
                Err(format!("user {name} is root or in its group: a command runs as an unprivileged user"))
            }
            Ok(Some(account)) => Ok(Self { name: account.name, uid: account.uid, gid: account.gid }),
            Ok(None) => Err(format!("there is no user {name}")),
            Err(error) => Err(format!("cannot look up user {name}: {error}")),
        }
    }

    /// Returns the name of the user.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A process group, which is killed if it is dropped before its leader has ended.
#[derive(Debug)]
pub struct Group(Option<Pid>);

impl Group {
    /// Notes that the leader has ended and been waited for. Processes that it has left behind live on.
    pub fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // The leader has not been waited for, so that the number still means this group.
            // There is no such group if all of its processes have just ended.
            if let Err(error @ Errno::EPERM) = killpg(group, Signal::SIGKILL) {
                tracing::warn!("cannot kill a command, process group {group}: {error}");
            }
        }
    }
}

/// Leaves a command no environment but a search path.
pub fn clear_environment(command: &mut Command) {
    command.env_clear().env("PATH", PATH);
}

/// Starts a command as a user, in a process group of its own and in the root directory. The calling thread needs
/// `CAP_SETUID` and `CAP_SETGID`, and `CAP_KILL` to kill the group.
///
/// # Errors
/// If the kernel refuses, or there is no such program.
pub fn spawn(command: &mut Command, user: &User) -> io::Result<(Child, Group)> {
    // The standard library also drops supplementary groups.
    let child = command.current_dir("/").process_group(0).gid(user.gid).uid(user.uid).spawn()?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    Ok((child, group))
}
