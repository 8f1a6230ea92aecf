// SPDX-License-Identifier: MIT OR Apache-2.0
//! Change from one state to another, as a line of the [journal](crate::journal): the parts that differ.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Rest, State, StoredReal, StoredService, Totals, stored_real};
use crate::options::ServiceOptions;
use lb_model::{Service, ServiceId};

/// The parts of a state that a change replaces.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct StateChange {
    /// Services with all their reals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    services: Vec<StoredService>,
    /// Reals of services that otherwise stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reals: Vec<Reals>,
    /// Services that are removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    removed: Vec<ServiceId>,
    /// Counters of the removed reals of services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retired: Vec<Retired>,
    /// Everything that belongs to no service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rest: Option<Rest>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Reals {
    service: ServiceId,
    reals: Vec<StoredReal>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Retired {
    service: ServiceId,
    totals: Totals,
}

impl State {
    /// Returns the change from this state to `next`; `None` if there is none.
    #[must_use]
    pub fn change_to(&self, next: &Self) -> Option<StateChange> {
        let mut change = StateChange::default();
        for id in next.desired.services.unshared(&self.desired.services) {
            match (self.desired.services.get(&id), next.desired.services.get(&id)) {
                (_, None) => change.removed.push(id),
                (Some(old), Some(new)) if old == new => {}
                (Some(old), Some(new)) if differ_in_reals_alone(old, new) => {
                    let differing =
                        new.reals.iter().filter(|(address, real)| old.reals.get(*address) != Some(*real));
                    change.reals.push(Reals { service: id, reals: differing.map(stored_real).collect() });
                }
                (_, Some(new)) => change.services.push(StoredService::of(&id, new, next.retired_of(&id))),
            }
        }
        let whole: BTreeSet<ServiceId> = change.services.iter().map(|service| service.id).collect();
        let differs = |id: &&ServiceId| self.retired_of(id) != next.retired_of(id) && !whole.contains(*id);
        let retired = next.desired.services.keys().filter(differs);
        change.retired = retired.map(|id| Retired { service: *id, totals: next.retired_of(id) }).collect();
        let rest = next.rest();
        if self.rest() != rest {
            change.rest = Some(rest);
        }
        let StateChange { services, reals, removed, retired, rest } = &change;
        let is_none = services.is_empty() && reals.is_empty() && removed.is_empty() && retired.is_empty();
        (!is_none || rest.is_some()).then_some(change)
    }

    /// Makes a change of the journal. It may be made more than once.
    pub fn make(&mut self, change: StateChange) {
        for id in change.removed {
            self.desired.services.remove(&id);
            self.retired.remove(&id);
        }
        for service in change.services {
            self.put(service);
        }
        for Reals { service, reals } in change.reals {
            if let Some(service) = self.desired.services.get_mut(&service) {
                service.reals.extend(reals.into_iter().map(|stored| (stored.address, stored.real)));
            }
        }
        for Retired { service, totals } in change.retired {
            self.retired.insert(service, totals);
        }
        if let Some(rest) = change.rest {
            self.put_rest(rest);
        }
    }

    fn retired_of(&self, id: &ServiceId) -> Totals {
        self.retired.get(id).copied().unwrap_or_default()
    }
}

/// Returns whether two services have the same options, and reals at the same addresses in the same order.
fn differ_in_reals_alone(old: &Service, new: &Service) -> bool {
    old.leaving == new.leaving
        && old.reals.keys().eq(new.reals.keys())
        && ServiceOptions::of(old) == ServiceOptions::of(new)
}

/// Returns the change in a line of the journal.
///
/// # Errors
/// If the line is of another version of xvs.
pub(super) fn parse(line: serde_json::Value) -> Result<StateChange, serde_json::Error> {
    serde_json::from_value(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_model::{Endpoint, Forward, Protocol, Real};

    fn id(port: u16) -> ServiceId {
        ServiceId::parse("tcp", &format!("192.0.2.1:{port}")).unwrap()
    }

    fn service(reals: u8) -> Service {
        let real = |number: u8| (format!("10.0.0.{number}:80").parse().unwrap(), Real::new(Forward::Nat, 1));
        Service { reals: (1..=reals).map(real).collect(), ..Service::default() }
    }

    /// Asserts that the change, as it is in the journal, leads to `next`, once and repeatedly. Returns its text.
    #[track_caller]
    fn leads(state: &State, next: &State) -> String {
        let text = serde_json::to_string(&state.change_to(next).expect("a change")).unwrap();
        let mut made = state.clone();
        for _ in 0..2 {
            made.make(parse(serde_json::from_str(&text).unwrap()).unwrap());
            assert_eq!(made.change_to(next).map(|change| serde_json::to_string(&change).unwrap()), None);
            assert_eq!(made.desired, next.desired);
        }
        text
    }

    #[test]
    fn a_change_has_what_differs_and_leads_to_the_next_state() {
        let mut state = State::default();
        state.desired.services = [1, 2, 3].map(|port| (id(port), service(200))).into();
        let mut next = state.clone();
        assert!(state.change_to(&next).is_none());
        *next.desired.services.get_mut(&id(2)).unwrap() = state.desired.services[&id(2)].clone();
        assert!(state.change_to(&next).is_none(), "another copy is no change");

        let address = "10.0.0.7:80".parse().unwrap();
        next.desired.services.get_mut(&id(2)).unwrap().reals[&address].weight = 5;
        let text = leads(&state, &next);
        assert!(text.len() < 300 && text.contains("10.0.0.7:80") && text.contains("\"weight\":5"), "{text}");

        let changed = next.desired.services.get_mut(&id(2)).unwrap();
        changed.one_packet = true;
        let real = changed.reals.shift_remove(&address).unwrap();
        changed.leaving.insert(real.key(address), real);
        next.desired.services.remove(&id(1));
        next.desired.services.insert(id(4), service(1));
        next.retired.insert(id(3), Totals { packets_in: 5, ..Totals::default() });
        next.vips.insert("192.0.2.1".parse().unwrap());
        next.timeouts.udp = Some(30);
        next.gone.insert("forwarded".to_owned(), 3);
        let endpoint = Endpoint { protocol: Protocol::Udp, address: "192.0.2.9:1".parse().unwrap() };
        next.desired.groups.insert(1, [endpoint].into());
        let text = leads(&state, &next);
        assert!(!text.contains("192.0.2.1:3\",\"reals"), "service 3 has new counters alone: {text}");
        leads(&next, &state);
    }
}
