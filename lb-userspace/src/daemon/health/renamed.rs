// SPDX-License-Identifier: MIT OR Apache-2.0
//! Saved states of checks that got another name while no daemon ran. A running daemon keeps such states itself.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use lb_health::{Saved, TargetKey};
use lb_model::check::{Check, CheckName};

/// Returns the saved states under the names that the checks have now. A check has another name if its old one is gone,
/// and a name that did not exist has the same definition.
pub(super) fn renamed(
    saved: BTreeMap<TargetKey, Saved>,
    old: &BTreeMap<CheckName, Check>,
    new: &BTreeMap<CheckName, Check>,
) -> BTreeMap<TargetKey, Saved> {
    let added: Vec<_> = new.iter().filter(|(name, _)| !old.contains_key(*name)).collect();
    let mut states = BTreeMap::new();
    for (key, state) in saved {
        let gone = if new.contains_key(&key.name) { None } else { old.get(&key.name) };
        let Some(definition) = gone else {
            states.insert(key, state);
            continue;
        };
        for (name, _) in added.iter().filter(|(_, check)| *check == definition) {
            let key = TargetKey { name: (*name).clone(), ..key.clone() };
            states.entry(key.clone()).or_insert_with(|| Saved { key, ..state.clone() });
        }
    }
    states
}

#[cfg(test)]
mod tests {
    use lb_model::{
        Endpoint, Forward, Protocol, RealKey, Tunnel,
        check::{CheckType, Period},
        health::Health,
    };

    use super::*;

    fn key(name: &str, check: &Check) -> TargetKey {
        let service = Endpoint { protocol: Protocol::Tcp, address: "192.0.2.1:80".parse().unwrap() };
        let real =
            RealKey { address: "10.0.0.1:80".parse().unwrap(), forward: Forward::Dr, tunnel: Tunnel::Ipip };
        TargetKey::new(name.parse().unwrap(), check, service, real)
    }

    fn saved(name: &str, check: &Check, since_ms: u64) -> (TargetKey, Saved) {
        let key = key(name, check);
        let state = Saved {
            key: key.clone(),
            health: Health::Down,
            since_ms,
            is_silent: true,
            weight_percent: None,
            held_until_ms: None,
            flaps: 2,
            flaps_until_ms: None,
            at_ms: since_ms,
        };
        (key, state)
    }

    fn checks(all: &[(&str, &Check)]) -> BTreeMap<CheckName, Check> {
        all.iter().map(|(name, check)| (name.parse().unwrap(), (*check).clone())).collect()
    }

    #[test]
    fn a_renamed_check_keeps_its_states_and_another_definition_does_not() {
        let check = Check::new(CheckType::Http);
        let mut other = check.clone();
        other.timing.interval = Period::from_millis(9000);
        let old = checks(&[("web", &check), ("stays", &check)]);
        let states: BTreeMap<_, _> = [saved("web", &check, 1), saved("stays", &check, 2)].into();
        let names = |new: &[(&str, &Check)]| {
            let states = renamed(states.clone(), &old, &checks(new));
            assert!(states.iter().all(|(key, state)| state.key == *key && state.flaps == 2));
            let names = states.iter().map(|(key, state)| (key.name.to_string(), state.since_ms));
            names.collect::<Vec<_>>()
        };
        let state = |name: &str, since: u64| (name.to_owned(), since);
        assert_eq!(names(&[("web", &check), ("stays", &check)]), [state("stays", 2), state("web", 1)]);
        assert_eq!(names(&[("page", &check), ("stays", &check)]), [state("page", 1), state("stays", 2)]);
        assert_eq!(names(&[("page", &other), ("stays", &check)]), [state("stays", 2)]);
        assert_eq!(names(&[("stays", &check)]), [state("stays", 2)], "a known name is another check");
        assert_eq!(names(&[("web", &other), ("stays", &check)]).len(), 2, "as a new definition of a name");
    }
}
