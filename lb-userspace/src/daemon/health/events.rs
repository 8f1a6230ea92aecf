// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events for operators: changes of the health of reals and pools.
#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use lb_model::{
    ServiceId,
    check::CheckName,
    health::{Health, LastResult},
};

/// Number of events that a new reader gets.
const KEPT: usize = 1000;

/// An event.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Event {
    /// Time, in milliseconds since 1970.
    pub time_ms: u64,
    /// Number of the event. Numbers increase by one, and at a start of the daemon to the time, in microseconds since
    /// 1970: they increase over restarts too.
    pub number: u64,
    /// The event in one sentence.
    pub text: String,
    /// Kind of the event, and its details.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Kind of an event.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// The health of a real has changed.
    Health {
        /// Service of the real.
        service: ServiceId,
        /// RIP and port.
        real: SocketAddr,
        /// Health before.
        from: Health,
        /// Health now.
        to: Health,
        /// Check that determines the health.
        check: Option<CheckName>,
        /// Latest result of that check.
        last: Option<LastResult>,
    },
    /// The state of a pool has changed.
    Pool {
        /// Service of the pool.
        service: ServiceId,
        /// State before: `normal`, `ignored`, `with-backup`, `backup` or `all-down`.
        from: String,
        /// State now.
        to: String,
        /// Number of healthy reals.
        healthy: usize,
        /// Number of reals that could serve.
        able: usize,
    },
    /// States are frozen.
    Frozen {
        /// Reason.
        why: String,
    },
    /// States are no longer frozen.
    Thawed,
}

/// Source of events, with the latest ones.
#[derive(Clone, Debug)]
pub struct Events {
    kept: Arc<Mutex<VecDeque<Arc<Event>>>>,
    sender: broadcast::Sender<Arc<Event>>,
    /// Number of the first event.
    first: u64,
}

impl Default for Events {
    fn default() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let first = now.map_or(1, |now| u64::try_from(now.as_micros()).unwrap_or(1));
        Self { kept: Arc::default(), sender: broadcast::Sender::new(KEPT), first }
    }
}

impl Events {
    /// Publishes an event, and logs it.
    pub(in crate::daemon) fn publish(&self, text: String, kind: EventKind) {
        tracing::info!("{text}");
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let number = kept.back().map_or(self.first, |last| last.number + 1);
        let event = Arc::new(Event { time_ms: now_ms(), number, text, kind });
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&event));
        // An error means that no reader follows the events.
        drop(self.sender.send(event));
    }

    /// Returns the latest events, and a receiver of later ones.
    #[must_use]
    pub fn subscribe(&self) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        self.subscribe_after(0)
    }

    /// Returns those of the latest events that have a larger number than `after`, and a receiver of later ones. A
    /// number that no event can have yet is from before the clock was set back: then all of them are returned.
    #[must_use]
    pub fn subscribe_after(&self, after: u64) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept.back().map_or(self.first, |last| last.number);
        let is_later = |event: &&Arc<Event>| event.number > after || after > last;
        (kept.iter().filter(is_later).cloned().collect(), self.sender.subscribe())
    }
}

/// Returns the time in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_reader_gets_the_latest_events_and_later_ones() {
        let events = Events::default();
        for number in 0..KEPT + 5 {
            events.publish(format!("{number}"), EventKind::Thawed);
        }
        let (kept, mut later) = events.subscribe();
        assert_eq!((kept.len(), &*kept[0].text, kept[0].number), (KEPT, "5", events.first + 5));
        events.publish("new".to_owned(), EventKind::Frozen { why: "test".to_owned() });
        let event = later.try_recv().unwrap();
        let json = serde_json::to_value(&*event).unwrap();
        assert_eq!(
            (&json["event"], &json["why"], &json["text"]),
            (&"frozen".into(), &"test".into(), &"new".into())
        );
    }

    #[test]
    fn a_reader_continues_where_it_was_also_after_a_restart() {
        let before = Events::default();
        before.publish("before".to_owned(), EventKind::Thawed);
        let seen = before.subscribe().0[0].number;
        let events = Events { first: seen + 1000, ..Events::default() };
        for text in ["one", "two"] {
            events.publish(text.to_owned(), EventKind::Thawed);
        }
        let texts = |after: u64| -> Vec<String> {
            events.subscribe_after(after).0.iter().map(|event| event.text.clone()).collect()
        };
        assert_eq!(texts(seen), ["one", "two"]);
        assert_eq!(texts(events.first), ["two"]);
        assert_eq!(texts(events.first + 1), Vec::<String>::new());
        assert_eq!(texts(events.first + 1_000_000), ["one", "two"], "the clock was set back");
    }
}
