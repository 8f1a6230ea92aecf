// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exclusive use of the pins: the thread of the path loads its program from them at any time, and a resize replaces
//! them, and `--detach-on-exit` removes them meanwhile.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// State of the pins, shared by the director and the thread of the path.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct Pins(Arc<Mutex<Present>>);

/// Whether the pins are there.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Present {
    are_removed: bool,
}

impl Pins {
    /// Waits until no other thread uses the pins, and keeps others from them until the guard is dropped.
    pub(in crate::daemon) fn hold(&self) -> MutexGuard<'_, Present> {
        // The only change is a single assignment, so a panic leaves a valid state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the pins are about to be removed: from now on, nothing is loaded from them.
    pub(in crate::daemon) fn end(&self) {
        self.hold().are_removed = true;
    }

    /// Runs `load`, which uses the pins; `None` if they are removed, since a load would make them again.
    pub(in crate::daemon) fn load<T>(&self, load: impl FnOnce() -> T) -> Option<T> {
        let present = self.hold();
        (!present.are_removed).then(load)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_loaded_from_removed_pins() {
        let pins = Pins::default();
        assert_eq!(pins.load(|| 1), Some(1));
        pins.clone().end();
        assert_eq!(pins.load(|| 1), None);
    }

    #[test]
    fn a_load_waits_for_the_end_of_a_resize() {
        let pins = Pins::default();
        let (resize, other) = (pins.hold(), pins.clone());
        let (sender, receiver) = std::sync::mpsc::channel();
        let load = std::thread::spawn(move || other.load(|| sender.send(()).unwrap()));
        assert!(receiver.recv_timeout(std::time::Duration::from_millis(50)).is_err());
        drop(resize);
        assert_eq!(load.join().unwrap(), Some(()));
    }
}
