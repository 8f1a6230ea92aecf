// SPDX-License-Identifier: MIT OR Apache-2.0
//! A line in the log for every request for a change: who, from where, what, and the result.
#![forbid(unsafe_code)]

use axum::{
    Json,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    api::{
        access::{Need, Role, need},
        caller::{Caller, Peer},
        request::Refusal,
        types::Done,
    },
    daemon::Shared,
};
use lb_model::{failure::Failure, text::one_line};

/// Maximum number of changes that a line names.
const NAMED: usize = 3;

/// The changes that a response reports, for the line.
#[derive(Clone, Debug)]
struct Changes(Vec<String>, usize);

impl Changes {
    /// Keeps the first changes of a result.
    fn of(done: &Done) -> Self {
        Self(done.changes.iter().take(NAMED).cloned().collect(), done.changes.len())
    }

    fn line(&self) -> String {
        let Self(named, number) = self;
        match number - named.len() {
            0 if named.is_empty() => "nothing to change".to_owned(),
            0 => named.join("; "),
            more => format!("{}; and {more} more", named.join("; ")),
        }
    }
}

/// Returns the answer to a request for a change, with what the audit needs.
pub(super) fn done(result: Result<Done, Failure>) -> Response {
    match result {
        Ok(done) => {
            let changes = Changes::of(&done);
            let mut response = Json(done).into_response();
            response.extensions_mut().insert(changes);
            response
        }
        Err(failure) => Refusal(failure).into_response(),
    }
}

/// Writes the line of a request for a change, after it was carried out or refused.
pub(super) async fn audit(State(director): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    if need(request.method(), &path) != Need::Token(Role::Write) {
        return next.run(request).await;
    }
    let method = request.method().clone();
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.unwrap_or(Caller { peer: Peer::Unknown, token: None });
    let response = next.run(request).await;
    let status = response.status();
    let result = match (response.extensions().get::<Changes>(), response.extensions().get::<Failure>()) {
        (Some(changes), _) => changes.line(),
        (None, Some(failure)) => format!("refused ({}): {}", status.as_u16(), failure.message),
        (None, None) if status.is_success() => "done".to_owned(),
        (None, None) => format!("refused ({})", status.as_u16()),
    };
    // A message may quote the input, which must not begin a line that looks like another entry.
    let result = one_line(&result);
    tracing::info!(target: "audit", "audit: {caller}: {method} {path}: {result}");
    if status.is_success() {
        director.note(caller.name());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_first_changes() {
        let line = |number: u8| {
            let changes = (0..number).map(|number| format!("added {number}")).collect();
            Changes::of(&Done { changes, warnings: Vec::new() }).line()
        };
        assert_eq!(line(0), "nothing to change");
        assert_eq!(line(2), "added 0; added 1");
        assert_eq!(line(5), "added 0; added 1; added 2; and 2 more");
    }
}
