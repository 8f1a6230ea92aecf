// SPDX-License-Identifier: MIT OR Apache-2.0
//! Server of the API.
#![forbid(unsafe_code)]

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};

use super::{
    audit::{self, done},
    config, events, live,
};
use crate::{
    api::{
        health::CheckRun,
        ipvs::{Table, Which},
        listener::Limits,
        request::{Body, Refusal},
        types::{AttachOptions, Change, Connection, Stats, Status, Together},
    },
    daemon::{self, Shared},
};
use lb_control::{bounds, state::Room};
use lb_explain::Question;
use lb_model::failure::Failure;
use lb_model::timeouts::TimeoutOptions;

/// Limits of this server. Only root and the members of a group can connect: they protect against mistakes.
pub const LIMITS: Limits = Limits { connections: 64, idle: 64, body: 64 << 20 };

/// Creates the router with every path of the API.
pub fn router(director: Shared) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/doctor", get(examine))
        .route("/v1/explain", post(explain))
        .route("/v1/plan", post(config::plan))
        .route("/v1/stats", get(stats))
        .route("/v1/connections", get(connections))
        .route("/v1/groups", get(async |State(d): State<Shared>| Json(d.snapshot().groups())))
        .route("/v1/checks", get(async |State(d): State<Shared>| Json(d.lock().await.checks())))
        .route("/v1/check-runs", post(run_check))
        .route("/v1/events", get(events::stream))
        .route("/v1/live", get(live::stream))
        .route("/v1/changes", post(change))
        .route("/v1/together", post(change_together))
        .route("/v1/timeouts", post(set_timeouts))
        .route("/v1/attach", post(attach))
        .route("/v1/resize", post(resize))
        .route("/v1/batch", post(change_all))
        .route("/v1/ipvs", post(ipvs_table))
        .route("/v1/zero", post(set_to_zero))
        .route("/v1/config", get(config::export).put(config::apply))
        .route("/v1/confirm", post(config::confirm))
        .route("/v1/history", get(config::history))
        .route("/v1/revision", get(config::revision))
        // The listener limits the size.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(director.clone(), audit::audit))
        .layer(from_fn(detached))
        .with_state(director)
}

/// Runs a handler to its end, even if the client closes the connection: a change must not stop half-way.
async fn detached(request: Request, next: Next) -> Response {
    let answer = tokio::spawn(next.run(request)).await;
    answer
        .unwrap_or_else(|error| Refusal(Failure::failed(format!("internal error: {error}"))).into_response())
}

async fn status(State(director): State<Shared>) -> Json<Status> {
    // Without the flows, the rest of the status is still useful.
    let counts = daemon::count_flows(&director).await.unwrap_or_default();
    let mut status = director.lock().await.status(&counts).await;
    if let Some(config) = &mut status.config {
        director.compare(config).await;
    }
    Json(status)
}

async fn stats(State(director): State<Shared>) -> Result<Json<Stats>, Refusal> {
    let counts = daemon::count_flows(&director).await?;
    director.lock().await.stats(&counts).map(Json).map_err(Refusal)
}

async fn connections(State(director): State<Shared>) -> Result<Json<Vec<Connection>>, Refusal> {
    daemon::connections(&director).await.map(Json).map_err(Refusal)
}

async fn examine(State(director): State<Shared>) -> Response {
    daemon::examine(&director).await.map(Json).map_err(Refusal).into_response()
}

async fn explain(State(director): State<Shared>, Body(question): Body<Question>) -> Response {
    director.lock().await.explain(&question).await.map(Json).map_err(Refusal).into_response()
}

async fn run_check(State(director): State<Shared>, Body(question): Body<CheckRun>) -> Response {
    daemon::health::run_check(&director, &question).await.map(Json).map_err(Refusal).into_response()
}

async fn change(State(director): State<Shared>, Body(change): Body<Change>) -> Response {
    done(director.lock().await.change(&change).await)
}

async fn change_together(State(director): State<Shared>, Body(asked): Body<Together>) -> Response {
    done(director.lock().await.change_together(&asked).await)
}

async fn set_timeouts(State(director): State<Shared>, Body(options): Body<TimeoutOptions>) -> Response {
    let result = match bounds::timeouts(&options) {
        Ok(()) => director.lock().await.set_timeouts(options),
        Err(failure) => Err(failure),
    };
    done(result)
}

async fn attach(State(director): State<Shared>, Body(options): Body<AttachOptions>) -> Response {
    done(director.lock().await.reattach(&options).await)
}

async fn resize(State(director): State<Shared>, Body(room): Body<Room>) -> Response {
    let result = match bounds::room(&room) {
        Ok(()) => director.lock().await.resize(room),
        Err(failure) => Err(failure),
    };
    done(result)
}

async fn change_all(State(director): State<Shared>, Body(changes): Body<Vec<Change>>) -> Response {
    director.lock().await.change_all(&changes).await.map(Json).map_err(Refusal).into_response()
}

async fn ipvs_table(
    State(director): State<Shared>,
    Body(which): Body<Which>,
) -> Result<Json<Table>, Refusal> {
    let counts = daemon::count_flows(&director).await?;
    director.lock().await.ipvs_table(which.service, &counts).map(Json).map_err(Refusal)
}

async fn set_to_zero(State(director): State<Shared>, Body(which): Body<Which>) -> Result<Json<()>, Refusal> {
    let counts = daemon::count_flows(&director).await?;
    director.lock().await.set_to_zero(which.service, &counts).map(Json).map_err(Refusal)
}
