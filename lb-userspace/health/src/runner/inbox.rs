// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests to the runner. They coalesce: a later plan replaces an earlier one, and a hint counts once.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lb_model::health::LastResult;
use tokio::sync::{Notify, mpsc::Sender, oneshot};

use crate::target::{Suspect, Target};

/// Largest number of hosts and reals with a hint, and of single probes, that wait.
const MOST: (usize, usize) = (65_536, 64);

/// A probe for an operator.
#[derive(Debug)]
pub(super) struct Once {
    pub target: Target,
    pub steps: Sender<String>,
    pub reply: oneshot::Sender<LastResult>,
}

/// Requests that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub plan: Option<Vec<Target>>,
    pub freeze_for: Option<u64>,
    pub hints: BTreeSet<Suspect>,
    pub runs: Vec<Once>,
    pub stop: bool,
}

/// Mailbox of the runner.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Each change is a single assignment, so a panic leaves a valid state.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn plan(&self, targets: Vec<Target>) {
        self.lock().plan = Some(targets);
        self.ready.notify_one();
    }

    pub fn set_freeze_for(&self, milliseconds: u64) {
        self.lock().freeze_for = Some(milliseconds);
        self.ready.notify_one();
    }

    pub fn hint(&self, suspect: Suspect) {
        {
            let mut waiting = self.lock();
            if waiting.hints.len() >= MOST.0 {
                return;
            }
            waiting.hints.insert(suspect);
        }
        self.ready.notify_one();
    }

    /// Adds a single probe. Returns `false` if too many wait.
    pub fn run(&self, once: Once) -> bool {
        {
            let mut waiting = self.lock();
            if waiting.runs.len() >= MOST.1 || waiting.stop {
                return false;
            }
            waiting.runs.push(once);
        }
        self.ready.notify_one();
        true
    }

    pub fn stop(&self) {
        self.lock().stop = true;
        self.ready.notify_one();
    }

    /// Takes the requests; `stop` stays set.
    pub fn take(&self) -> Waiting {
        let mut waiting = self.lock();
        let stop = waiting.stop;
        std::mem::replace(&mut *waiting, Waiting { stop, ..Waiting::default() })
    }

    /// Waits for a request.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }
}
