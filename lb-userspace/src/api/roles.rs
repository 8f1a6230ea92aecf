// SPDX-License-Identifier: MIT OR Apache-2.0
//! What agents of real servers may ask: what their host is to the director. Read-only, over TCP, with a token.
//!
//! `GET /v1/roles?addresses=10.0.0.11,fd00::11` answers with the roles of these addresses and an `ETag`. With
//! `If-None-Match` and `Prefer: wait=SECONDS` (RFC 7240) the answer waits until they are others, or is
//! `304 Not Modified` after that time.
#![forbid(unsafe_code)]

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout_at},
};

use super::{descriptors, listener::Limits, server::Shared, token::Token};
use crate::{
    control::model::{Forward, Tunnel},
    failure::Failure,
};

/// Connections that have shown no token, or not yet.
const IDLE: usize = 64;
/// Bytes that a request may have besides its head.
const BODY: usize = 64 << 10;
/// How long an answer waits at most.
const LONGEST: Duration = Duration::from_mins(1);

/// The limits of the server for agents: each real's host may wait for an answer twice.
#[must_use]
pub fn limits(reals: u32) -> Limits {
    let most = (reals as usize).saturating_mul(2).saturating_add(IDLE);
    Limits { connections: most.min(descriptors::spare()), idle: IDLE, body: BODY }
}

/// What a host is to the director for one VIP.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Role {
    /// The address that clients talk to.
    pub vip: IpAddr,
    /// The address by which the director knows the host.
    pub rip: IpAddr,
    /// How packets get there.
    pub forward: Forward,
    /// What is around them by `tun`.
    pub tunnel: Tunnel,
}

/// Query of `GET /v1/roles`.
#[derive(Debug, Deserialize)]
struct Ask {
    /// The host's addresses, with commas between them.
    addresses: String,
}

/// Every path for agents.
pub fn router(director: Shared, token: Token) -> Router {
    Router::new()
        .route("/v1/roles", get(roles))
        .layer(from_fn_with_state(token, authenticate))
        .with_state(director)
}

/// Listens for agents.
///
/// # Errors
/// If the address is not the director's, or taken.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!("cannot serve the API for agents on {address}: {error}"))
            .hint("is it an address of this host, and the port free? `--api ADDR:PORT` names another")
    })
}

async fn authenticate(State(token): State<Token>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION);
    if shown.is_some_and(|shown| token.is_shown_by(shown.as_bytes())) {
        return next.run(request).await;
    }
    let failure = Failure::failed("the token is not the director's")
        .hint("agents need the content of the file that `xvs run --api-token-file` names");
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], Json(failure)).into_response()
}

async fn roles(State(director): State<Shared>, Query(ask): Query<Ask>, headers: HeaderMap) -> Response {
    let addresses: Result<Vec<IpAddr>, _> = ask.addresses.split(',').map(str::parse).collect();
    let Ok(addresses) = addresses else {
        return Failure::wrong_input(format!("'{}' is no list of addresses", ask.addresses)).into_response();
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    let end = Instant::now() + patience(&headers);
    let mut changes = director.lock().await.changes();
    loop {
        let roles = director.lock().await.roles(&addresses);
        let tag = tag(&roles);
        if known.as_ref() != Some(&tag) {
            return ([(header::ETAG, tag)], Json(roles)).into_response();
        }
        if timeout_at(end, changes.changed()).await.is_err() {
            return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
        }
    }
}

/// What `Prefer: wait=SECONDS` asks for.
fn patience(headers: &HeaderMap) -> Duration {
    let prefer = headers.get(HeaderName::from_static("prefer")).and_then(|value| value.to_str().ok());
    let wait = prefer.and_then(|prefer| prefer.trim().strip_prefix("wait=")?.parse().ok());
    wait.map_or(Duration::ZERO, Duration::from_secs).min(LONGEST)
}

fn tag(roles: &[Role]) -> String {
    let mut hasher = DefaultHasher::new();
    for role in roles {
        (role.vip, role.rip, role.forward, role.tunnel.to_string()).hash(&mut hasher);
    }
    format!("\"{:016x}\"", hasher.finish())
}
