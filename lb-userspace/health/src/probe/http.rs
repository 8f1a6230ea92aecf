// SPDX-License-Identifier: MIT OR Apache-2.0
//! HTTP checks: one request of HTTP/1.1 on a connection of its own.
#![forbid(unsafe_code)]

use std::pin::pin;

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use lb_model::health::ResultCode;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    LONGEST_ANSWER, Outcome, Prepared, Way,
    abrupt::Abrupt,
    connect::{self, words},
    quote,
    trace::{Stage, Trace},
};
use crate::target::Target;

/// Largest header of an answer.
const LONGEST_HEADER: usize = 64 * 1024;

/// Probes a target.
pub(super) async fn probe(
    prepared: &Prepared,
    target: &Target,
    way: &Way,
    trace: &Trace,
) -> Result<Outcome, Outcome> {
    // Declared in this order, the socket is closed before its port is given back.
    let (_lease, stream) = connect::tcp(target, way, trace).await?;
    match &prepared.tls {
        None => exchange(prepared, target, stream, trace).await,
        // On the heap, since its state is several times as large as that of other probes.
        Some(tls) => {
            Box::pin(async {
                let stream = tls.connect(stream, connect::address(target).ip(), trace).await?;
                exchange(prepared, target, stream, trace).await
            })
            .await
        }
    }
}

/// Sends the request and examines the answer.
async fn exchange(
    prepared: &Prepared,
    target: &Target,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    trace: &Trace,
) -> Result<Outcome, Outcome> {
    trace.enter(Stage::Answer);
    let path = prepared.check.path.as_deref().unwrap_or("/");
    let host = prepared.check.host.clone().unwrap_or_else(|| connect::address(target).to_string());
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "xvs")
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let request = request
        .map_err(|error| Outcome::new(ResultCode::SocketError, format!("no valid request: {error}")))?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(LONGEST_HEADER);
    let (mut sender, connection) = builder.handshake(TokioIo::new(Abrupt(stream))).await.map_err(invalid)?;
    let mut connection = pin!(connection);
    let mut is_open = true;
    trace.step(|| format!("sent GET {path}"));
    let answer = {
        let mut answer = pin!(sender.send_request(request));
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer.map_err(invalid)?,
                // The answer knows why the connection ended.
                _ = &mut connection, if is_open => is_open = false,
            }
        }
    };
    let status = answer.status();
    trace.step(|| format!("HTTP {status} after {}", trace.elapsed()));
    if !prepared.check.status.contain(status.as_u16()) {
        return Err(Outcome::new(ResultCode::L7Status, format!("HTTP {status}")));
    }
    let Some(pattern) = &prepared.body else {
        return Ok(Outcome::new(ResultCode::L7Ok, format!("HTTP {}", status.as_u16())));
    };
    trace.enter(Stage::Incomplete);
    let mut answer = answer.into_body();
    let mut body = Vec::new();
    while body.len() < LONGEST_ANSWER {
        let part = loop {
            tokio::select! {
                biased;
                part = next(&mut answer) => break part?,
                _ = &mut connection, if is_open => is_open = false,
            }
        };
        match part {
            Some(part) => body.extend_from_slice(&part),
            None => break,
        }
    }
    body.truncate(LONGEST_ANSWER);
    trace.step(|| format!("received {} bytes of the body after {}", body.len(), trace.elapsed()));
    if pattern.is_match(&body) {
        return Ok(Outcome::new(ResultCode::L7Ok, format!("HTTP {}", status.as_u16())));
    }
    let why = format!("HTTP {}, but the body does not match: {}", status.as_u16(), quote(&body));
    Err(Outcome::new(ResultCode::L7Response, why))
}

/// Returns the next part of a body; `None` at its end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Outcome> {
    match body.frame().await {
        None => Ok(None),
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(error)) => Err(invalid(error)),
    }
}

/// Returns the outcome of an answer that is no valid HTTP.
#[expect(clippy::needless_pass_by_value, reason = "it is for map_err")]
fn invalid(error: hyper::Error) -> Outcome {
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            let why = format!("connected, but then: {}", words(io));
            return Outcome::new(ResultCode::L7Response, why);
        }
        source = inner.source();
    }
    let why = if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "the connection was closed before the end of the answer".to_owned()
    } else {
        format!("the answer is not HTTP: {error}")
    };
    Outcome::new(ResultCode::L7Response, why)
}
