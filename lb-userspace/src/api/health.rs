// SPDX-License-Identifier: MIT OR Apache-2.0
//! Types of the API about health checks. The names of the fields are part of the API.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use lb_control::options::{CheckOptions, HealthOptions};
use lb_model::{
    ServiceId,
    check::{CheckName, CheckType},
    health::{Health, LastResult},
};

/// State of a real by its checks.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, schemars::JsonSchema)]
pub struct HealthView {
    /// State: `up`, `down` or `unknown`.
    pub health: Health,
    /// Number of results in a row that speak against the state, if any.
    #[serde(rename = "health_count")]
    pub count: u32,
    /// Number of such results that changes the state.
    #[serde(rename = "health_needed")]
    pub needed: u32,
    /// Check whose result is `last`.
    #[serde(rename = "health_check")]
    pub check: Option<CheckName>,
    /// Latest result; of the check that failed, if one did.
    #[serde(rename = "last_result")]
    pub last: Option<LastResult>,
    /// Time of the last change of the state, in seconds since 1970.
    #[serde(rename = "health_since_seconds")]
    pub since_seconds: u64,
    /// Number of changes of the state since the daemon started.
    #[serde(rename = "health_changes")]
    pub changes: u64,
}

impl HealthView {
    /// Returns the state in lists: `up`, `down`, and the results that speak against it, such as `up 1/3`.
    #[must_use]
    pub fn word(&self) -> String {
        match self.count {
            0 => self.health.to_string(),
            count => format!("{} {count}/{}", self.health, self.needed),
        }
    }

    /// Returns the latest result in lists: `L7STS HTTP 500`; `-` if there is none.
    #[must_use]
    pub fn last_word(&self) -> String {
        match &self.last {
            None => "-".to_owned(),
            Some(last) => last.to_string(),
        }
    }
}

/// Health of a service's pool.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, schemars::JsonSchema)]
pub struct PoolView {
    /// Options about health.
    pub options: HealthOptions,
    /// Number of reals that could serve if they were healthy; without backup reals.
    pub able_reals: usize,
    /// Number of those that are healthy.
    pub healthy_reals: usize,
    /// Number of healthy reals that the service needs.
    pub min_healthy_reals: usize,
    /// State of the pool: `normal`, `ignored`, `with-backup`, `backup` or `all-down`.
    pub mode: String,
}

/// A health check.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct CheckView {
    /// Name of the check.
    pub name: CheckName,
    /// Type of the check.
    #[serde(rename = "type")]
    pub kind: CheckType,
    /// Options that differ from the defaults.
    pub options: CheckOptions,
    /// Every option with its value.
    pub traits: Vec<(String, String)>,
    /// Services that use the check.
    pub services: Vec<ServiceId>,
    /// State of each real by this check.
    pub reals: Vec<CheckedReal>,
}

/// State of a real by one check.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct CheckedReal {
    /// RIP and port.
    pub address: SocketAddr,
    /// VIP and port to which probes go; `None` if they go to the RIP.
    pub vip: Option<SocketAddr>,
    /// State.
    #[serde(flatten)]
    pub state: HealthView,
}

/// A request to probe a real once.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct CheckRun {
    /// Name of the check.
    pub name: CheckName,
    /// Service whose path a probe takes.
    pub service: ServiceId,
    /// RIP and port of the real.
    pub real: SocketAddr,
}

/// Result of a single probe.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct CheckRunResult {
    /// Steps of the probe, one line each.
    pub steps: Vec<String>,
    /// Result.
    pub last: LastResult,
}
