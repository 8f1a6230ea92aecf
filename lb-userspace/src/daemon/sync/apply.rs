// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes announcements into the maps, under the lock of the director.
#![forbid(unsafe_code)]

use std::time::Instant;

use lb_control::sync::{Effect, Effects};
use lb_model::failure::Failure;

use super::{
    super::{Shared, maps::Announcement},
    Known,
};

/// Number of announcements under one lock: a few milliseconds.
const AT_ONCE: usize = 2048;

/// The effects of announcements.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub effects: Effects,
    /// Those that the flow table has no place for.
    pub full: Vec<Announcement>,
}

/// Writes announcements into the maps and counts their effects. Those whose service or real does not exist wait for it.
///
/// # Errors
/// If a map cannot be read or written.
pub(super) async fn apply(shared: &Shared, announcements: &[Announcement]) -> Result<Applied, Failure> {
    let sync = shared.sync();
    let mut applied = Applied::default();
    for some in announcements.chunks(AT_ONCE) {
        let mut director = shared.lock().await;
        let written = director.announce(some)?;
        let now = Instant::now();
        let mut known = sync.known();
        for (announcement, effect) in some.iter().zip(&written.effects) {
            applied.effects.count(*effect);
            known.counters.effects.count(*effect);
            keep(&mut known, announcement, *effect, now);
            if *effect == Effect::Full {
                applied.full.push(*announcement);
            }
        }
        drop(known);
        // A change of the services finds the connections that wait for it.
        drop(director);
        sync.paths.need(shared, written.clients);
    }
    Ok(applied)
}

/// Writes the waiting announcements into the maps again, after services or reals have changed.
///
/// # Errors
/// If a map cannot be read or written.
pub(super) async fn apply_waiting(shared: &Shared) -> Result<(), Failure> {
    let sync = shared.sync();
    let waiting = sync.known().waiting.take(Instant::now());
    let waiting: Vec<Announcement> = waiting.into_iter().map(Announcement::from).collect();
    for some in waiting.chunks(AT_ONCE) {
        let mut director = shared.lock().await;
        let written = director.announce(some)?;
        let now = Instant::now();
        let mut known = sync.known();
        for (announcement, effect) in some.iter().zip(&written.effects) {
            // It was counted when it began to wait.
            if !effect.may_wait() {
                known.counters.effects.count(*effect);
            }
            keep(&mut known, announcement, *effect, now);
        }
        drop(known);
        drop(director);
        sync.paths.need(shared, written.clients);
    }
    Ok(())
}

/// Keeps an announcement that a change of the services may concern, instead of an earlier one of the same connection.
fn keep(known: &mut Known, announcement: &Announcement, effect: Effect, now: Instant) {
    if effect == Effect::Untracked {
        known.waiting.add_untracked(announcement.connection, now);
    } else if effect.may_wait() && !known.waiting.add(announcement.connection, now) {
        known.counters.not_waiting += 1;
    } else if !effect.may_wait() {
        known.waiting.remove(&announcement.connection);
    }
}
