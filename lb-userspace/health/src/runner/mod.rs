// SPDX-License-Identifier: MIT OR Apache-2.0
//! The runner: threads that drive the engine and the probes.
//!
//! One thread has the engine and the direct probes. A second one has the probes by path: it starts with the
//! first target that needs it, since its sockets may live in another network namespace. Each has a runtime of
//! its own, and they share nothing but channels.
#![forbid(unsafe_code)]

mod definitions; // prepared definitions
mod driver; //      the thread of the engine
mod inbox; //       requests
mod job; //         probes between threads
mod path_thread; // the thread of the path
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lb_model::health::LastResult;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::thread::clear_ambient_capability_set;
use tokio::{
    runtime,
    sync::{
        broadcast,
        mpsc::{Sender, channel},
        oneshot, watch,
    },
    task::LocalSet,
};

use crate::{
    engine::{Engine, Event, Frozen},
    path::PathSockets,
    probe::failed_to_start,
    target::{Saved, Suspect, Target, TargetKey, TargetState},
    totals::Totals,
};
use definitions::Definitions;
use driver::{Driver, Outlets};
use inbox::{Inbox, Once};

/// Largest number of probes in flight.
const MOST_IN_FLIGHT: usize = 4096;
/// Room in channels beyond the probes in flight: for probes of operators, and those of removed targets.
const SPARE: usize = 1024;
/// Events that a slow reader may be behind.
const EVENTS: usize = 16_384;
/// File descriptors that the process uses for other things.
const OTHER_FILES: u64 = 512;

/// States and counts at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// States of the targets.
    pub states: BTreeMap<Arc<TargetKey>, TargetState>,
    /// Reason why states are frozen, if they are.
    pub frozen: Option<Frozen>,
    /// States were frozen, and follow the failures since the time of the freeze is over.
    pub is_accepted: bool,
    /// Counts since the start.
    pub totals: Totals,
    /// Number of probes in flight.
    pub in_flight: usize,
}

/// Starts the threads.
#[derive(Debug)]
pub struct Runner;

impl Runner {
    /// Starts the engine without targets. `sockets` is called on the thread of the path, as the first thing
    /// that it does; after a failure it is called again later, on a new thread. `saved` are states from before
    /// a restart.
    ///
    /// The threads have the capabilities of the caller. Commands need `CAP_SETUID`, `CAP_SETGID` and `CAP_KILL`,
    /// and direct pings `CAP_NET_RAW`, unless `net.ipv4.ping_group_range` allows them.
    ///
    /// # Errors
    /// If the thread or its runtime cannot be made.
    pub fn start(
        sockets: impl Fn() -> io::Result<Box<dyn PathSockets>> + Send + Sync + 'static,
        saved: Vec<Saved>,
    ) -> io::Result<Handle> {
        Self::start_prepared(|| Ok(()), sockets, saved)
    }

    /// Starts the engine as [`Self::start`] does. `prepare` is called first on its thread, which also starts
    /// that of the path: it may give up capabilities that neither needs.
    ///
    /// # Errors
    /// If the thread or its runtime cannot be made, or `prepare` fails.
    pub fn start_prepared(
        prepare: impl FnOnce() -> io::Result<()> + Send + 'static,
        sockets: impl Fn() -> io::Result<Box<dyn PathSockets>> + Send + Sync + 'static,
        saved: Vec<Saved>,
    ) -> io::Result<Handle> {
        let most_in_flight = most_in_flight();
        let room = most_in_flight + SPARE;
        let (messages, received) = channel(room);
        let (snapshots, snapshot) = watch::channel(Arc::new(Snapshot::default()));
        let (changes, watched) = watch::channel(0);
        let events = broadcast::Sender::new(EVENTS);
        let inbox = Arc::new(Inbox::default());
        let mut engine = Engine::new(most_in_flight, rand::random());
        engine.restore(saved);
        let driver = Driver {
            engine,
            inbox: Arc::clone(&inbox),
            outlets: Outlets { snapshots, changes, events: events.clone() },
            maker: Arc::new(sockets),
            messages,
            room,
            definitions: Definitions::default(),
            path: None,
            no_path: None,
            origin: Instant::now(),
            published: 0,
            has_unpublished: false,
            logged: None,
        };
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("xvs-health".to_owned()).spawn(move || {
            // Otherwise, commands of a daemon that is not root could have its capabilities.
            let prepared = prepare().and_then(|()| clear_ambient_capability_set().map_err(io::Error::from));
            let failed = prepared.is_err();
            if ready.send(prepared).is_err() || failed {
                return;
            }
            LocalSet::new().block_on(&runtime, driver.run(received));
            // Commands are killed and sockets closed by now; a look-up of the runtime may still run.
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        is_ready.recv().map_err(io::Error::other)??;
        let thread = Arc::new(Thread { inbox: Arc::clone(&inbox), thread: Some(thread) });
        Ok(Handle { inbox, snapshot, changes: watched, events, _thread: thread })
    }
}

/// Returns the number of probes in flight for which this process may have files; each needs two at most.
fn most_in_flight() -> usize {
    let wanted = 2 * MOST_IN_FLIGHT as u64 + OTHER_FILES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return MOST_IN_FLIGHT / 16 };
    let mut limit = soft;
    // The usual soft limit of 1,024 protects programs that use select(2); there is none here.
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_ok() {
        limit = wanted.min(hard);
    }
    let probes = limit.saturating_sub(OTHER_FILES.min(limit / 2)) / 2;
    usize::try_from(probes).unwrap_or(MOST_IN_FLIGHT).clamp(16, MOST_IN_FLIGHT)
}

/// The thread of the engine, which ends with the last handle.
#[derive(Debug)]
struct Thread {
    inbox: Arc<Inbox>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.inbox.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of health checks panicked");
        }
    }
}

/// A running engine. The threads end when the last clone is dropped: that kills the commands of checks, closes
/// the sockets, and waits for the threads.
#[derive(Clone, Debug)]
pub struct Handle {
    inbox: Arc<Inbox>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    changes: watch::Receiver<u64>,
    events: broadcast::Sender<Event>,
    _thread: Arc<Thread>,
}

impl Handle {
    /// Replaces the targets.
    pub fn plan(&self, targets: Vec<Target>) {
        self.inbox.plan(targets);
    }

    /// Sets the time for which a failure of nearly all targets does not count; zero disables freezing.
    pub fn set_freeze_for(&self, time: Duration) {
        self.inbox.set_freeze_for(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    /// Reports a passive sign that a host or a real may have failed: the next probe starts at once.
    pub fn hint(&self, suspect: Suspect) {
        self.inbox.hint(suspect);
    }

    /// Returns a receiver whose value changes at most every 50 ms when a health, an assumed health, a silence, a
    /// weight, the targets or the freeze have changed. The snapshot has the change by then.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Returns a receiver of the events from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Returns the latest states. They are at most 50 ms old after a change; results without a change are at most
    /// a second old.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Probes a target once, whether it is planned or not, without an effect on states. `steps` gets a line for
    /// each step; lines for which it has no room are lost.
    pub async fn run_once(&self, target: Target, steps: Sender<String>) -> LastResult {
        let (reply, result) = oneshot::channel();
        if !self.inbox.run(Once { target, steps, reply }) {
            return failed_to_start("too many single probes wait; try again later");
        }
        result.await.unwrap_or_else(|_| failed_to_start("health checks are stopping"))
    }
}
