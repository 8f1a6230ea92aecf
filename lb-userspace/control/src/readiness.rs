// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a director can take over traffic, and the reasons why it cannot.
#![forbid(unsafe_code)]

use std::time::Duration;

use lb_model::text::count;

/// Time after the start of the daemon in which the director waits for what it does not know yet: next hops, and first
/// results of health checks. What is not known then does not make it less ready than another director.
pub const START: Duration = Duration::from_secs(15);

/// The facts from which readiness follows.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Time since the daemon started.
    pub uptime: Duration,
    /// The operator has drained the director.
    pub is_drained: bool,
    /// Names of the interfaces that lack the program.
    pub detached: Vec<String>,
    /// Number of services.
    pub services: usize,
    /// One of them has a real that takes connections.
    pub serving: bool,
    /// A neighbour has not answered yet.
    pub is_asking: bool,
    /// Number of reals without a first result of their checks.
    pub unchecked: usize,
}

/// Whether a director can take over traffic.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Readiness {
    /// The reasons why it cannot; empty if it can.
    pub reasons: Vec<String>,
    /// All reasons end by themselves soon: the daemon has just started.
    pub is_starting: bool,
}

impl Readiness {
    /// Returns the readiness of a daemon that has not decided yet.
    #[must_use]
    pub fn unknown() -> Self {
        Self { reasons: vec!["the daemon starts".to_owned()], is_starting: true }
    }

    /// Returns whether the director can take over traffic.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Decides by the facts.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let mut lasting = Vec::new();
        if facts.is_drained {
            lasting.push("the director is drained; `xvs director resume` ends that".to_owned());
        }
        for name in &facts.detached {
            lasting.push(format!("interface {name} has no program, so that no packet is forwarded there"));
        }
        if facts.services == 0 {
            lasting.push("the director has no service".to_owned());
        }
        let mut starting = Vec::new();
        if facts.uptime < START {
            if facts.is_asking {
                starting.push("next hops of reals are not known yet".to_owned());
            }
            if facts.unchecked > 0 {
                let reals = count(facts.unchecked, "real");
                starting.push(format!("the first health checks of {reals} have no result yet"));
            }
        }
        if starting.is_empty() && facts.services > 0 && !facts.serving {
            lasting.push("no service has a real that takes connections".to_owned());
        }
        let is_starting = lasting.is_empty() && !starting.is_empty();
        lasting.extend(starting);
        Self { reasons: lasting, is_starting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving() -> Facts {
        Facts { uptime: START, services: 2, serving: true, ..Facts::default() }
    }

    #[test]
    fn a_director_that_serves_is_ready() {
        let readiness = Readiness::of(&serving());
        assert!(readiness.is_ready() && !readiness.is_starting, "{readiness:?}");
    }

    #[test]
    fn a_start_waits_for_what_is_not_known_yet_but_not_for_ever() {
        let young = Facts {
            uptime: Duration::from_secs(1),
            is_asking: true,
            unchecked: 3,
            serving: false,
            ..serving()
        };
        let readiness = Readiness::of(&young);
        assert!(readiness.is_starting);
        assert_eq!(
            readiness.reasons,
            ["next hops of reals are not known yet", "the first health checks of 3 reals have no result yet"]
        );
        let readiness = Readiness::of(&Facts { uptime: START, ..young.clone() });
        assert_eq!(readiness.reasons, ["no service has a real that takes connections"]);
        assert!(!readiness.is_starting);
        assert!(Readiness::of(&Facts { uptime: START, serving: true, ..young }).is_ready());
    }

    #[test]
    fn what_lasts_is_not_a_start() {
        let drained = Facts { uptime: Duration::ZERO, is_drained: true, is_asking: true, ..serving() };
        let readiness = Readiness::of(&drained);
        assert!(!readiness.is_starting && readiness.reasons.len() == 2, "{readiness:?}");
        let detached = Facts { detached: vec!["eth1".to_owned()], ..serving() };
        assert!(Readiness::of(&detached).reasons[0].contains("eth1"));
        let empty = Facts { services: 0, serving: false, ..serving() };
        assert_eq!(Readiness::of(&empty).reasons, ["the director has no service"]);
    }
}
