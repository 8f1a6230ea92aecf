// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events as a stream: server-sent events (HTML, section 9.2), one JSON object each.
#![forbid(unsafe_code)]

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event as Message, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    api::request::Params,
    daemon::{Shared, health::Event},
};

/// Interval of comments that show a proxy and a client that the stream lives.
const ALIVE: Duration = Duration::from_secs(15);

/// Query of `GET /v1/events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// The stream goes on after the kept events.
    #[serde(default = "yes")]
    follow: bool,
    /// Only events with a larger number; those of this run if the number is larger than that of the latest event.
    #[serde(default)]
    after: u64,
}

const fn yes() -> bool {
    true
}

/// Kept events that have not been sent, and the receiver of later ones.
struct Source {
    kept: std::vec::IntoIter<Arc<Event>>,
    later: Option<Receiver<Arc<Event>>>,
}

impl Source {
    /// Returns the next event. A reader that is too slow loses events, and sees a gap in their numbers.
    async fn next(&mut self) -> Option<Arc<Event>> {
        if let Some(event) = self.kept.next() {
            return Some(event);
        }
        loop {
            match self.later.as_mut()?.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Streams the kept events, then later ones.
pub(super) async fn stream(
    State(director): State<Shared>,
    Params(which): Params<Which>,
) -> Sse<impl Stream<Item = Result<Message, Infallible>>> {
    let (kept, later) = director.events().subscribe_after(which.after);
    let source = Source { kept: kept.into_iter(), later: which.follow.then_some(later) };
    let messages = stream::unfold(source, async |mut source| {
        let event = source.next().await?;
        let message = Message::default().id(event.number.to_string()).event("event");
        let message = message.json_data(&*event).unwrap_or_default();
        Some((Ok(message), source))
    });
    Sse::new(messages).keep_alive(KeepAlive::new().interval(ALIVE))
}
