// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists of checks for operators.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use lb_health::TargetState;

use super::targets;
use crate::{
    api::health::{CheckView, CheckedReal, HealthView},
    daemon::Director,
};
use lb_control::options::CheckOptions;
use lb_model::check::CheckName;

impl Director {
    /// Returns every check, with the state of each real by it.
    #[must_use]
    pub fn checks(&self) -> Vec<CheckView> {
        let desired = self.store.desired();
        let snapshot = self.health.snapshot();
        let mut views: BTreeMap<&CheckName, CheckView> = BTreeMap::new();
        for (name, check) in &desired.checks {
            let traits = check.traits().into_iter().map(|(key, value)| (key.to_owned(), value));
            let view = CheckView {
                name: name.clone(),
                kind: check.kind,
                options: CheckOptions::of(check),
                traits: traits.collect(),
                services: Vec::new(),
                reals: Vec::new(),
            };
            views.insert(name, view);
        }
        // A check may have tens of thousands of reals.
        let mut shown = BTreeSet::new();
        for (id, service) in &desired.services {
            for (address, real) in &service.reals {
                for name in service.checks_of(real) {
                    let Some(view) = views.get_mut(name) else { continue };
                    // The reals of a service follow each other.
                    if view.services.last() != Some(id) {
                        view.services.push(*id);
                    }
                    let Some(key) = targets::key(desired, id, name, *address, real) else { continue };
                    let vip = key.vip;
                    if !shown.insert((name, key.real, vip)) {
                        continue;
                    }
                    let state =
                        snapshot.states.get(&key).map(|state| view_of(name, state)).unwrap_or_default();
                    view.reals.push(CheckedReal { address: key.real, vip, state });
                }
            }
        }
        views.into_values().collect()
    }
}

/// Returns the state of a target in lists.
fn view_of(name: &CheckName, state: &TargetState) -> HealthView {
    let (count, needed) = state.progress;
    HealthView {
        health: state.effective(),
        count,
        needed,
        check: Some(name.clone()),
        last: state.last.clone(),
        since_seconds: state.since_ms / 1000,
        changes: 0,
    }
}
