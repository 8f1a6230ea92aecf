// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes over the API for `xvs ipvsadm`: the table as IPVS would show it.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::types::ServiceView;
use crate::{control::state::Totals, failure::Failure, model::ServiceId};

/// Everything that a list of ipvsadm shows.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Table {
    /// How many flows fit: IPVS's size of the table of connections.
    pub size: u32,
    /// Every service, or the one that was asked for.
    pub services: Vec<Shown>,
}

/// A service as IPVS would show it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Shown {
    /// The service.
    pub service: ServiceView,
    /// What was counted since `ipvsadm -Z`.
    pub counted: Totals,
    /// How fast it counts.
    pub rates: Rates,
    /// The same of its reals, in their order.
    pub reals: Vec<ShownReal>,
}

/// A real as IPVS would show it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct ShownReal {
    /// What was counted since `ipvsadm -Z`.
    pub counted: Totals,
    /// How fast it counts.
    pub rates: Rates,
}

/// Averages over the last seconds, as IPVS's estimator makes them, each per second.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rates {
    /// New connections.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// Body of `POST /v1/ipvs` and `POST /v1/zero`: one service, or all.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Which {
    /// Which service.
    pub service: Option<ServiceId>,
}

/// What became of changes that were asked for together.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct BatchDone {
    /// Why a change was not made, one for each; `None` if it was.
    pub refused: Vec<Option<Failure>>,
    /// What the operator should know besides.
    pub warnings: Vec<String>,
}
