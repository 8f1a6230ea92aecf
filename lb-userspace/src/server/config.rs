// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests about the config: plan, apply, confirm, export, history.
#![forbid(unsafe_code)]

use std::path::Path;

use axum::{Extension, Json, extract::State, response::Response};
use serde::Deserialize;

use super::audit::done;
use crate::{
    api::{
        caller::Caller,
        config::{Planned, Revision},
        request::{Body, Params, Refusal, Text},
        types::Done,
    },
    daemon::{self, Shared},
};
use lb_control::config::{self, Extent};
use lb_explain::Plan;
use lb_model::failure::Failure;

pub(super) async fn plan(
    State(director): State<Shared>,
    Body(plan): Body<Plan>,
) -> Result<Json<Planned>, Refusal> {
    let config = config::parse(&plan.text, Path::new(&plan.name))?;
    let counts = daemon::count_flows(&director).await?;
    let mut director = director.lock().await;
    let waits = director.needs_restart(&config.director);
    Ok(Json(director.plan(config.desired, &counts)?.warn(waits)))
}

/// Query of `GET /v1/config`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Export {
    /// Defaults are written, too.
    #[serde(default)]
    all: bool,
}

pub(super) async fn export(State(director): State<Shared>, Params(query): Params<Export>) -> String {
    let extent = if query.all { Extent::All } else { Extent::Differences };
    config::write(director.snapshot().desired(), extent)
}

/// Query of `PUT /v1/config`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Apply {
    /// Name of the text in messages.
    name: String,
    /// VIPs are added even if other machines have them.
    #[serde(default, rename = "take-over")]
    take_over: bool,
    /// A text without services removes the existing ones.
    #[serde(default, rename = "remove-all")]
    remove_all: bool,
    /// Seconds after which the config reverts, unless it is confirmed.
    confirm: Option<u64>,
}

pub(super) async fn apply(
    State(director): State<Shared>,
    caller: Option<Extension<Caller>>,
    Params(query): Params<Apply>,
    Text(text): Text,
) -> Response {
    let who = caller.map_or_else(|| "an unknown client".to_owned(), |caller| caller.name());
    done(replace(&director, who, &query, &text).await)
}

async fn replace(director: &Shared, who: String, query: &Apply, text: &str) -> Result<Done, Failure> {
    let config = config::parse(text, Path::new(&query.name))?;
    let mut director = director.lock().await;
    config.may_replace(director.desired(), query.remove_all)?;
    let done = if let Some(seconds) = query.confirm {
        director.replace_for_now(config.desired, query.take_over, seconds, who).await?
    } else {
        director.may_replace_all()?;
        director.replace(config.desired, query.take_over).await?
    };
    Ok(done.warn(director.needs_restart(&config.director)))
}

pub(super) async fn confirm(State(director): State<Shared>) -> Response {
    done(director.lock().await.keep())
}

pub(super) async fn history(State(director): State<Shared>) -> Json<Vec<Revision>> {
    Json(director.history().list().await)
}

/// Query of `GET /v1/revision`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Number of the revision.
    number: u64,
}

pub(super) async fn revision(
    State(director): State<Shared>,
    Params(which): Params<Which>,
) -> Result<String, Refusal> {
    Ok(director.history().text(which.number).await?)
}
