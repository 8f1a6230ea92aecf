// SPDX-License-Identifier: MIT OR Apache-2.0
//! The probes: one file for each type of check. A probe runs on one thread, and ends within the timeout.
#![forbid(unsafe_code)]

mod abrupt; //  streams without a FIN
mod connect; // sockets and connections
mod dns; //     DNS queries
mod exec; //    commands
mod http; //    HTTP requests
mod message; // DNS messages
mod ping; //    ICMP echo requests
mod tcp; //     TCP connections
#[cfg(test)]
mod tests;
mod tls; //     TLS
mod trace; //   progress of a probe
mod udp; //     UDP datagrams

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use lb_model::{
    check::{Check, CheckType},
    health::{LastResult, ResultCode},
};
use regex::bytes::Regex;
use tokio::{sync::mpsc::Sender, time::timeout};

pub(crate) use connect::connect;

use crate::{command::User, path::PathSockets, target::Target};
use trace::Trace;

/// Largest part of an answer that is read.
const LONGEST_ANSWER: usize = 64 * 1024;
/// Longest text of a result, in characters.
const LONGEST_TEXT: usize = 200;

/// A definition, ready to run: regular expressions are compiled, files are read, the user is known.
#[derive(Debug)]
pub struct Prepared {
    check: Arc<Check>,
    send: Vec<u8>,
    expect: Option<Regex>,
    body: Option<Regex>,
    tls: Option<tls::Tls>,
    user: Option<User>,
}

impl Prepared {
    /// Prepares a definition. Blocks while it reads certificates or the user database.
    ///
    /// # Errors
    /// If something on this host is missing: a file, a user, trusted certificates; the message is a clause.
    pub fn new(check: &Arc<Check>) -> Result<Self, String> {
        let regex = |pattern: &Option<String>| match pattern {
            None => Ok(None),
            Some(pattern) => Regex::new(pattern).map(Some).map_err(|error| error.to_string()),
        };
        let is_exec = check.kind == CheckType::Exec;
        Ok(Self {
            send: check.bytes_to_send(),
            expect: regex(&check.expect)?,
            body: regex(&check.body)?,
            tls: (check.kind == CheckType::Https).then(|| tls::Tls::new(check)).transpose()?,
            user: is_exec.then(|| User::named(check.user.as_deref().unwrap_or(Check::USER))).transpose()?,
            check: Arc::clone(check),
        })
    }
}

/// Way of a probe.
#[derive(Clone)]
pub enum Way {
    /// By the director's own routes.
    Direct,
    /// By the forwarding path.
    Path(Rc<RefCell<Box<dyn PathSockets>>>),
}

/// Result of a probe, without its times.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Outcome {
    code: ResultCode,
    text: String,
    weight_percent: Option<u8>,
}

impl Outcome {
    fn new(code: ResultCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), weight_percent: None }
    }
}

/// Probes a target once. Returns the result, and the weight that it sets, in percent. `steps` gets a line for
/// each step.
pub async fn run(
    prepared: &Prepared,
    target: &Target,
    way: &Way,
    steps: Option<Sender<String>>,
) -> (LastResult, Option<u8>) {
    let trace = Trace::new(steps);
    let limit = prepared.check.timing.timeout;
    let outcome = timeout(limit.duration(), probe(prepared, target, way, &trace)).await;
    let outcome = match outcome {
        Ok(Ok(outcome) | Err(outcome)) => outcome,
        Err(_) => trace.stage().timed_out(limit),
    };
    let Outcome { code, text, weight_percent } = outcome;
    trace.step(|| format!("{code} after {}{}", trace.elapsed(), in_front(&text)));
    (result(code, &text, trace.elapsed_us()), weight_percent)
}

/// Returns the result of a probe that could not start.
pub(crate) fn failed_to_start(why: &str) -> LastResult {
    result(ResultCode::SocketError, why, 0)
}

async fn probe(prepared: &Prepared, target: &Target, way: &Way, trace: &Trace) -> Result<Outcome, Outcome> {
    match prepared.check.kind {
        CheckType::Tcp => tcp::probe(prepared, target, way, trace).await,
        CheckType::Http | CheckType::Https => http::probe(prepared, target, way, trace).await,
        CheckType::Udp => udp::probe(prepared, target, way, trace).await,
        CheckType::Dns => dns::probe(prepared, target, way, trace).await,
        CheckType::Ping => ping::probe(target, way, trace).await,
        CheckType::Exec => exec::probe(prepared, target, trace).await,
    }
}

fn result(code: ResultCode, text: &str, duration_us: u64) -> LastResult {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    LastResult { code, text: plain(text), duration_us, at_ms }
}

fn in_front(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// Returns the text without control characters, and at most 200 characters of it.
fn plain(text: &str) -> String {
    let mut short = String::new();
    let mut length = 0;
    for one in text.chars() {
        let escaped: Vec<char> = if one.is_control() { one.escape_default().collect() } else { vec![one] };
        if length + escaped.len() > LONGEST_TEXT {
            break;
        }
        length += escaped.len();
        short.extend(escaped);
    }
    short
}

/// Returns the begin of an answer, for a message.
fn quote(answer: &[u8]) -> String {
    const SHOWN: usize = 60;
    let shown = String::from_utf8_lossy(&answer[..answer.len().min(SHOWN)]);
    let more = if answer.len() > SHOWN { "…" } else { "" };
    format!("\"{}\"{more}", plain(&shown))
}
