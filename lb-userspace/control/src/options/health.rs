// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of a service about the health of its reals.
#![forbid(unsafe_code)]

use clap::Args;
use serde::{Deserialize, Serialize};

use super::CheckList;
use lb_model::{
    check::Period,
    health::{HealthPolicy, Initial, MinHealthy, OnAllDown, OnDown},
};

/// Options about health. An option that is not given keeps its value; in a new service, it has the default.
#[derive(Args, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(default)]
pub struct HealthOptions {
    /// Health checks of the reals.
    #[command(flatten)]
    pub check: Option<CheckList>,
    /// State of a real before the first result of its checks [new services: down]
    #[arg(long, value_name = "STATE", help_heading = "Health")]
    pub initial: Option<Initial>,
    /// Fate of the connections of a real that is down [new services: auto]
    #[arg(long, value_name = "WHAT", help_heading = "Health")]
    pub on_down: Option<OnDown>,
    /// Time in which the weight of a real that is up again grows to its full value [new services: 0s]
    #[arg(long, value_name = "DURATION", help_heading = "Health")]
    pub slow_start: Option<Period>,
    /// Time for which a real that went down stays down at least; doubles with each further failure, up to
    /// 5 minutes [new services: 10s]
    #[arg(long, value_name = "DURATION", help_heading = "Health")]
    pub hold_down: Option<Period>,
    /// Healthy part of the pool, such as 50% or 2, below which health is ignored [new services: 0]
    #[arg(long, value_name = "PART", help_heading = "Health")]
    pub min_healthy: Option<MinHealthy>,
    /// Reals beyond --min-healthy that must be healthy before health counts again [new services: 0]
    #[arg(long, value_name = "N", help_heading = "Health")]
    pub hysteresis: Option<u32>,
    /// Fate of new connections if all reals are down [new services: backup]
    #[arg(long, value_name = "WHAT", help_heading = "Health")]
    pub on_all_down: Option<OnAllDown>,
}

impl HealthOptions {
    /// Applies the given options to a service.
    pub fn apply(&self, policy: &mut HealthPolicy) {
        if let Some(CheckList(checks)) = &self.check {
            policy.checks.clone_from(checks);
        }
        policy.initial = self.initial.unwrap_or(policy.initial);
        policy.on_down = self.on_down.unwrap_or(policy.on_down);
        policy.slow_start = self.slow_start.unwrap_or(policy.slow_start);
        policy.hold_down = self.hold_down.unwrap_or(policy.hold_down);
        policy.min_healthy = self.min_healthy.unwrap_or(policy.min_healthy);
        policy.hysteresis = self.hysteresis.unwrap_or(policy.hysteresis);
        policy.on_all_down = self.on_all_down.unwrap_or(policy.on_all_down);
    }

    /// Returns all options of a service: applied to any other service, they make it equal.
    #[must_use]
    pub fn of(policy: &HealthPolicy) -> Self {
        Self {
            check: Some(CheckList(policy.checks.clone())),
            initial: Some(policy.initial),
            on_down: Some(policy.on_down),
            slow_start: Some(policy.slow_start),
            hold_down: Some(policy.hold_down),
            min_healthy: Some(policy.min_healthy),
            hysteresis: Some(policy.hysteresis),
            on_all_down: Some(policy.on_all_down),
        }
    }
}
