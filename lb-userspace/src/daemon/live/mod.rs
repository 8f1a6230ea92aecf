// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data of live views: one producer for all readers, which runs while there are any.
//!
//! Once a second the producer reads the counters and states under the lock on the director. Rates and differences
//! are computed, and events are serialised, without the lock and once for all readers.
#![forbid(unsafe_code)]

mod clients; // streams by client
mod produce; // the producer
mod rates; //   rates from two readings
mod read; //    a reading under the lock

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use hyper::body::Bytes;
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    broadcast::{self, error::RecvError},
    watch,
};

use super::Shared;
use crate::api::live::Live;
use clients::{ClientPlace, Clients};
use lb_model::failure::Failure;

/// Maximum number of streams.
pub const STREAMS: usize = 32;
/// Number of changes that a slow reader may lag behind before it gets a new snapshot instead.
const BEHIND: usize = 8;

/// Source of live data.
#[derive(Clone)]
pub struct LiveSource(Arc<Inner>);

struct Inner {
    /// Whether the producer runs. The lock orders subscriptions and publications.
    is_producing: Mutex<bool>,
    /// Latest moment; `None` before the first one, and while nothing is produced.
    latest: watch::Sender<Option<Arc<Moment>>>,
    /// Events that follow it.
    changes: broadcast::Sender<Message>,
    places: Arc<Semaphore>,
    clients: Clients,
}

/// A moment, and its event, which is serialised when a reader needs it.
struct Moment {
    live: Live,
    snapshot: OnceLock<Bytes>,
}

/// Message to readers.
#[derive(Clone)]
enum Message {
    /// A serialised change.
    Change(Bytes),
    /// The set of services or reals has changed.
    Snapshot(Arc<Moment>),
}

impl Moment {
    /// Returns the event with the whole moment.
    fn snapshot(&self) -> Bytes {
        self.snapshot.get_or_init(|| event("snapshot", self.live.number, &self.live)).clone()
    }
}

/// Returns a server-sent event (HTML, section 9.2).
fn event(name: &str, number: u64, data: &impl serde::Serialize) -> Bytes {
    // These types have no maps with keys that JSON lacks: this does not fail.
    let json = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("id: {number}\nevent: {name}\ndata: {json}\n\n"))
}

impl Default for LiveSource {
    fn default() -> Self {
        Self(Arc::new(Inner {
            is_producing: Mutex::new(false),
            latest: watch::Sender::new(None),
            changes: broadcast::Sender::new(BEHIND),
            places: Arc::new(Semaphore::new(STREAMS)),
            clients: Clients::default(),
        }))
    }
}

impl LiveSource {
    /// Begins a stream, and starts the producer if it is the first one. `client` is the address of a client over TCP.
    ///
    /// # Errors
    /// If there are [`STREAMS`] streams, or as many of the client as one may have.
    pub fn subscribe(&self, director: &Shared, client: Option<IpAddr>) -> Result<Subscription, Failure> {
        let of_client = client.map(|client| self.0.clients.enter(client)).transpose()?;
        let place = Arc::clone(&self.0.places).try_acquire_owned().map_err(|_| {
            Failure::failed(format!("{STREAMS} live views are open, and more are refused"))
                .hint("close a page or an `xvs top`, and try again")
        })?;
        let mut is_producing = self.producing();
        if !*is_producing {
            *is_producing = true;
            tokio::spawn(produce::produce(self.clone(), director.clone()));
        }
        drop(is_producing);
        Ok(Subscription { source: self.clone(), changes: None, _place: place, _of_client: of_client })
    }

    fn producing(&self) -> MutexGuard<'_, bool> {
        self.0.is_producing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether nobody reads; then the producer must end.
    fn ends(&self) -> bool {
        let mut is_producing = self.producing();
        let ends = self.0.places.available_permits() == STREAMS;
        if ends {
            self.0.latest.send_replace(None);
            *is_producing = false;
        }
        ends
    }

    /// Publishes a moment. `change` is the serialised difference from the previous one; without it, every reader
    /// gets a snapshot.
    fn publish(&self, live: Live, change: Option<Bytes>) {
        let moment = Arc::new(Moment { live, snapshot: OnceLock::new() });
        let _order = self.producing();
        self.0.latest.send_replace(Some(Arc::clone(&moment)));
        let message = change.map_or(Message::Snapshot(moment), Message::Change);
        // An error means that no reader waits for it.
        drop(self.0.changes.send(message));
    }
}

/// A stream of events.
pub struct Subscription {
    source: LiveSource,
    /// Later events; `None` before a snapshot.
    changes: Option<broadcast::Receiver<Message>>,
    _place: OwnedSemaphorePermit,
    _of_client: Option<ClientPlace>,
}

impl Subscription {
    /// Returns the next event: a snapshot at first and after events were missed.
    pub async fn next(&mut self) -> Bytes {
        loop {
            let Some(changes) = &mut self.changes else {
                return self.snapshot().await;
            };
            match changes.recv().await {
                Ok(Message::Change(bytes)) => return bytes,
                Ok(Message::Snapshot(moment)) => return moment.snapshot(),
                Err(RecvError::Lagged(_) | RecvError::Closed) => self.changes = None,
            }
        }
    }

    async fn snapshot(&mut self) -> Bytes {
        let mut latest = self.source.0.latest.subscribe();
        loop {
            {
                let _order = self.source.producing();
                if let Some(moment) = &*latest.borrow_and_update() {
                    let moment = Arc::clone(moment);
                    self.changes = Some(self.source.0.changes.subscribe());
                    return moment.snapshot();
                }
            }
            // The sender lives as long as the source: this returns when there is a moment.
            drop(latest.changed().await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(source: &LiveSource) -> Subscription {
        let place = Arc::clone(&source.0.places).try_acquire_owned().unwrap();
        Subscription { source: source.clone(), changes: None, _place: place, _of_client: None }
    }

    fn publish(source: &LiveSource, number: u64) {
        let live = Live { number, ..Live::default() };
        source.publish(live, Some(Bytes::from(format!("change {number}"))));
    }

    fn number(event: &Bytes) -> String {
        let text = String::from_utf8_lossy(event);
        text.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn a_reader_gets_a_snapshot_and_then_every_change() {
        let source = LiveSource::default();
        let mut reader = subscription(&source);
        publish(&source, 1);
        assert_eq!(number(&reader.next().await), "id: 1");
        publish(&source, 2);
        publish(&source, 3);
        assert_eq!(reader.next().await, "change 2");
        assert_eq!(reader.next().await, "change 3");
        source.publish(Live { number: 4, ..Live::default() }, None);
        assert_eq!(number(&reader.next().await), "id: 4", "the set of services has changed");
    }

    #[tokio::test]
    async fn a_slow_reader_gets_a_new_snapshot() {
        let source = LiveSource::default();
        let mut reader = subscription(&source);
        publish(&source, 1);
        let _first = reader.next().await;
        (2..=20).for_each(|number| publish(&source, number));
        assert_eq!(number(&reader.next().await), "id: 20");
        publish(&source, 21);
        assert_eq!(reader.next().await, "change 21");
    }

    #[tokio::test]
    async fn nothing_is_produced_for_nobody() {
        let source = LiveSource::default();
        let reader = subscription(&source);
        *source.producing() = true;
        assert!(!source.ends());
        drop(reader);
        assert!(source.ends() && !*source.producing());
        assert!(source.0.latest.borrow().is_none(), "a later reader gets no old moment");
    }
}
