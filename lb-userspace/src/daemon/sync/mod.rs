// SPDX-License-Identifier: MIT OR Apache-2.0
//! Announcements of connections: those of this director to others, and theirs to this one.
#![forbid(unsafe_code)]

mod apply; //   announcements in the maps
mod ends; //    start and stop of sender and receiver
mod import; //  lists of the kernel's connections
mod paths; //   return paths to clients of announced flows
mod receive; // the receiver
mod send; //    the sender
mod signature; // keyed hashes of messages
mod socket; //  sockets of both
mod status; //  state for the API
mod templates; // announcements of persistence entries

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use lb_control::sync::{Counters, Waiting};

pub use ends::{apply_when_changed, change, check, prepare};
pub use import::import;
use paths::Paths;
pub use status::status;

/// The announcements of a director; cheap to clone.
#[derive(Clone, Default)]
pub struct Sync {
    known: Arc<Mutex<Known>>,
    ends: Arc<tokio::sync::Mutex<ends::Ends>>,
    paths: Paths,
}

/// Data that sender, receiver and readers share.
#[derive(Default)]
pub(super) struct Known {
    counters: Counters,
    waiting: Waiting,
    peers: HashMap<IpAddr, Heard>,
}

/// Messages of another director.
struct Heard {
    messages: u64,
    last: Instant,
}

impl Known {
    /// Maximum number of other directors that are listed.
    const PEERS: usize = 64;

    /// Notes a message of a director.
    fn hear(&mut self, from: IpAddr) {
        if self.peers.len() >= Self::PEERS && !self.peers.contains_key(&from) {
            return;
        }
        let now = Instant::now();
        let heard = self.peers.entry(from).or_insert(Heard { messages: 0, last: now });
        heard.messages += 1;
        heard.last = now;
    }
}

impl Sync {
    /// Locks the shared data, for less than a millisecond.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the counters, and the number of connections that wait.
    pub(in crate::daemon) fn numbers(&self) -> (Counters, u64) {
        let known = self.known();
        (known.counters, known.waiting.len() as u64)
    }
}
