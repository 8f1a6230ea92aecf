// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands: a process group of an unprivileged user, without a shell, which is killed at the timeout.
#![forbid(unsafe_code)]

use std::{io, os::unix::process::ExitStatusExt as _, process::Stdio};

use lb_model::{check::Check, health::ResultCode};
use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::{Gid, Pid, Uid, User as Account},
};
use tokio::{io::AsyncReadExt as _, net::unix::pipe, process::Command};

use super::{
    Outcome, Prepared,
    connect::{self, words},
    trace::{Stage, Trace},
};
use crate::target::Target;

/// Search path of commands.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Largest part of the output that is kept, in bytes.
const LONGEST_OUTPUT: usize = 4096;

/// User that runs a command.
#[derive(Debug)]
pub(super) struct User {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl User {
    /// Returns the user of a check, by name or number.
    pub fn of(check: &Check) -> Result<Self, String> {
        let name = check.user.as_deref().unwrap_or(Check::USER);
        let account = match name.parse() {
            Ok(number) => Account::from_uid(Uid::from_raw(number)),
            Err(_) => Account::from_name(name),
        };
        match account {
            Ok(Some(account)) if account.uid.is_root() || account.gid.as_raw() == 0 => {
                Err(format!("user {name} is root or in its group: a command runs as an unprivileged user"))
            }
            Ok(Some(account)) => Ok(Self { name: account.name, uid: account.uid, gid: account.gid }),
            Ok(None) => Err(format!("there is no user {name}")),
            Err(error) => Err(format!("cannot look up user {name}: {error}")),
        }
    }
}

/// A process group, which is killed if it is dropped before its leader has ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // The leader has not been waited for, so that the number still means this group.
            // There is no such group if all of its processes have just ended.
            if let Err(error @ Errno::EPERM) = killpg(group, Signal::SIGKILL) {
                tracing::warn!("cannot kill the command of a check, process group {group}: {error}");
            }
        }
    }
}

/// Runs the command of a check. Processes that it leaves behind when it ends by itself live on.
pub(super) async fn probe(prepared: &Prepared, target: &Target, trace: &Trace) -> Result<Outcome, Outcome> {
    trace.enter(Stage::Process);
    let (check, Some(user)) = (&prepared.check, &prepared.user) else {
        return Err(Outcome::new(ResultCode::SocketError, "the check has no user"));
    };
    let program = check.command.first().map_or("", String::as_str);
    let cannot = |error: io::Error| {
        let why = format!("cannot run {program} as {}: {}", user.name, words(&error));
        Outcome::new(ResultCode::SocketError, why)
    };
    let (reader, writer) = io::pipe().map_err(cannot)?;
    let real = connect::address(target);
    let mut command = Command::new(program);
    command
        .args(check.command.iter().skip(1))
        .env_clear()
        .env("PATH", PATH)
        .env("XVS_CHECK", target.key.name.as_str())
        .env("XVS_VIP", target.vip.ip().to_string())
        .env("XVS_PORT", target.vip.port().to_string())
        .env("XVS_REAL", real.ip().to_string())
        .env("XVS_REAL_PORT", real.port().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(cannot)?)
        .stderr(writer)
        .process_group(0)
        // The standard library also drops supplementary groups.
        .gid(user.gid.as_raw())
        .uid(user.uid.as_raw());
    let mut child = command.spawn().map_err(cannot)?;
    // The command has the ends of the pipe for writing: it ends when the last process closes it.
    drop(command);
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    trace.step(|| format!("started {} as {}", check.command.join(" "), user.name));
    let mut reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(cannot)?;
    let mut output = Vec::new();
    let mut is_open = true;
    let mut buffer = vec![0; LONGEST_OUTPUT];
    let status = loop {
        tokio::select! {
            // What was written before the end is read before the end is noticed.
            biased;
            chunk = reader.read(&mut buffer), if is_open => match chunk {
                Ok(0) | Err(_) => is_open = false,
                Ok(length) => {
                    let room = LONGEST_OUTPUT - output.len();
                    output.extend_from_slice(&buffer[..length.min(room)]);
                }
            },
            status = child.wait() => break status.map_err(cannot)?,
        }
    };
    group.0 = None;
    while let Ok(length @ 1..) = reader.try_read(&mut buffer)
        && output.len() < LONGEST_OUTPUT
    {
        let room = LONGEST_OUTPUT - output.len();
        output.extend_from_slice(&buffer[..length.min(room)]);
    }
    let text = String::from_utf8_lossy(&output);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let failed = |what: String| {
        let text = if line.is_empty() { what } else { format!("{what}: {line}") };
        Err(Outcome::new(ResultCode::ProcessError, text))
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(Outcome::new(ResultCode::ProcessOk, line)),
        (Some(code @ 2..=255), _) if check.dynamic_weight => {
            let weight_percent = u8::try_from(code - 2).ok();
            Ok(Outcome { code: ResultCode::ProcessOk, text: line.to_owned(), weight_percent })
        }
        (Some(code), _) => failed(format!("exit code {code}")),
        (None, Some(signal)) => failed(format!("killed by signal {signal}")),
        (None, None) => failed("ended in an unknown way".to_owned()),
    }
}
