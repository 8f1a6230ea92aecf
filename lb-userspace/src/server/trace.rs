// SPDX-License-Identifier: MIT OR Apache-2.0
//! `POST /v1/trace`: packets and what becomes of them, as server-sent events.
#![forbid(unsafe_code)]

use std::convert::Infallible;

use axum::{
    body::Body as Content,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;

use crate::{
    api::{
        request::{Body, Refusal},
        trace::TraceQuestion,
    },
    daemon::Shared,
};

/// Streams traced packets, until the client closes the connection or the trace ends.
pub(super) async fn stream(State(director): State<Shared>, Body(question): Body<TraceQuestion>) -> Response {
    let subscription = match director.traces().begin(&director, &question).await {
        Ok(subscription) => subscription,
        Err(failure) => return Refusal(failure).into_response(),
    };
    let events = stream::unfold(subscription, async |mut subscription| {
        let event = subscription.next().await?;
        Some((Ok::<_, Infallible>(event), subscription))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx buffers answers otherwise.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Content::from_stream(events)).into_response()
}
