// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files and pins that are removed when the daemon ends, however it ends.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use lb_dataplane::PinDir;
use lb_model::failure::chain;

/// Pins that a start makes, and that are removed if the start fails. The guard of an earlier detach stays.
pub(super) struct Fresh(pub(super) Option<PinDir>);

impl Fresh {
    /// Keeps the pins, because the start succeeded.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|pins| pins.remove_all()) {
            tracing::warn!(error = chain(&error), "the pins of this start could not be removed");
        }
    }
}

/// A file that is removed when the daemon ends, however it ends.
pub(super) struct Cleanup(pub(super) PathBuf);

impl Drop for Cleanup {
    fn drop(&mut self) {
        // An error means that the file is gone already.
        drop(std::fs::remove_file(&self.0));
    }
}
