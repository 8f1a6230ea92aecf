// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holders of the lock on the director: the debug log names those that keep everybody else waiting.
#![forbid(unsafe_code)]

use std::{
    ops::{Deref, DerefMut},
    panic::Location,
    time::{Duration, Instant},
};

use tokio::sync::MutexGuard;

/// Time for which a holder may keep the lock without an entry in the log.
const LONG: Duration = Duration::from_millis(10);

/// A lock that is held, with the time since then.
#[derive(Debug)]
pub struct Held<'a, T> {
    guard: MutexGuard<'a, T>,
    since: Instant,
    place: &'static Location<'static>,
}

impl<'a, T> Held<'a, T> {
    /// Begins to hold a lock that was taken at `place`.
    pub(super) fn new(guard: MutexGuard<'a, T>, place: &'static Location<'static>) -> Self {
        Self { guard, since: Instant::now(), place }
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T> Held<'_, T> {
    /// Returns the time since the lock was taken, if it is long.
    fn too_long(&self) -> Option<Duration> {
        Some(self.since.elapsed()).filter(|held| *held >= LONG)
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        if let Some(held) = self.too_long() {
            tracing::debug!(held_ms = held.as_secs_f64() * 1e3, place = %self.place, "the director was locked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Mutex;

    #[test]
    fn a_holder_that_takes_long_is_known() {
        let mutex = Mutex::new(0);
        let mut held = Held::new(mutex.try_lock().expect("nobody else has it"), Location::caller());
        *held += 1;
        assert!(held.too_long().is_none() && mutex.try_lock().is_err());
        held.since = Instant::now().checked_sub(LONG).expect("the machine runs for longer");
        assert!(held.too_long().is_some());
        drop(held);
        assert_eq!(*mutex.try_lock().expect("it was released"), 1);
    }
}
