// SPDX-License-Identifier: MIT OR Apache-2.0
//! TCP checks: connect, perhaps send a text, perhaps expect an answer.
#![forbid(unsafe_code)]

use lb_model::health::ResultCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    LONGEST_ANSWER, Outcome, Prepared, Way,
    connect::{self, words},
    quote,
    trace::{Stage, Trace},
};
use crate::target::Target;

/// Probes a target.
pub(super) async fn probe(
    prepared: &Prepared,
    target: &Target,
    way: &Way,
    trace: &Trace,
) -> Result<Outcome, Outcome> {
    // Declared in this order, the socket is closed before its port is given back.
    let (_lease, mut stream) = connect::tcp(target, way, trace).await?;
    trace.enter(Stage::Answer);
    if !prepared.send.is_empty() {
        let lost = |error| Outcome::new(ResultCode::L7Response, format!("cannot send: {}", words(&error)));
        stream.write_all(&prepared.send).await.map_err(lost)?;
        trace.step(|| format!("sent {}", quote(&prepared.send)));
    }
    let Some(expect) = &prepared.expect else { return Ok(Outcome::new(ResultCode::L4Ok, "")) };
    let mut answer = Vec::with_capacity(1024);
    loop {
        let has_ended = match stream.read_buf(&mut answer).await {
            Ok(length) => length == 0,
            Err(error) if answer.is_empty() => {
                let why = format!("connected, but then: {}", words(&error));
                return Err(Outcome::new(ResultCode::L7Response, why));
            }
            Err(_) => true,
        };
        answer.truncate(LONGEST_ANSWER);
        if expect.is_match(&answer) {
            trace.step(|| format!("the answer matches: {}", quote(&answer)));
            return Ok(Outcome::new(ResultCode::L7Ok, ""));
        }
        if has_ended && answer.is_empty() {
            return Err(Outcome::new(ResultCode::L7Response, "the connection was closed without an answer"));
        }
        if has_ended || answer.len() == LONGEST_ANSWER {
            let why = format!("the answer does not match: {}", quote(&answer));
            return Err(Outcome::new(ResultCode::L7Response, why));
        }
        trace.enter(Stage::Mismatch);
    }
}
