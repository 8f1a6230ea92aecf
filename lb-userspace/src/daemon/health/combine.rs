// SPDX-License-Identifier: MIT OR Apache-2.0
//! Combination of the states of a real's targets into the health of the real. These functions are pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use lb_health::{Saved, Snapshot, TargetKey, TargetState};

use super::{RealOf, targets};
use crate::api::health::HealthView;
use lb_control::pool::RealHealth;
use lb_model::{Desired, check::CheckName, health::Health};

/// States of targets: those of the threads, else those of an earlier run.
pub(super) struct States<'a> {
    snapshot: &'a Snapshot,
    saved: &'a BTreeMap<TargetKey, Saved>,
}

impl<'a> States<'a> {
    pub(super) const fn new(snapshot: &'a Snapshot, saved: &'a BTreeMap<TargetKey, Saved>) -> Self {
        Self { snapshot, saved }
    }

    fn of(&self, key: &TargetKey) -> Option<TargetState> {
        if let Some(state) = self.snapshot.states.get(key) {
            return Some(state.clone());
        }
        self.saved.get(key).map(|saved| TargetState {
            health: Health::Unknown,
            assumed: Some(saved.health),
            progress: (0, 0),
            last: None,
            since_ms: saved.since_ms,
            is_silent: saved.is_silent,
            weight_percent: saved.weight_percent,
            held_until_ms: None,
            flaps: 0,
            flaps_until_ms: None,
        })
    }
}

/// Combined states of the targets of a real: it is up if all of them are up, and down if one is down.
#[derive(Debug)]
pub(super) struct Combined {
    /// Health of the real.
    pub(super) health: Health,
    /// The check that determines the health, and the state of its target.
    deciding: Option<(CheckName, TargetState)>,
    /// Smallest weight that a target asks for, in percent.
    weight_percent: u8,
}

impl Combined {
    fn of(targets: Vec<(CheckName, Option<TargetState>)>) -> Self {
        let has = |health: Health| targets.iter().any(|(_, state)| effective(state.as_ref()) == health);
        let health = match (has(Health::Down), has(Health::Unknown)) {
            (true, _) => Health::Down,
            (false, true) => Health::Unknown,
            (false, false) => Health::Up,
        };
        let weight_percent =
            targets.iter().filter_map(|(_, state)| state.as_ref()?.weight_percent).min().unwrap_or(100);
        // The target that determines the health; among several, the one that is about to turn.
        let deciding = targets
            .into_iter()
            .filter_map(|(name, state)| Some((name, state?)))
            .filter(|(_, state)| state.effective() == health)
            .max_by_key(|(_, state)| (state.progress.0, state.since_ms));
        Self { health, deciding, weight_percent }
    }

    /// Returns the health for the weights; `None` without a verdict.
    pub(super) fn verdict(&self) -> Option<RealHealth> {
        let is_silent = self.deciding.as_ref().is_some_and(|(_, state)| state.is_silent);
        (self.health != Health::Unknown).then_some(RealHealth {
            health: self.health,
            is_silent: is_silent && self.health == Health::Down,
            weight_percent: self.weight_percent,
            ..RealHealth::UP
        })
    }

    /// Returns the time of the last change of the deciding target, in milliseconds since 1970.
    pub(super) fn since_ms(&self) -> u64 {
        self.deciding.as_ref().map_or(0, |(_, state)| state.since_ms)
    }

    /// Returns the health in lists, which began at `since_seconds`.
    pub(super) fn view(self, since_seconds: u64, changes: u64) -> HealthView {
        let (check, state) = self.deciding.unzip();
        let (count, needed) = state.as_ref().map_or((0, 0), |state| state.progress);
        let last = state.and_then(|state| state.last);
        HealthView { health: self.health, count, needed, check, last, since_seconds, changes }
    }

    /// Returns the reason for the health: the check, and its latest result.
    pub(super) fn reason(&self) -> Option<(&CheckName, &TargetState)> {
        self.deciding.as_ref().map(|(name, state)| (name, state))
    }
}

fn effective(state: Option<&TargetState>) -> Health {
    state.map_or(Health::Unknown, TargetState::effective)
}

/// Returns the combined states of each real that has checks.
pub(super) fn all(desired: &Desired, states: &States<'_>) -> BTreeMap<RealOf, Combined> {
    let mut all = BTreeMap::new();
    for (id, service) in &desired.services {
        for (address, real) in &service.reals {
            let names = service.checks_of(real);
            if names.is_empty() {
                continue;
            }
            let targets = names.iter().map(|name| {
                let key = targets::key(desired, id, name, *address, real);
                (name.clone(), key.and_then(|key| states.of(&key)))
            });
            all.insert((*id, *address), Combined::of(targets.collect()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(health: Health, since_ms: u64, count: u32) -> TargetState {
        TargetState {
            health,
            assumed: None,
            progress: (count, 3),
            last: None,
            since_ms,
            is_silent: health == Health::Down,
            weight_percent: None,
            held_until_ms: None,
            flaps: 0,
            flaps_until_ms: None,
        }
    }

    fn combined(states: &[Option<TargetState>]) -> Combined {
        let name = |number: usize| format!("check{number}").parse().unwrap();
        Combined::of(
            states.iter().cloned().enumerate().map(|(number, state)| (name(number), state)).collect(),
        )
    }

    #[test]
    fn a_real_is_up_if_all_its_checks_are() {
        let (up, down) = (Some(state(Health::Up, 1, 0)), Some(state(Health::Down, 2, 0)));
        assert_eq!(combined(&[up.clone(), up.clone()]).health, Health::Up);
        assert_eq!(combined(&[up.clone(), None]).health, Health::Unknown);
        assert_eq!(combined(&[None, up.clone()]).verdict(), None);
        let mixed = combined(&[up, down, None]);
        assert_eq!((mixed.health, mixed.since_ms()), (Health::Down, 2));
        assert!(mixed.verdict().unwrap().is_silent);
        assert_eq!(mixed.reason().unwrap().0.as_str(), "check1");
    }

    #[test]
    fn the_check_that_is_about_to_turn_is_shown() {
        let view = combined(&[Some(state(Health::Up, 5, 0)), Some(state(Health::Up, 1, 2))]).view(7, 1);
        assert_eq!(view.check.as_ref().map(CheckName::as_str), Some("check1"));
        assert_eq!((view.word(), view.since_seconds), ("up 2/3".to_owned(), 7));
    }

    #[test]
    fn the_smallest_weight_counts() {
        let with = |percent| Some(TargetState { weight_percent: percent, ..state(Health::Up, 1, 0) });
        let health = combined(&[with(Some(60)), with(None), with(Some(40))]).verdict().unwrap();
        assert_eq!(health.weight_percent, 40);
    }
}
