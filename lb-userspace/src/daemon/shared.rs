// SPDX-License-Identifier: MIT OR Apache-2.0
//! The director for its servers: a lock for changes, and published data for readers.
#![forbid(unsafe_code)]

use std::{panic::Location, sync::Arc, time::Instant};

use tokio::sync::{Mutex, MutexGuard, watch};

use super::{
    Director, compare::Compared, health::Events, held::Held, history::History, live::LiveSource,
    maps::FlowCounts, snapshot::Snapshot, sync::Sync, trace::Traces,
};
use crate::api::config::ConfigStatus;
use lb_control::neighbours::WatchedNeighbours;
use lb_netlink::Change;

/// The director, shared by the servers and the event loop.
///
/// Only a holder of the lock changes the director or reads its maps. A holder may wait for the network, so
/// that readers of the services use a [`Snapshot`] instead.
#[derive(Clone)]
pub struct Shared {
    director: Arc<Mutex<Director>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    watched: WatchedNeighbours,
    events: Events,
    history: History,
    compared: Arc<Compared>,
    live: LiveSource,
    traces: Traces,
    sync: Sync,
    /// The last count of flows, and when it began.
    last_count: Arc<Mutex<LastCount>>,
}

/// A count of flows, and when it began.
pub(super) type LastCount = Option<(Instant, FlowCounts)>;

impl Shared {
    /// Shares a director.
    #[must_use]
    pub fn new(director: Director) -> Self {
        let (snapshots, watched) = (director.snapshots(), director.watched());
        let events = director.health.events().clone();
        let (history, compared) = (director.history.clone(), Arc::default());
        let traces = director.traces.clone();
        let (director, live) = (Arc::new(Mutex::new(director)), LiveSource::default());
        Self {
            director,
            snapshots,
            watched,
            events,
            history,
            compared,
            live,
            traces,
            sync: Sync::default(),
            last_count: Arc::default(),
        }
    }

    /// Locks the director. Holders change it one at a time.
    #[track_caller]
    pub fn lock(&self) -> impl Future<Output = Held<'_, Director>> {
        let place = Location::caller();
        async move { Held::new(self.director.lock().await, place) }
    }

    /// Locks the last count of flows, so that one is made at a time.
    pub(super) async fn last_count(&self) -> MutexGuard<'_, LastCount> {
        self.last_count.lock().await
    }

    /// Returns the snapshot after the last complete change.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Returns a receiver of the snapshots after later changes; it has the last one.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Returns the history of the config.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Notes in the history who has just made a change.
    pub fn note(&self, who: String) {
        self.history.note(who, self.snapshot());
    }

    /// Compares the config file with the running state.
    pub async fn compare(&self, config: &mut ConfigStatus) {
        self.compared.compare(config, self.snapshot()).await;
    }

    /// Returns the events.
    #[must_use]
    pub const fn events(&self) -> &Events {
        &self.events
    }

    /// Returns the source of live data.
    #[must_use]
    pub const fn live(&self) -> &LiveSource {
        &self.live
    }

    /// Returns the announcements of connections.
    pub(super) const fn sync(&self) -> &Sync {
        &self.sync
    }

    /// Returns the traces.
    #[must_use]
    pub const fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Returns whether a change of the network may have changed the next hop of a real.
    #[must_use]
    pub fn concerns(&self, change: &Change) -> bool {
        self.watched.concerns(change)
    }
}
