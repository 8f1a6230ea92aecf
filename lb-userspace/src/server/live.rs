// SPDX-License-Identifier: MIT OR Apache-2.0
//! `GET /v1/live`: a snapshot, and each second what changed, as server-sent events.
#![forbid(unsafe_code)]

use std::convert::Infallible;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;

use crate::{
    api::caller::{Caller, Peer},
    daemon::Shared,
};

/// Streams live data, until the client closes the connection.
pub(super) async fn stream(State(director): State<Shared>, caller: Option<Extension<Caller>>) -> Response {
    let client = caller.and_then(|Extension(caller)| match caller.peer {
        Peer::Tcp(address) => Some(address.ip()),
        Peer::Local { .. } | Peer::Unknown => None,
    });
    let subscription = match director.live().subscribe(&director, client) {
        Ok(subscription) => subscription,
        Err(failure) => return (StatusCode::SERVICE_UNAVAILABLE, Json(failure)).into_response(),
    };
    let events = stream::unfold(subscription, async |mut subscription| {
        let event = subscription.next().await;
        Some((Ok::<_, Infallible>(event), subscription))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx buffers answers otherwise.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}
