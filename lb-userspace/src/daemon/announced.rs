// SPDX-License-Identifier: MIT OR Apache-2.0
//! The director's part in announcements of connections.
#![forbid(unsafe_code)]

use std::sync::Arc;

use lb_common::{
    flow_table::Value,
    ids::RealId,
    schema::{ClientKey, FlowKey, ReturnPath},
    sync::Connection,
    ticks::{Tick, Ticks},
    wire::Be128,
};
use lb_dataplane::FlowScan;
use lb_model::failure::Failure;
use lb_netlink::Netlink;
use tokio::sync::Notify;

use super::{
    Director,
    maps::{Announcement, OwnFlow, Written},
};

impl Director {
    /// Writes announced connections into the maps.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub(super) fn announce(&mut self, announcements: &[Announcement]) -> Result<Written, Failure> {
        self.maps.announce(announcements, self.store.dips())
    }

    /// Returns the number of announced flows in the flow table, and the number that it takes.
    pub(super) const fn announced_flows(&self) -> (u64, u64) {
        (self.maps.announced_flows(), self.maps.announced_share())
    }

    /// Returns what is notified of each change of the services and reals.
    pub(super) fn reals_changed(&self) -> Arc<Notify> {
        self.maps.reals_changed()
    }

    /// Returns the netlink socket in the director's network namespace.
    pub(super) const fn netlink(&self) -> &Netlink {
        self.network.netlink()
    }

    /// Sets the return paths to clients, unless their packets have shown other ones than those that were set before.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub(super) fn put_return_paths(
        &mut self,
        paths: &[(Be128, ReturnPath, Option<ReturnPath>)],
    ) -> Result<(), Failure> {
        self.maps.put_return_paths(paths)
    }

    /// Returns the places of the flow table.
    pub(super) fn flow_scan(&mut self) -> FlowScan {
        self.maps.tables().flow_scan()
    }

    /// Returns the announcements of flows; flows of removed reals have none.
    pub(super) fn announcements(&mut self, flows: &[(FlowKey, Value)]) -> Vec<OwnFlow> {
        self.maps.announcements(flows)
    }

    /// Returns the persistence entries that connections of this director have made: key, real, timeout of the service, and
    /// announcement.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(super) fn own_templates(
        &mut self,
        now: Tick,
    ) -> Result<Vec<(ClientKey, RealId, Ticks, Connection)>, Failure> {
        self.maps.own_templates(now)
    }
}
