// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sweep: ends flows that are over, and the services' leaving reals that have no flows left.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::{Director, maps::Swept};
use lb_model::failure::Failure;
use lb_model::{RealKey, ServiceId};

impl Director {
    /// Removes ended flows, settles slots, and removes leaving reals without connections. Returns the number of
    /// removed flows.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub fn sweep(&mut self) -> Result<usize, Failure> {
        let Swept { removed, left } = self.maps.sweep(self.store.desired(), self.store.dips())?;
        if !left.is_empty() {
            self.remove_leaving(&left);
        }
        Ok(removed)
    }

    /// Removes leaving reals that have no connections left. If that fails, the next sweep repeats it.
    fn remove_leaving(&mut self, left: &[(ServiceId, RealKey)]) {
        for (id, key) in left {
            let RealKey { address, forward, .. } = key;
            if self.store.remove_leaving(id, key) {
                tracing::info!("real {address} of {id} has no connections by {forward} left");
            } else {
                tracing::info!("removed real {address} of {id} has no connections left");
            }
        }
        let done = self.maps.allocate(self.store.desired()).and_then(|ids| {
            let want = self.compile(self.store.desired(), &ids, self.network.next_hops());
            let removed = self.carry_out(&want)?;
            self.maps.set_ids(ids);
            self.network.keep_only(&self.store.desired().rips().collect());
            Ok(removed)
        });
        match done {
            Ok(removed) => self.forget(&removed, &BTreeMap::new()),
            Err(failure) => tracing::error!("{}", failure.message),
        }
        self.publish();
    }
}
