// SPDX-License-Identifier: MIT OR Apache-2.0
//! State of the announcements for the API.
#![forbid(unsafe_code)]

use lb_control::sync::{Counters, Dropped};

use super::super::Shared;
use crate::api::sync::{EffectCounts, SyncPeer, SyncSettings, SyncStatus};

/// Returns numbers by name, without those that are 0.
pub(super) fn named(numbers: impl IntoIterator<Item = (&'static str, u64)>) -> EffectCounts {
    let numbers = numbers.into_iter().filter(|(_, number)| *number > 0);
    numbers.map(|(name, number)| (name.to_owned(), number)).collect()
}

/// Returns the state of the announcements.
pub async fn status(shared: &Shared) -> SyncStatus {
    let sync = shared.sync();
    let [master, backup] =
        sync.ends.lock().await.links().map(|link| link.map(|link| SyncSettings::from(&link)));
    let (announced_flows, announced_flows_max) = shared.lock().await.announced_flows();
    let known = sync.known();
    let Counters {
        messages_received,
        dropped,
        received,
        malformed,
        sequence,
        imported,
        effects,
        not_waiting,
        messages_sent,
        send_errors,
        sent,
        templates_sent,
    } = known.counters;
    let mut peers: Vec<SyncPeer> = known
        .peers
        .iter()
        .map(|(address, heard)| SyncPeer {
            address: *address,
            messages: heard.messages,
            seconds_ago: heard.last.elapsed().as_secs(),
        })
        .collect();
    peers.sort_by_key(|peer| (peer.seconds_ago, peer.address));
    SyncStatus {
        master,
        backup,
        announced_flows,
        announced_flows_max,
        waiting: known.waiting.len() as u64,
        not_waiting,
        messages_sent,
        send_errors,
        sent,
        templates_sent,
        messages_received,
        dropped: named(Dropped::ALL.iter().map(|reason| reason.as_str()).zip(dropped)),
        received,
        malformed,
        sequence,
        imported,
        effects: named(effects.iter().map(|(effect, number)| (effect.as_str(), number))),
        peers,
    }
}
