// SPDX-License-Identifier: MIT OR Apache-2.0
//! Start and end of the director: attaching, the first change, detaching.
#![forbid(unsafe_code)]

use std::path::Path;

use super::{Director, store::Strictness};
use crate::api::types::{AttachOptions, Done};
use lb_control::config::DirectorSection;
use lb_model::Desired;
use lb_model::failure::{Failure, chain};
use lb_netlink::Interface;

impl Director {
    /// Writes `desired` to the maps and the state file at a start, which does not fail if the state cannot be saved.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub(crate) async fn begin(&mut self, desired: Desired) -> Result<(), Failure> {
        self.health.restore(self.store.desired(), &desired);
        let serving = self.maps.serving(&desired);
        self.health.adopt(self.store.desired(), &desired, &serving);
        self.write_in_order(desired, Strictness::Start).await
    }

    /// Notes that the services come from a config file.
    pub(crate) fn note_config_file(&mut self, config: &Path) {
        self.origin.note_config_file(config);
        self.outcomes.note_config(true);
    }

    /// Notes that the config file could not be read or applied.
    pub(crate) fn note_bad_config(&mut self) {
        self.outcomes.note_config(false);
    }

    /// Returns a warning if a config file has changed keys that only take effect at the next start.
    #[must_use]
    pub fn needs_restart(&self, section: &DirectorSection) -> Option<String> {
        self.origin.needs_restart(section)
    }

    /// Removes the VIPs that the daemon added, and lets neighbour entries age, after forwarding has ended.
    pub async fn release(&mut self) {
        self.network.release_all().await;
        if !self.vips.remove_all().await {
            return;
        }
        if let Err(error) = self.save_as_is() {
            tracing::warn!(error = chain(&error), "state not saved");
        }
    }

    /// Attaches to the interfaces, and detaches from those that are no longer configured.
    ///
    /// # Errors
    /// If an interface refuses. Earlier attachments stay; those of this call are removed.
    pub(crate) async fn attach(&mut self, interfaces: &[Interface]) -> Result<(), Failure> {
        self.attachments.attach(self.maps.plane(), interfaces).await
    }

    /// Attaches the guard to every interface. To be called when the maps have the services.
    pub(crate) fn guard_interfaces(&mut self) {
        self.attachments.guard(self.maps.plane());
    }

    /// Attaches to one of the interfaces again in the mode of `options`, which becomes the mode of the daemon.
    ///
    /// # Errors
    /// Wrong input if the interface is not the director's. If the interface refuses, nothing has changed.
    pub async fn reattach(&mut self, options: &AttachOptions) -> Result<Done, Failure> {
        self.attachments.reattach(self.maps.plane(), options).await
    }

    /// Detaches the programs from the interfaces.
    pub fn detach(&mut self) {
        // A load by the thread of the health checks would pin the maps again.
        self.health.pins().end();
        self.end_traces("the daemon detaches");
        self.attachments.detach(self.maps.plane());
    }

    /// Saves the state at the end of the daemon, in one file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn close_state(&mut self) -> Result<(), Failure> {
        self.store.close(self.vips.added())
    }

    /// Writes the state file with exactly the VIPs that were added.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn save_as_is(&mut self) -> Result<(), Failure> {
        self.store.save(self.vips.added())
    }
}
