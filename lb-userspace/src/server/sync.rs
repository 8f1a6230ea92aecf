// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests about announcements of connections.
#![forbid(unsafe_code)]

use axum::{Json, extract::State, response::Response};

use super::audit::done;
use crate::{
    api::{
        request::{Body, Refusal, Text},
        sync::{SyncChange, SyncImported, SyncStatus},
    },
    daemon::{Shared, sync},
};

pub(super) async fn status(State(director): State<Shared>) -> Json<SyncStatus> {
    Json(sync::status(&director).await)
}

pub(super) async fn import(
    State(director): State<Shared>,
    Text(text): Text,
) -> Result<Json<SyncImported>, Refusal> {
    sync::import(&director, &text).await.map(Json).map_err(Refusal)
}

pub(super) async fn change(State(director): State<Shared>, Body(change): Body<SyncChange>) -> Response {
    done(sync::change(&director, change).await)
}
