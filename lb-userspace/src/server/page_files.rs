// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of the status page, at `/` and below `/page/`. They contain no data, and need no token.
#![forbid(unsafe_code)]

use axum::Router;

/// Creates the router of the files.
pub fn router() -> Router {
    Router::new()
}
