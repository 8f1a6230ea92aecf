// SPDX-License-Identifier: MIT OR Apache-2.0
//! Announcements of persistence entries, which IPVS calls templates.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use lb_common::{
    ids::RealId,
    schema::ClientKey,
    ticks::{Tick, Ticks},
};
use lb_dataplane::clock;

use super::super::{Shared, maps::OwnFlow};

/// Announced entries in one pass.
const AT_ONCE: usize = 2000;

/// The entries that were announced, with their real, and the time of the announcement.
#[derive(Debug, Default)]
pub(super) struct SentTemplates(HashMap<ClientKey, (RealId, Tick)>);

impl SentTemplates {
    /// Returns the announcements that are due: of new entries, of those on another real, and of those that were announced
    /// a quarter of their service's timeout ago.
    pub(super) async fn due(&mut self, shared: &Shared) -> Vec<OwnFlow> {
        let now = clock::now();
        let entries = match shared.lock().await.own_templates(now) {
            Ok(entries) => entries,
            Err(failure) => {
                tracing::warn!("persistence entries are not announced: {}", failure.message);
                return Vec::new();
            }
        };
        let mut sent = HashMap::with_capacity(entries.len());
        let mut due = Vec::new();
        for (key, real, timeout, connection) in entries {
            let before =
                self.0.get(&key).filter(|(same, at)| *same == real && at.age(now) < Ticks(timeout.0 / 4));
            if let Some(before) = before {
                sent.insert(key, *before);
            } else if due.len() < AT_ONCE {
                sent.insert(key, (real, now));
                due.push((connection, None));
            }
        }
        // Entries that have ended are forgotten.
        self.0 = sent;
        due
    }
}
