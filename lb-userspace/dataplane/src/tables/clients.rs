// SPDX-License-Identifier: MIT OR Apache-2.0
//! Persistence entries.
#![forbid(unsafe_code)]

use std::os::fd::AsFd as _;

use aya::maps::IterableMap as _;
use lb_common::schema::{Client, ClientKey, MapName};

use super::{TableError, Tables, batch_failed, failed, gone};
use crate::batch;

impl Tables {
    /// Calls `each` with every persistence entry, including expired ones.
    pub fn for_each_client(&self, each: impl FnMut(&ClientKey, &Client)) -> Result<(), TableError> {
        let fd = self.clients.map().fd().as_fd();
        batch::for_each(fd, each).map_err(batch_failed("read", MapName::Clients))
    }

    /// Returns the persistence entry of a client.
    #[must_use]
    pub fn client(&self, key: &ClientKey) -> Option<Client> {
        self.clients.get(key, 0).ok()
    }

    /// Adds or replaces the persistence entry of a client.
    pub fn put_client(&mut self, key: &ClientKey, client: &Client) -> Result<(), TableError> {
        self.clients.insert(key, client, 0).map_err(failed("write", MapName::Clients))
    }

    /// Removes the persistence entry of a client.
    pub fn remove_client(&mut self, key: &ClientKey) -> Result<(), TableError> {
        gone(self.clients.remove(key)).map_err(failed("delete from", MapName::Clients))
    }
}
