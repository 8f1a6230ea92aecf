// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cache of the last scrape: all clients within a second share one, and only one scrape is made at a time.
#![forbid(unsafe_code)]

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::daemon::{
    Shared,
    scrape::{Scrape, scrape},
};
use lb_model::failure::Failure;

/// Time for which a scrape is valid.
const FRESH: Duration = Duration::from_secs(1);
/// Maximum number of scrapes in memory because slow clients still read them. While this number is reached,
/// the last scrape stays valid: the listener ends connections that do not read their answer.
const MOST: usize = 4;

/// Last scrape of a director.
pub(super) struct Published {
    director: Shared,
    /// The lock is held while a scrape is made: one at a time.
    last: Mutex<Last<Scrape>>,
}

impl Published {
    pub(super) fn new(director: Shared) -> Self {
        Self { director, last: Mutex::default() }
    }

    /// Returns the data of a scrape, at most a second old.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(super) async fn scrape(&self) -> Result<Arc<Scrape>, Failure> {
        let mut last = self.last.lock().await;
        if let Some(scrape) = last.good(Instant::now()) {
            return Ok(scrape);
        }
        // The previous scrape is dropped first, to save memory.
        last.newest = None;
        let made = scrape(&self.director).await?;
        Ok(last.publish(made, Instant::now()))
    }
}

/// Newest value, and older ones that are still being read.
struct Last<T> {
    newest: Option<(Instant, Arc<T>)>,
    all: Vec<Weak<T>>,
}

impl<T> Default for Last<T> {
    fn default() -> Self {
        Self { newest: None, all: Vec::new() }
    }
}

impl<T> Last<T> {
    /// Returns the newest value, if it is still valid.
    fn good(&mut self, now: Instant) -> Option<Arc<T>> {
        self.all.retain(|one| one.strong_count() > 0);
        let (made, newest) = self.newest.as_ref()?;
        let fresh = now.saturating_duration_since(*made) < FRESH;
        (fresh || self.all.len() >= MOST).then(|| Arc::clone(newest))
    }

    fn publish(&mut self, made: T, now: Instant) -> Arc<T> {
        let made = Arc::new(made);
        self.all.push(Arc::downgrade(&made));
        self.newest = Some((now, Arc::clone(&made)));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slow_clients_still_read_is_bounded() {
        let mut last = Last::default();
        let (mut now, mut readers) = (Instant::now(), Vec::new());
        for number in 0..MOST {
            assert_eq!(last.good(now), None);
            readers.push(last.publish(number, now));
            assert_eq!(last.good(now).as_deref(), Some(&number), "it is fresh");
            now += FRESH;
        }
        assert_eq!(last.good(now).as_deref(), Some(&(MOST - 1)), "it is old, but there are enough");
        readers.remove(0);
        assert_eq!(last.good(now), None, "a reader has gone, and it is old");
        readers.push(last.publish(MOST, now));
        drop(readers);
        assert_eq!(last.good(now).as_deref(), Some(&MOST));
        assert_eq!(last.all.len(), 1, "what is no longer read is forgotten");
    }
}
