// SPDX-License-Identifier: MIT OR Apache-2.0
//! The place of a director among several: its role, and whether it is drained.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::enums::option_enum;

option_enum! {
    /// Role of a director of which several have the same services.
    #[derive(Default)]
    Role {
        /// The director has the VIPs
        #[default]
        Active = "active",
        /// The director has no VIP, and forwards what reaches it all the same
        Standby = "standby",
    }
}

/// The place of a director among several, as the operator set it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Standing {
    /// The director is not ready, and has no VIP, until the operator resumes it.
    pub drained: bool,
    /// Role.
    pub role: Role,
}

impl Standing {
    /// Returns whether the director may have VIPs.
    #[must_use]
    pub fn may_have_vips(self) -> bool {
        !self.drained && self.role == Role::Active
    }
}
