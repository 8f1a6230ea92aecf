// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replacement of IPVS in the kernel: the daemon, or a table in memory for tests.
#![forbid(unsafe_code)]

use crate::api::{
    client::Api,
    ipvs::{BatchDone, Table, Which},
    sync::{SyncChange, SyncStatus},
    types::{Change, Connection, Done, Status, TimeoutView},
};
use lb_model::failure::Failure;
use lb_model::{ServiceId, timeouts::TimeoutOptions};

/// Operations of ipvsadm commands.
pub(crate) trait Kernel {
    /// Returns the table, or one service of it.
    async fn table(&self, service: Option<ServiceId>) -> Result<Table, Failure>;
    /// Makes changes in one step, except those that are refused.
    async fn change(&self, changes: &[Change]) -> Result<BatchDone, Failure>;
    /// Resets counters.
    async fn zero(&self, service: Option<ServiceId>) -> Result<(), Failure>;
    /// Returns the timeouts.
    async fn timeouts(&self) -> Result<TimeoutView, Failure>;
    /// Sets timeouts.
    async fn set_timeouts(&self, options: &TimeoutOptions) -> Result<(), Failure>;
    /// Returns the connections.
    async fn connections(&self) -> Result<Vec<Connection>, Failure>;
    /// Returns the state of the daemons that synchronise connections.
    async fn daemons(&self) -> Result<SyncStatus, Failure>;
    /// Starts or stops a daemon that synchronises connections.
    async fn change_daemon(&self, change: &SyncChange) -> Result<(), Failure>;
}

impl Kernel for Api {
    async fn table(&self, service: Option<ServiceId>) -> Result<Table, Failure> {
        self.post("/v1/ipvs", &Which { service }).await
    }

    async fn change(&self, changes: &[Change]) -> Result<BatchDone, Failure> {
        self.post("/v1/batch", &changes).await
    }

    async fn zero(&self, service: Option<ServiceId>) -> Result<(), Failure> {
        self.post("/v1/zero", &Which { service }).await
    }

    async fn timeouts(&self) -> Result<TimeoutView, Failure> {
        Ok(self.get::<Status>("/v1/status").await?.timeouts)
    }

    async fn set_timeouts(&self, options: &TimeoutOptions) -> Result<(), Failure> {
        self.post::<Done>("/v1/timeouts", options).await.map(drop)
    }

    async fn connections(&self) -> Result<Vec<Connection>, Failure> {
        self.get("/v1/connections").await
    }

    async fn daemons(&self) -> Result<SyncStatus, Failure> {
        self.get("/v1/sync").await
    }

    async fn change_daemon(&self, change: &SyncChange) -> Result<(), Failure> {
        self.post::<Done>("/v1/sync", change).await.map(drop)
    }
}
