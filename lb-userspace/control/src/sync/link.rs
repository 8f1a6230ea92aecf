// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network over which a director announces connections, or receives announcements.
#![forbid(unsafe_code)]

use std::{fs, net::IpAddr, path::PathBuf, time::Duration};

use lb_model::failure::Failure;

/// Settings of a sender or receiver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// Name of the interface; `None` leaves it to the routes, with peers only.
    pub interface: Option<String>,
    /// Sync ID of the messages; 0 at a receiver accepts all.
    pub sync_id: u8,
    /// Multicast group, if there are no peers.
    pub group: IpAddr,
    /// Addresses of the other directors; none for a multicast group.
    pub peers: Vec<IpAddr>,
    /// UDP port.
    pub port: u16,
    /// Time to live of multicast messages.
    pub ttl: u8,
    /// Maximum length of a message in bytes.
    pub max_length: u16,
    /// Interval at which connections are announced again; `None`: a quarter of their timeout.
    pub refresh: Option<Duration>,
    /// File with the secret that signs the messages.
    pub key_file: Option<PathBuf>,
}

impl Link {
    /// Lowest maximum length of a message in bytes: room for an IPv6 entry and a signature.
    pub const LEAST_LENGTH: u16 = 100;

    /// Returns the destinations of messages.
    #[must_use]
    pub fn destinations(&self) -> &[IpAddr] {
        if self.peers.is_empty() { std::slice::from_ref(&self.group) } else { &self.peers }
    }

    /// Reads the secret, if there is a file of one.
    ///
    /// # Errors
    /// If the file cannot be read, or has less than 16 bytes; the failure is wrong input.
    pub fn key(&self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(path) = &self.key_file else { return Ok(None) };
        let refused = |why: String| {
            Failure::wrong_input(format!("cannot use the key file {}: {why}", path.display())).hint(format!(
                "make one, and copy it to each director: `(umask 077; openssl rand -hex 32 > {})`",
                path.display()
            ))
        };
        let key = fs::read(path).map_err(|error| refused(error.to_string()))?;
        let key = key.trim_ascii();
        if key.len() < 16 {
            return Err(refused("it must hold at least 16 bytes".to_owned()));
        }
        Ok(Some(key.to_vec()))
    }
}
