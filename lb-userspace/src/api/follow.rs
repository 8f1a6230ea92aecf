// SPDX-License-Identifier: MIT OR Apache-2.0
//! API types for `xvs run --follow-ipvs`.
#![forbid(unsafe_code)]

use lb_control::ipvs::Left;
use serde::{Deserialize, Serialize};

/// State of a daemon that follows the kernel's IPVS.
#[derive(Clone, Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
pub struct FollowView {
    /// Services of IPVS that stay with the kernel, with the reasons.
    pub left: Vec<Left>,
    /// Number of changes of services and reals since the daemon started.
    pub changes: u64,
    /// Reason why the services may not be those of IPVS.
    pub problem: Option<String>,
}
