// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands: a process group of an unprivileged user, without a shell, which is killed at the timeout.
#![forbid(unsafe_code)]

use std::{io, os::unix::process::ExitStatusExt as _, process::Stdio};

use lb_model::health::ResultCode;
use tokio::{io::AsyncReadExt as _, net::unix::pipe, process::Command};

use super::{
    Outcome, Prepared,
    connect::{self, words},
    trace::{Stage, Trace},
};
use crate::{command, target::Target};

/// Largest part of the output that is kept, in bytes.
const LONGEST_OUTPUT: usize = 4096;

/// Runs the command of a check. Processes that it leaves behind when it ends by itself live on.
pub(super) async fn probe(prepared: &Prepared, target: &Target, trace: &Trace) -> Result<Outcome, Outcome> {
    trace.enter(Stage::Process);
    let (check, Some(user)) = (&prepared.check, &prepared.user) else {
        return Err(Outcome::new(ResultCode::SocketError, "the check has no user"));
    };
    let program = check.command.first().map_or("", String::as_str);
    let cannot = |error: io::Error| {
        let why = format!("cannot run {program} as {}: {}", user.name(), words(&error));
        Outcome::new(ResultCode::SocketError, why)
    };
    let (reader, writer) = io::pipe().map_err(cannot)?;
    let real = connect::address(target);
    let mut command = Command::new(program);
    command::clear_environment(&mut command);
    command
        .args(check.command.iter().skip(1))
        .env("XVS_CHECK", target.key.name.as_str())
        .env("XVS_VIP", target.vip.ip().to_string())
        .env("XVS_PORT", target.vip.port().to_string())
        .env("XVS_REAL", real.ip().to_string())
        .env("XVS_REAL_PORT", real.port().to_string())
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(cannot)?)
        .stderr(writer);
    let (mut child, group) = command::spawn(&mut command, user).map_err(cannot)?;
    // The command has the ends of the pipe for writing: it ends when the last process closes it.
    drop(command);
    trace.step(|| format!("started {} as {}", check.command.join(" "), user.name()));
    let mut reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(cannot)?;
    let mut output = Vec::new();
    let mut is_open = true;
    let mut buffer = vec![0; LONGEST_OUTPUT];
    let status = loop {
        tokio::select! {
            // Output comes first: the command may have written it just before its end.
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
    group.ended();
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
