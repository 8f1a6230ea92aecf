// SPDX-License-Identifier: MIT OR Apache-2.0
//! API types for `xvs ipvsadm`: the table as IPVS would show it.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::types::ServiceView;
use lb_control::state::Totals;
use lb_model::ServiceId;
use lb_model::failure::Failure;

/// Data of a list of ipvsadm.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Table {
    /// Number of flows that fit: the size of the connection table in IPVS.
    pub size: u32,
    /// Every service, or the requested one.
    pub services: Vec<Shown>,
}

/// A service as IPVS would show it.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Shown {
    /// Service.
    pub service: ServiceView,
    /// Counts since `ipvsadm -Z`.
    pub counted: Totals,
    /// Rates of the counters.
    pub rates: Rates,
    /// Counts and rates of the reals, in the order of the service's reals.
    pub reals: Vec<ShownReal>,
}

/// A real as IPVS would show it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
pub struct ShownReal {
    /// Counts since `ipvsadm -Z`.
    pub counted: Totals,
    /// Rates of the counters.
    pub rates: Rates,
}

/// Averages over the last seconds, as the estimator of IPVS computes them, each per second.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
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
#[derive(Clone, Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Which {
    /// Service.
    pub service: Option<ServiceId>,
}

/// Result of a batch of changes.
#[derive(Clone, Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
pub struct BatchDone {
    /// Reason why each change was not made; `None` if it was.
    pub refused: Vec<Option<Failure>>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
}
