// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TCP listener for people and programs: the API, the metrics and the status page, behind
//! [`Door`](crate::api::door::Door).
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use axum::{
    Json, Router,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use tokio::net::TcpListener;

use super::{agents, api, metrics, page_files};
use crate::{api::listener::Limits, daemon::Shared};
use lb_model::failure::Failure;

/// Limits of this server. A stream counts as idle: another connection may replace it.
pub const LIMITS: Limits = Limits { connections: 256, idle: 192, body: 64 << 20 };

/// Creates the router with every path of the listener.
pub fn router(director: &Shared) -> Router {
    let router = api::router(director.clone())
        .merge(metrics::router(director.clone()))
        .merge(agents::asked_by_token(director.clone()))
        .merge(page_files::router());
    complete(router)
}

/// Adds the answers to requests that no route takes.
pub fn complete(router: Router) -> Router {
    router.fallback(not_found).method_not_allowed_fallback(not_allowed)
}

async fn not_found(uri: Uri) -> Response {
    let failure = Failure::wrong_input(format!("there is nothing at {}", uri.path()));
    (StatusCode::NOT_FOUND, Json(failure)).into_response()
}

async fn not_allowed(method: Method, uri: Uri) -> Response {
    let failure = Failure::wrong_input(format!("{} cannot be asked by {method}", uri.path()));
    (StatusCode::METHOD_NOT_ALLOWED, Json(failure)).into_response()
}

/// Binds the listener.
///
/// # Errors
/// If the address is not the director's, or in use.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!("cannot serve the API and the status page on {address}: {error}"))
            .hint("is it an address of this host, and the port free? `--http ADDR:PORT` names another")
    })
}
