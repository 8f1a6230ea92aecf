// SPDX-License-Identifier: MIT OR Apache-2.0
//! Server of the API.
#![forbid(unsafe_code)]

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
};

use super::{
    audit::{self, done},
    config, events, live,
    routes::Routes,
    sync, trace,
};
use crate::{
    api::{
        connections::{Selection, SelectionQuery},
        document,
        health::CheckRun,
        ipvs::{Table, Which},
        listener::Limits,
        request::{Body, Params, Refusal},
        types::{AttachOptions, Change, Connection, StandingChange, Stats, Status, Together},
    },
    daemon::{self, Shared},
};
use lb_control::{bounds, state::FlowLimits};
use lb_explain::Question;
use lb_model::failure::Failure;
use lb_model::timeouts::TimeoutOptions;

/// Limits of this server. Only root and the members of a group can connect: they protect against mistakes.
pub const LIMITS: Limits = Limits { connections: 64, idle: 64, body: 64 << 20 };

/// Returns every route of the API.
#[must_use]
pub fn routes() -> Routes<Shared> {
    Routes::new()
        .get("/v1/status", status)
        .get("/v1/doctor", examine)
        .post("/v1/explain", explain)
        .post("/v1/plan", config::plan)
        .get("/v1/stats", stats)
        .get("/v1/connections", connections)
        .post("/v1/connections/cut", cut)
        .get("/v1/groups", async |State(d): State<Shared>| Json(d.snapshot().groups()))
        .get("/v1/checks", async |State(d): State<Shared>| Json(d.lock().await.checks()))
        .post("/v1/check-runs", run_check)
        .get("/v1/events", events::stream)
        .get("/v1/live", live::stream)
        .post("/v1/trace", trace::stream)
        .post("/v1/changes", change)
        .post("/v1/together", change_together)
        .get("/v1/ready", ready)
        .post("/v1/director", set_standing)
        .post("/v1/timeouts", set_timeouts)
        .post("/v1/attach", attach)
        .post("/v1/resize", resize)
        .post("/v1/batch", change_all)
        .post("/v1/ipvs", ipvs_table)
        .post("/v1/zero", set_to_zero)
        .get("/v1/config", config::export)
        .put("/v1/config", config::apply)
        .post("/v1/confirm", config::confirm)
        .get("/v1/history", config::history)
        .get("/v1/revision", config::revision)
        .get("/v1/sync", sync::status)
        .post("/v1/sync", sync::change)
        .post("/v1/sync/import", sync::import)
        .get("/v1/openapi.json", openapi)
}

/// Creates the router with every path of the API.
pub fn router(director: Shared) -> Router {
    routes()
        .router()
        // The listener limits the size.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(director.clone(), audit::audit))
        .layer(from_fn(detached))
        .with_state(director)
}

async fn openapi() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], document::text()).into_response()
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

async fn connections(
    State(director): State<Shared>,
    Params(query): Params<SelectionQuery>,
) -> Result<Json<Vec<Connection>>, Refusal> {
    let selection = query.parse()?;
    daemon::connections(&director, selection).await.map(Json).map_err(Refusal)
}

async fn cut(State(director): State<Shared>, Body(selection): Body<Selection>) -> Response {
    done(daemon::cut(&director, selection).await)
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
    let mut director = director.lock().await;
    let result = director.change(&change).await;
    done(result.map(|made| made.warn(director.revert_warning())))
}

async fn change_together(State(director): State<Shared>, Body(asked): Body<Together>) -> Response {
    let mut director = director.lock().await;
    let result = director.change_together(&asked).await;
    done(result.map(|made| made.warn(director.revert_warning())))
}

async fn set_timeouts(State(director): State<Shared>, Body(options): Body<TimeoutOptions>) -> Response {
    let result = match bounds::timeouts(&options) {
        Ok(()) => director.lock().await.set_timeouts(options),
        Err(failure) => Err(failure),
    };
    done(result)
}

async fn ready(State(director): State<Shared>) -> Response {
    let view = director.lock().await.ready_view();
    let status = if view.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(view)).into_response()
}

async fn set_standing(State(director): State<Shared>, Body(change): Body<StandingChange>) -> Response {
    done(director.lock().await.set_standing(change).await)
}

async fn attach(State(director): State<Shared>, Body(options): Body<AttachOptions>) -> Response {
    done(director.lock().await.reattach(&options).await)
}

async fn resize(State(director): State<Shared>, Body(room): Body<FlowLimits>) -> Response {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_exactly_the_routes_of_the_listener() {
        let mut routes: Vec<(String, String)> =
            routes().listed().iter().map(|(method, path)| (method.to_string(), (*path).to_owned())).collect();
        // Of other routers.
        for (method, path) in [("POST", "/v1/roles"), ("GET", "/metrics")] {
            routes.push((method.to_owned(), path.to_owned()));
        }
        routes.sort();
        assert_eq!(document::operations(&document::document()), routes);
    }
}
