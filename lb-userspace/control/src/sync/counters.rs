// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counters of announcements.
#![forbid(unsafe_code)]

use super::Effects;

/// The reason for which a received message is dropped as a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dropped {
    /// Its header is malformed.
    Malformed,
    /// It has another sync ID.
    SyncId,
    /// It has no valid signature.
    Signature,
    /// Its sender is none of the peers.
    Peer,
    /// More messages have arrived than are read per second.
    Rate,
}

impl Dropped {
    /// All reasons.
    pub const ALL: [Self; 5] = [Self::Malformed, Self::SyncId, Self::Signature, Self::Peer, Self::Rate];

    /// Returns the name in metrics and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::SyncId => "sync_id",
            Self::Signature => "signature",
            Self::Peer => "peer",
            Self::Rate => "rate",
        }
    }
}

/// Numbers of messages and announcements since the daemon started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Messages that were read.
    pub messages_received: u64,
    /// Messages that were dropped, by reason.
    pub dropped: [u64; Dropped::ALL.len()],
    /// Announcements in valid entries of messages.
    pub received: u64,
    /// Malformed entries.
    pub malformed: u64,
    /// Announcements of connections whose sequence numbers an application helper changes, which xvs cannot do.
    pub sequence: u64,
    /// Connections from snapshots.
    pub imported: u64,
    /// Announcements and imported connections by effect.
    pub effects: Effects,
    /// Connections that wait for a service or real and found no room.
    pub not_waiting: u64,
    /// Messages that were sent, once for each peer.
    pub messages_sent: u64,
    /// Messages that the kernel refused to send.
    pub send_errors: u64,
    /// Announcements of connections that were sent.
    pub sent: u64,
    /// Announcements of templates that were sent.
    pub templates_sent: u64,
}

impl Counters {
    /// Counts a dropped message.
    pub const fn drop(&mut self, reason: Dropped) {
        self.dropped[reason as usize] += 1;
    }
}
