// SPDX-License-Identifier: MIT OR Apache-2.0
//! The word for the state of a real, in lists and live views.
#![forbid(unsafe_code)]

use lb_model::health::{Admin, Health};

/// Facts that determine the word.
#[derive(Clone, Copy, Debug)]
pub struct RealFacts {
    /// Packets can be sent to the real.
    pub is_reachable: bool,
    /// State as the operator set it.
    pub admin: Admin,
    /// State by the checks; `None` without checks.
    pub health: Option<Health>,
    /// Configured weight.
    pub weight: u32,
    /// Weight that is in force.
    pub effective_weight: u32,
    /// The real serves only if the others are down.
    pub is_backup: bool,
    /// Connections of the real are left.
    pub has_flows: bool,
}

impl RealFacts {
    /// Returns the word, two words at most: what the operator did comes first, then what keeps connections from the
    /// real.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match (self.admin, self.health) {
            (Admin::Disabled, _) => "disabled",
            (_, _) if !self.is_reachable => "no answer",
            (Admin::Drain, _) if self.has_flows => "draining",
            (Admin::Drain, _) => "drained",
            (Admin::Enabled, Some(Health::Down)) => "down",
            (Admin::Enabled, _) if self.weight == 0 && self.has_flows => "draining",
            (Admin::Enabled, _) if self.weight == 0 => "weight 0",
            (Admin::Enabled, Some(Health::Unknown)) if self.effective_weight == 0 => "checking",
            (Admin::Enabled, _) if self.is_backup && self.effective_weight == 0 => "standby",
            (Admin::Enabled, _) => "up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_for_a_real_is_what_keeps_connections_from_it() {
        let up = RealFacts {
            is_reachable: true,
            admin: Admin::Enabled,
            health: Some(Health::Up),
            weight: 1,
            effective_weight: 1,
            is_backup: false,
            has_flows: false,
        };
        let off = RealFacts { effective_weight: 0, ..up };
        for (facts, word) in [
            (up, "up"),
            (RealFacts { health: None, ..up }, "up"),
            (RealFacts { is_reachable: false, ..up }, "no answer"),
            (RealFacts { health: Some(Health::Down), ..off }, "down"),
            (RealFacts { health: Some(Health::Unknown), ..off }, "checking"),
            (RealFacts { health: Some(Health::Unknown), ..up }, "up"),
            (RealFacts { is_backup: true, ..off }, "standby"),
            (RealFacts { is_backup: true, ..up }, "up"),
            (RealFacts { weight: 0, ..off }, "weight 0"),
            (RealFacts { weight: 0, has_flows: true, ..off }, "draining"),
            (RealFacts { admin: Admin::Drain, ..off }, "drained"),
            (RealFacts { admin: Admin::Drain, has_flows: true, ..off }, "draining"),
            (RealFacts { admin: Admin::Drain, is_reachable: false, ..off }, "no answer"),
            (RealFacts { admin: Admin::Disabled, is_reachable: false, ..off }, "disabled"),
        ] {
            assert_eq!(facts.word(), word, "{facts:?}");
        }
    }
}
