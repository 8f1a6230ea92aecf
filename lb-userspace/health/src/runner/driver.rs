// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread of the engine: it starts probes, runs the direct ones, and publishes states.
#![forbid(unsafe_code)]

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{
        broadcast,
        mpsc::{Receiver, Sender},
        watch,
    },
    task::spawn_local,
    time::sleep_until,
};

use super::{
    Snapshot,
    definitions::Definitions,
    inbox::Inbox,
    job::{Job, Message, Reply},
    path_thread::{Maker, PathThread},
};
use crate::{
    engine::{Engine, Event, EventKind, Now},
    probe::{Way, failed_to_start},
    target::Target,
};

/// Least time between two snapshots after changes, in milliseconds.
const COALESCE: u64 = 50;
/// Time between two snapshots without changes, in milliseconds.
const REFRESH: u64 = 1000;
/// Time after which a thread of the path that could not start is tried again, in milliseconds.
const RETRY_PATH: u64 = 10_000;
/// Time after which a path that was lost is made again, in milliseconds.
const REMAKE_PATH: u64 = 1000;
/// Least time between two lines of the log about probes without a verdict, in milliseconds.
const LOG_GAP: u64 = 10_000;
/// Messages that are taken at once.
const BATCH: usize = 1024;

/// The receiver of states.
#[derive(Debug)]
pub(super) struct Outlets {
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub changes: watch::Sender<u64>,
    pub events: broadcast::Sender<Event>,
}

/// State of the thread.
pub(super) struct Driver {
    pub engine: Engine,
    pub inbox: Arc<Inbox>,
    pub outlets: Outlets,
    pub maker: Maker,
    pub messages: Sender<Message>,
    /// Room for jobs of the thread of the path.
    pub room: usize,
    pub definitions: Definitions,
    pub path: Option<PathThread>,
    /// Why there is no thread of the path, and when it is tried again.
    pub no_path: Option<(String, u64)>,
    pub origin: Instant,
    pub published: u64,
    pub has_unpublished: bool,
    pub logged: Option<u64>,
}

impl Driver {
    /// Runs until the inbox says stop.
    pub async fn run(mut self, mut received: Receiver<Message>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let waiting = self.inbox.take();
            if waiting.stop {
                break;
            }
            if let Some(targets) = waiting.plan {
                self.definitions.keep_used(&targets);
                self.engine.plan(targets, self.now());
            }
            if let Some(milliseconds) = waiting.freeze_for {
                self.engine.set_freeze_for(milliseconds);
            }
            for suspect in waiting.hints {
                self.engine.hint(suspect, self.now());
            }
            for once in waiting.runs {
                self.start(Arc::new(once.target), Some(once.steps), Reply::Operator(once.reply));
            }
            let next = self.engine.next(self.now());
            for probe in next.start {
                self.start(probe.target, None, Reply::Engine(probe.id, self.messages.clone()));
            }
            let publish_at = self.publish();
            let wake = next.at.unwrap_or(u64::MAX).min(publish_at);
            let wake = self.origin + Duration::from_millis(wake.min(self.now().mono_ms + REFRESH));
            tokio::select! {
                () = self.inbox.ready() => (),
                _ = received.recv_many(&mut batch, BATCH) => (),
                () = sleep_until(wake.into()) => (),
            }
            for message in batch.drain(..) {
                self.take(message);
            }
        }
        if let Some(path) = self.path.take() {
            path.stop();
        }
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Now { mono_ms: milliseconds(self.origin.elapsed()), wall_ms: milliseconds(wall) }
    }

    /// Starts a probe.
    fn start(&mut self, target: Arc<Target>, steps: Option<Sender<String>>, reply: Reply) {
        let is_by_path = target.is_by_path();
        let job = match self.definitions.get(&target.check) {
            Ok(prepared) => Job::new(prepared, target, steps, reply),
            Err(why) => return reply.send(failed_to_start(&why), None),
        };
        if !is_by_path {
            spawn_local(job.run(Way::Direct));
            return;
        }
        match self.path() {
            Ok(path) => path.run(job),
            Err(why) => job.fail(&why),
        }
    }

    /// Returns the thread of the path, which starts with the first probe that needs it.
    fn path(&mut self) -> Result<&PathThread, String> {
        let now = self.now().mono_ms;
        if let Some((why, _)) = self.no_path.as_ref().filter(|(_, until)| now < *until) {
            return Err(why.clone());
        }
        self.no_path = None;
        if let Some(path) = self.path.take_if(|path| path.has_ended()) {
            path.stop();
        }
        if self.path.is_none() {
            let started = PathThread::start(Arc::clone(&self.maker), self.messages.clone(), self.room);
            match started {
                Ok(path) => self.path = Some(path),
                Err(error) => {
                    let why = format!("cannot start the thread of the path: {error}");
                    self.no_path = Some((why.clone(), now + RETRY_PATH));
                    return Err(why);
                }
            }
        }
        self.path.as_ref().ok_or_else(|| "the thread of the path has ended".to_owned())
    }

    fn take(&mut self, message: Message) {
        let now = self.now();
        match message {
            Message::Ended { id, result, weight_percent } => {
                if result.code.verdict().is_none() {
                    self.log_no_verdict(&result.text, now.mono_ms);
                }
                self.engine.ended(id, result, weight_percent, now);
            }
            Message::Canary(result) => self.engine.canary(result, now),
            Message::NoPath { why, had_path } => {
                tracing::error!("{why}; checks by path have no verdicts");
                let wait = if had_path { REMAKE_PATH } else { RETRY_PATH };
                self.no_path = Some((why, now.mono_ms + wait));
                if let Some(path) = self.path.take() {
                    path.stop();
                }
            }
        }
    }

    /// Logs that probes have no verdict, and not more often than now and then.
    fn log_no_verdict(&mut self, why: &str, now: u64) {
        if self.logged.is_none_or(|at| now >= at + LOG_GAP) {
            self.logged = Some(now);
            tracing::warn!("a health check could not run: {why}; the states of its reals stay as they are");
        }
    }

    /// Publishes states if they have changed or the snapshot is old. Returns the time of the next snapshot.
    fn publish(&mut self) -> u64 {
        let now = self.now();
        for event in self.engine.take_events() {
            match &event.kind {
                EventKind::Frozen(frozen) => {
                    tracing::warn!("health is frozen, no real goes down: {}", frozen.why);
                }
                EventKind::Thawed => tracing::warn!("health is no longer frozen"),
                EventKind::Accepted => {
                    tracing::warn!("health is no longer frozen: the failures have lasted, and reals go down");
                }
                EventKind::Turned { .. } => (),
            }
            // It fails if there is no receiver.
            drop(self.outlets.events.send(event));
        }
        self.has_unpublished |= self.engine.take_changed();
        let due = self.published + if self.has_unpublished { COALESCE } else { REFRESH };
        if now.mono_ms < due {
            return due;
        }
        let snapshot = Snapshot {
            states: self.engine.states(now),
            frozen: self.engine.frozen().cloned(),
            is_accepted: self.engine.is_accepted(),
            totals: self.engine.totals().clone(),
            in_flight: self.engine.in_flight(),
        };
        self.outlets.snapshots.send_replace(Arc::new(snapshot));
        if std::mem::take(&mut self.has_unpublished) {
            self.outlets.changes.send_modify(|number| *number += 1);
        }
        self.published = now.mono_ms;
        now.mono_ms + REFRESH
    }
}
