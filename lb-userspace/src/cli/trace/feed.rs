// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reader of `POST /v1/trace`.
#![forbid(unsafe_code)]

use serde::de::DeserializeOwned;

use crate::api::{
    client::{Api, Lines},
    trace::{TraceCounts, TraceEnd, TraceQuestion, TracedPacket},
};
use lb_model::failure::Failure;

/// A reader.
pub(super) struct Feed<'a> {
    lines: Lines<'a>,
    /// Name of the event whose data comes next.
    event: String,
}

/// An event.
pub(super) enum News {
    Packet(Box<TracedPacket>),
    Counts(TraceCounts),
    End(String),
}

impl<'a> Feed<'a> {
    /// Begins a trace.
    ///
    /// # Errors
    /// If the daemon refuses, or does not answer.
    pub(super) async fn open(api: &'a Api, question: &TraceQuestion) -> Result<Self, Failure> {
        Ok(Self { lines: api.post_stream("/v1/trace", question).await?, event: String::new() })
    }

    /// Returns the next event. A call that is cancelled loses nothing.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(super) async fn next(&mut self) -> Result<News, Failure> {
        while let Some(line) = self.lines.next().await? {
            if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut self.event);
                continue;
            }
            let Some(data) = line.strip_prefix("data: ") else { continue };
            match self.event.as_str() {
                "packet" => return Ok(News::Packet(Box::new(parse(data)?))),
                "counts" => return Ok(News::Counts(parse(data)?)),
                "end" => return Ok(News::End(parse::<TraceEnd>(data)?.why)),
                // An event of a newer daemon.
                _ => {}
            }
        }
        Err(Failure::unreachable("the daemon has ended the trace")
            .hint("start the command again when the daemon runs"))
    }
}

fn parse<T: DeserializeOwned>(data: &str) -> Result<T, Failure> {
    serde_json::from_str(data).map_err(|error| {
        Failure::unreachable(format!("the daemon sent an unexpected event: {error}"))
            .hint("are daemon and command of the same version? see `xvs status` and `xvs --version`")
    })
}
