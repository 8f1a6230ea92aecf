// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for something to become true.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Maximum wait until a condition in the lab becomes true.
const DEADLINE: Duration = Duration::from_secs(20);

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// Looks until `look` succeeds, and panics with the last state when it does not in time.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(state) if start.elapsed() > DEADLINE => {
                panic!("{what}: not after {DEADLINE:?}; last: {state}")
            }
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}
