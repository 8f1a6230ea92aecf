// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `[sync]` section of the config file: announcements of connections between directors.
#![forbid(unsafe_code)]

use std::{net::IpAddr, path::PathBuf};

use lb_common::sync;
use serde::Deserialize;

use super::Timeout;
use crate::sync::Link;

/// The `[sync]` section.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SyncSection {
    /// Interface of the network on which directors announce connections.
    pub interface: Option<String>,
    /// Multicast group (default: that of IPVS, 224.0.0.81).
    pub group: Option<IpAddr>,
    /// Addresses of the other directors, instead of a group.
    #[serde(default)]
    pub peers: Vec<IpAddr>,
    /// UDP port (default: that of IPVS, 8848).
    pub port: Option<u16>,
    /// Time to live of multicast messages (default: 1).
    pub ttl: Option<u8>,
    /// Sync ID of the announcements of this director; without it, the director announces nothing.
    pub send: Option<u8>,
    /// Sync ID of the announcements that this director accepts, 0 for all; without it, the director accepts none.
    pub receive: Option<u8>,
    /// Maximum length of a message in bytes (default: 1472).
    pub max_length: Option<u16>,
    /// Interval at which each living connection is announced again (default: a quarter of its timeout).
    pub refresh: Option<Timeout>,
    /// File with the secret that signs the announcements.
    pub key_file: Option<PathBuf>,
}

impl SyncSection {
    /// Returns what is wrong with the section.
    pub(super) fn fault(&self) -> Option<String> {
        let takes_part = self.send.is_some() || self.receive.is_some();
        if self.group.is_some() && !self.peers.is_empty() {
            return Some("[sync] has both `group` and `peers`".to_owned());
        }
        if let Some(group) = self.group.filter(|group| !group.is_multicast()) {
            return Some(format!("[sync]: the group {group} is no multicast address"));
        }
        if let Some(peer) = self.peers.iter().find(|peer| peer.is_multicast() || peer.is_unspecified()) {
            return Some(format!("[sync]: the peer {peer} is not the address of a host"));
        }
        if takes_part && self.interface.is_none() && self.peers.is_empty() {
            return Some("[sync] needs the `interface` of its group, or `peers`".to_owned());
        }
        if self.max_length.is_some_and(|length| length < Link::LEAST_LENGTH) {
            return Some(format!("[sync]: `max-length` is at least {}", Link::LEAST_LENGTH));
        }
        if self.port == Some(0) || self.ttl == Some(0) {
            return Some("[sync]: `port` and `ttl` are at least 1".to_owned());
        }
        None
    }

    /// Returns the settings of the sender, if there is one.
    #[must_use]
    pub fn sender(&self) -> Option<Link> {
        self.send.map(|id| self.link(id))
    }

    /// Returns the settings of the receiver, if there is one.
    #[must_use]
    pub fn receiver(&self) -> Option<Link> {
        self.receive.map(|id| self.link(id))
    }

    fn link(&self, sync_id: u8) -> Link {
        Link {
            interface: self.interface.clone(),
            sync_id,
            group: self.group.unwrap_or(IpAddr::V4(sync::GROUP)),
            peers: self.peers.clone(),
            port: self.port.unwrap_or(sync::PORT),
            ttl: self.ttl.unwrap_or(1),
            max_length: self.max_length.unwrap_or(sync::MESSAGE as u16),
            refresh: self.refresh.map(|refresh| refresh.0),
            key_file: self.key_file.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", None)]
    #[case("interface = 'eth0'\nsend = 7\nreceive = 7", None)]
    #[case("peers = ['192.0.2.2']\nsend = 7", None)]
    #[case("send = 7", Some("[sync] needs the `interface` of its group, or `peers`"))]
    #[case("group = '192.0.2.1'", Some("[sync]: the group 192.0.2.1 is no multicast address"))]
    #[case("peers = ['224.0.0.81']", Some("[sync]: the peer 224.0.0.81 is not the address of a host"))]
    #[case("group = 'ff02::81'\npeers = ['192.0.2.2']", Some("[sync] has both `group` and `peers`"))]
    #[case("max-length = 90", Some("[sync]: `max-length` is at least 100"))]
    #[case("ttl = 0", Some("[sync]: `port` and `ttl` are at least 1"))]
    fn faults_are_named(#[case] text: &str, #[case] fault: Option<&str>) {
        let section: SyncSection = toml::from_str(text).unwrap();
        assert_eq!(section.fault().as_deref(), fault);
    }

    #[test]
    fn each_direction_has_its_sync_id() {
        let section: SyncSection = toml::from_str("interface = 'eth0'\nsend = 7\nreceive = 0").unwrap();
        let (sender, receiver) = (section.sender().unwrap(), section.receiver().unwrap());
        assert_eq!((sender.sync_id, receiver.sync_id), (7, 0));
        assert_eq!((sender.port, sender.ttl, sender.max_length), (8848, 1, 1472));
        assert_eq!(SyncSection::default().sender(), None);
    }
}
