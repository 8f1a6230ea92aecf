// SPDX-License-Identifier: MIT OR Apache-2.0
//! Progress of a probe: lines for the operator, and the step that a timeout interrupts.
#![forbid(unsafe_code)]

use std::{cell::Cell, time::Instant};

use lb_model::{check::Period, health::ResultCode};
use tokio::sync::mpsc::Sender;

use super::Outcome;

/// Step of a probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Waiting for the connection.
    Connect,
    /// Waiting for the end of the TLS handshake.
    Tls,
    /// Waiting for the first byte of the answer.
    Answer,
    /// The answer has begun, and does not match so far.
    Mismatch,
    /// The answer has begun, and its end is missing.
    Incomplete,
    /// Waiting for a datagram: nothing is known of the real yet.
    Datagram,
    /// Waiting for an ICMP error, whose absence is a success.
    Silence,
    /// Waiting for a command.
    Process,
}

impl Stage {
    /// Returns the outcome of a probe that a timeout interrupts in this step.
    pub fn timed_out(self, timeout: Period) -> Outcome {
        let (code, text) = match self {
            Self::Connect => {
                (ResultCode::L4Timeout, format!("no answer to the connection request within {timeout}"))
            }
            Self::Tls => (
                ResultCode::L6Timeout,
                format!("connected, but the TLS handshake did not end within {timeout}"),
            ),
            Self::Answer => (ResultCode::L7Timeout, format!("connected, but no answer within {timeout}")),
            Self::Mismatch => (ResultCode::L7Response, format!("the answer within {timeout} does not match")),
            Self::Incomplete => {
                (ResultCode::L7Timeout, format!("the answer was not complete within {timeout}"))
            }
            Self::Datagram => (ResultCode::L4Timeout, format!("no answer within {timeout}")),
            Self::Silence => (ResultCode::L4Ok, format!("no ICMP error within {timeout}")),
            Self::Process => (ResultCode::ProcessTimeout, format!("the command was killed after {timeout}")),
        };
        Outcome::new(code, text)
    }
}

/// Progress of a probe.
#[derive(Debug)]
pub(super) struct Trace {
    steps: Option<Sender<String>>,
    stage: Cell<Stage>,
    begin: Instant,
}

impl Trace {
    /// Creates the trace of a probe that starts now.
    pub fn new(steps: Option<Sender<String>>) -> Self {
        Self { steps, stage: Cell::new(Stage::Connect), begin: Instant::now() }
    }

    /// Records the step that the probe is in.
    pub fn enter(&self, stage: Stage) {
        self.stage.set(stage);
    }

    /// Returns the step that the probe is in.
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Tells a step to the operator, if one listens. A reader that is too slow misses lines.
    pub fn step(&self, line: impl FnOnce() -> String) {
        if let Some(steps) = &self.steps {
            // The probe must not wait for its reader.
            drop(steps.try_send(super::plain(&line())));
        }
    }

    /// Returns the microseconds since the start.
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Returns the time since the start, as text.
    pub fn elapsed(&self) -> String {
        milliseconds(self.elapsed_us())
    }
}

/// Returns a duration in milliseconds with one decimal.
fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}
