// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections that directors announce to each other.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use lb_control::sync::Link;

/// The effects of announced connections by name, without those that did not occur.
pub type EffectCounts = BTreeMap<String, u64>;

/// Result of an import of connections.
#[derive(Clone, Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
pub struct SyncImported {
    /// Number of lines.
    pub lines: u64,
    /// Number of empty lines and headlines.
    pub headings: u64,
    /// Number of lines that are neither connections nor headlines.
    pub malformed: u64,
    /// The first malformed line, and what is wrong with it.
    pub first_malformed: Option<String>,
    /// Number of connections.
    pub connections: u64,
    /// Number of persistence templates.
    pub templates: u64,
    /// Number of connections and templates that stay on their reals.
    pub kept: u64,
    /// Number of connections and templates whose service or real does not exist yet, for which the director waits.
    pub waiting: u64,
    /// Connections and templates by effect.
    pub effects: EffectCounts,
}

/// The two directions of announcements.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SyncRole {
    /// The director announces its connections.
    Master,
    /// The director accepts announcements.
    Backup,
}

impl SyncRole {
    /// Returns the name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Backup => "backup",
        }
    }
}

/// A sender or receiver to start or stop.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum SyncChange {
    /// Start a sender or receiver.
    Start {
        /// Sender or receiver.
        role: SyncRole,
        /// Its settings.
        settings: SyncSettings,
    },
    /// Stop a sender or receiver.
    Stop {
        /// Sender or receiver.
        role: SyncRole,
    },
}

/// Settings of a sender or receiver.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct SyncSettings {
    /// Name of the interface.
    pub interface: Option<String>,
    /// Sync ID; 0 at a receiver accepts all.
    pub sync_id: u8,
    /// Multicast group, if there are no peers.
    pub group: IpAddr,
    /// Addresses of the other directors.
    #[serde(default)]
    pub peers: Vec<IpAddr>,
    /// UDP port.
    pub port: u16,
    /// Time to live of multicast messages.
    pub ttl: u8,
    /// Maximum length of a message in bytes.
    pub max_length: u16,
    /// Seconds after which each living connection is announced again; `None`: a quarter of its timeout.
    #[serde(default)]
    pub refresh_seconds: Option<u64>,
    /// File with the secret that signs the messages.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

impl From<&Link> for SyncSettings {
    fn from(link: &Link) -> Self {
        let Link { interface, sync_id, group, peers, port, ttl, max_length, refresh, key_file } =
            link.clone();
        let refresh_seconds = refresh.map(|refresh| refresh.as_secs());
        Self { interface, sync_id, group, peers, port, ttl, max_length, refresh_seconds, key_file }
    }
}

impl From<SyncSettings> for Link {
    fn from(settings: SyncSettings) -> Self {
        let SyncSettings {
            interface,
            sync_id,
            group,
            peers,
            port,
            ttl,
            max_length,
            refresh_seconds,
            key_file,
        } = settings;
        let refresh = refresh_seconds.map(std::time::Duration::from_secs);
        Self { interface, sync_id, group, peers, port, ttl, max_length, refresh, key_file }
    }
}

/// A director that has sent announcements.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct SyncPeer {
    /// Source address of its messages.
    pub address: IpAddr,
    /// Number of its messages.
    pub messages: u64,
    /// Seconds since its last message.
    pub seconds_ago: u64,
}

/// State of the announcements.
#[derive(Clone, Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
pub struct SyncStatus {
    /// Settings of the sender, if it runs.
    pub master: Option<SyncSettings>,
    /// Settings of the receiver, if it runs.
    pub backup: Option<SyncSettings>,
    /// Number of announced flows in the flow table, at most 10 s old.
    pub announced_flows: u64,
    /// Number of announced flows that the flow table takes.
    pub announced_flows_max: u64,
    /// Number of connections that wait for their service or real.
    pub waiting: u64,
    /// Number of connections that found no room among those that wait.
    pub not_waiting: u64,
    /// Number of messages that were sent, once for each peer.
    pub messages_sent: u64,
    /// Number of messages that the kernel refused to send.
    pub send_errors: u64,
    /// Number of announcements of connections that were sent.
    pub sent: u64,
    /// Number of announcements of persistence templates that were sent.
    pub templates_sent: u64,
    /// Number of messages that were received.
    pub messages_received: u64,
    /// Received messages that were dropped, by reason.
    pub dropped: EffectCounts,
    /// Number of announcements that were received.
    pub received: u64,
    /// Number of malformed announcements.
    pub malformed: u64,
    /// Number of announcements of connections whose sequence numbers an application helper of IPVS changes.
    pub sequence: u64,
    /// Number of imported connections and templates.
    pub imported: u64,
    /// Announcements and imported connections by effect.
    pub effects: EffectCounts,
    /// Directors that have sent messages, the last one first.
    pub peers: Vec<SyncPeer>,
}
