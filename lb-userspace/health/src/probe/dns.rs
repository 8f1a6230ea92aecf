// SPDX-License-Identifier: MIT OR Apache-2.0
//! DNS checks: one query, by UDP unless the service is TCP's.
#![forbid(unsafe_code)]

use lb_model::{Protocol, health::ResultCode};
use rand::random;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    LONGEST_ANSWER, Outcome, Prepared, Way,
    connect::{self, words},
    message::{self, Answer},
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
    let check = &prepared.check;
    let name = check.dns_name.as_deref().unwrap_or(".");
    let query = message::query(random(), name, check.record);
    let is_by_path = matches!(way, Way::Path(_));
    let answer = if is_by_path && target.key.protocol == Protocol::Tcp {
        by_tcp(prepared, target, way, &query, trace).await?
    } else {
        let answer = by_udp(prepared, target, way, &query, trace).await?;
        // By path, only the protocol of the service reaches the real.
        if answer.is_truncated && !is_by_path {
            trace.step(|| "the answer is truncated: repeat the query by TCP".to_owned());
            by_tcp(prepared, target, way, &query, trace).await?
        } else {
            answer
        }
    };
    let code = message::code_name(answer.code);
    trace.step(|| {
        format!("{code} after {}, records of type {}: {}", trace.elapsed(), check.record, answer.records)
    });
    if answer.code != 0 {
        return Err(Outcome::new(ResultCode::L7Status, code));
    }
    // The root has no address, so a check without a name asks only whether the server answers.
    if answer.records == 0 && !answer.is_truncated && check.dns_name.is_some() {
        let why = format!("the answer has no {} record", check.record);
        return Err(Outcome::new(ResultCode::L7Response, why));
    }
    Ok(Outcome::new(ResultCode::L7Ok, ""))
}

async fn by_udp(
    prepared: &Prepared,
    target: &Target,
    way: &Way,
    query: &[u8],
    trace: &Trace,
) -> Result<Answer, Outcome> {
    // Declared in this order, the socket is closed before its port is given back.
    let (_lease, socket) = connect::udp(target, way, trace).await?;
    socket.send(query).await.map_err(|error| connect::refused(&error))?;
    trace.step(|| format!("sent a query to {} by UDP", connect::address(target)));
    let mut answer = vec![0; LONGEST_ANSWER];
    loop {
        let length = socket.recv(&mut answer).await.map_err(|error| connect::refused(&error))?;
        if let Some(answer) = message::answer(query, &answer[..length], prepared.check.record) {
            return Ok(answer);
        }
        trace.enter(Stage::Mismatch);
    }
}

async fn by_tcp(
    prepared: &Prepared,
    target: &Target,
    way: &Way,
    query: &[u8],
    trace: &Trace,
) -> Result<Answer, Outcome> {
    let (_lease, mut stream) = connect::tcp(target, way, trace).await?;
    trace.enter(Stage::Answer);
    let lost =
        |error| Outcome::new(ResultCode::L7Response, format!("connected, but then: {}", words(&error)));
    let length = (query.len() as u16).to_be_bytes();
    stream.write_all(&[&length, query].concat()).await.map_err(lost)?;
    trace.step(|| "sent a query by TCP".to_owned());
    let mut answer = vec![0; usize::from(stream.read_u16().await.map_err(lost)?)];
    trace.enter(Stage::Incomplete);
    stream.read_exact(&mut answer).await.map_err(lost)?;
    message::answer(query, &answer, prepared.check.record)
        .ok_or_else(|| Outcome::new(ResultCode::L7Response, "the answer is for another query"))
}
