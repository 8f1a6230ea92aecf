// SPDX-License-Identifier: MIT OR Apache-2.0
//! Differences between two moments of a live view.
#![forbid(unsafe_code)]

use super::{Live, LiveChange, LiveReal, LiveService, RealChange, ServiceChange};

/// Returns the new value if it differs.
fn changed<T: Clone + PartialEq>(before: &T, now: &T) -> Option<T> {
    (before != now).then(|| now.clone())
}

impl Live {
    /// Returns the difference from this moment to a later one; `None` if services or reals were added, removed or
    /// replaced, which needs a new snapshot.
    #[must_use]
    pub fn change_to(&self, now: &Self) -> Option<LiveChange> {
        if self.services.len() != now.services.len() || (self.doctor.is_some() && now.doctor.is_none()) {
            return None;
        }
        let mut services = Vec::new();
        for (index, (before, now)) in self.services.iter().zip(&now.services).enumerate() {
            let change = before.change_to(now, index)?;
            if change != (ServiceChange { index, ..ServiceChange::default() }) {
                services.push(change);
            }
        }
        Some(LiveChange {
            number: now.number,
            time_ms: now.time_ms,
            daemon: changed(&self.daemon, &now.daemon),
            services,
            reasons: changed(&self.reasons, &now.reasons),
            doctor: changed(&self.doctor, &now.doctor).flatten(),
        })
    }

    /// Applies a change. Returns whether it belongs to this snapshot; if not, the snapshot is of no further use.
    #[must_use]
    pub fn apply(&mut self, change: LiveChange) -> bool {
        if change.number != self.number + 1 {
            return false;
        }
        (self.number, self.time_ms) = (change.number, change.time_ms);
        replace(&mut self.daemon, change.daemon);
        replace(&mut self.reasons, change.reasons);
        if change.doctor.is_some() {
            self.doctor = change.doctor;
        }
        change.services.into_iter().all(|change| {
            let service = self.services.get_mut(change.index);
            service.is_some_and(|service| service.apply(change))
        })
    }
}

/// Replaces a value, if there is a new one.
fn replace<T>(value: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *value = new;
    }
}

impl LiveService {
    fn change_to(&self, now: &Self, index: usize) -> Option<ServiceChange> {
        let is_same = (self.service, &self.scheduler) == (now.service, &now.scheduler);
        if !is_same || self.reals.len() != now.reals.len() {
            return None;
        }
        let mut reals = Vec::new();
        for (index, (before, now)) in self.reals.iter().zip(&now.reals).enumerate() {
            if !before.is_same(now) {
                return None;
            }
            let (state, load) = (changed(&before.state, &now.state), changed(&before.load, &now.load));
            if state.is_some() || load.is_some() {
                reals.push(RealChange { index, state, load });
            }
        }
        Some(ServiceChange {
            index,
            state: changed(&self.state, &now.state),
            load: changed(&self.load, &now.load),
            reasons: changed(&self.reasons, &now.reasons),
            reals,
        })
    }

    fn apply(&mut self, change: ServiceChange) -> bool {
        replace(&mut self.state, change.state);
        replace(&mut self.load, change.load);
        replace(&mut self.reasons, change.reasons);
        change.reals.into_iter().all(|change| match self.reals.get_mut(change.index) {
            Some(real) => {
                replace(&mut real.state, change.state);
                replace(&mut real.load, change.load);
                true
            }
            None => false,
        })
    }
}

impl LiveReal {
    /// Returns whether another value is about the same real.
    fn is_same(&self, other: &Self) -> bool {
        (self.address, self.forward, self.backup) == (other.address, other.forward, other.backup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::live::{LiveReason, Load};

    fn live() -> Live {
        serde_json::from_value(serde_json::json!({
            "number": 7, "time_ms": 1000,
            "daemon": {"version": "1", "pid": 1, "start_time_seconds": 1, "interfaces": [], "flows": 0,
                "max_flows": 1, "flows6": 0, "max_flows6": 1, "problem_count": 0, "problems": [], "config": null},
            "services": [{
                "name": "tcp 192.0.2.1:80", "service": {"protocol": "tcp", "address": "192.0.2.1:80"},
                "scheduler": "mh", "state": {"serving": 1, "down": 0, "pool": "normal"},
                "load": Load::default(), "reasons": [],
                "reals": [{
                    "address": "10.0.0.1:80", "forward": "dr", "backup": false, "load": Load::default(),
                    "state": {"word": "up", "admin": "enabled", "weight": 1, "effective_weight": 1,
                        "health": "up", "last": null, "since_seconds": 0, "unreachable": null},
                }],
            }],
            "reasons": [], "doctor": null,
        }))
        .unwrap()
    }

    #[test]
    fn a_change_leads_from_one_moment_to_the_next() {
        let before = live();
        let mut now = live();
        now.number = 8;
        now.time_ms = 2000;
        now.services[0].reals[0].state.word = "down".to_owned();
        now.services[0].load.packets_in = 5;
        let reason =
            |rate| LiveReason { reason: "no_real".to_owned(), fate: "answered".to_owned(), rate, packets: 9 };
        now.reasons.push(reason(9));
        let change = before.change_to(&now).unwrap();
        let json = serde_json::to_value(&change).unwrap();
        assert!(json.get("daemon").is_none() && json["services"][0].get("state").is_none(), "{json}");
        assert!(json["services"][0]["reals"][0].get("load").is_none(), "{json}");
        let mut seen = before.clone();
        assert!(seen.apply(serde_json::from_value(json).unwrap()));
        assert_eq!(seen, now);
    }

    #[test]
    fn silence_is_a_short_change() {
        let (before, mut now) = (live(), live());
        (now.number, now.time_ms) = (8, 2000);
        let change = serde_json::to_string(&before.change_to(&now).unwrap()).unwrap();
        assert_eq!(change, r#"{"number":8,"time_ms":2000}"#);
    }

    #[test]
    fn another_set_of_services_or_reals_needs_a_snapshot() {
        let before = live();
        let mut more = live();
        more.services.push(more.services[0].clone());
        let mut other = live();
        other.services[0].reals[0].address = "10.0.0.2:80".parse().unwrap();
        let mut method = live();
        method.services[0].reals[0].forward = lb_model::Forward::Nat;
        for now in [more, other, method, Live::default()] {
            assert_eq!(before.change_to(&now), None, "{now:?}");
        }
    }

    #[test]
    fn a_change_that_does_not_fit_is_refused() {
        let change = LiveChange { number: 9, ..LiveChange::default() };
        assert!(!live().apply(change.clone()), "8 is missing");
        let services = vec![ServiceChange { index: 1, ..ServiceChange::default() }];
        assert!(!live().apply(LiveChange { number: 8, services, ..change }));
    }

    #[test]
    fn rates_are_per_second_and_rounded() {
        let totals = |packets_in| lb_control::state::Totals { packets_in, ..Default::default() };
        let rate = |before, now, millis| Load::between(&totals(before), &totals(now), millis).packets_in;
        assert_eq!(
            [rate(10, 510, 500), rate(0, 2, 3000), rate(9, 1, 1000), rate(0, 5, 0)],
            [1000, 1, 0, 5000]
        );
    }
}
