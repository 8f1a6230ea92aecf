// SPDX-License-Identifier: MIT OR Apache-2.0
//! Effect of a planned change on open connections: how many it breaks or moves. Pure functions.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use super::change::{Difference, Effect, Subject};
use lb_model::health::{Admin, OnDown};
use lb_model::text::count;
use lb_model::{Desired, OnRemoval, Protocol, RealKey, Service, ServiceId};

/// Effect on open connections.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Impact {
    /// Connections that end.
    pub(super) breaks: u64,
    /// Connections that continue on another real.
    pub(super) moves: u64,
    /// Connections that stay until they end by themselves.
    pub(super) stays: u64,
    /// Further connections are affected, and not counted, because they have no entry in the flow table.
    pub(super) untracked: bool,
}

impl Impact {
    /// Returns the end of the line of a plan: empty without an effect.
    pub(super) fn words(self) -> String {
        let mut words = Vec::new();
        for (number, verb) in [(self.breaks, "breaks"), (self.moves, "moves")] {
            if number > 0 {
                words.push(format!("{verb} {}", count(number as usize, "connection")));
            }
        }
        if self.stays > 0 {
            words.push(format!("{} may end by themselves", count(self.stays as usize, "connection")));
        }
        if self.untracked {
            words.push("has connections that are not tracked".to_owned());
        }
        if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
    }
}

/// Returns the effect of one difference between two configs; `flows` returns the number of tracked connections of
/// a real, and `untracked` whether a service has others.
pub(super) fn impact(
    difference: &Difference,
    old: &Desired,
    new: &Desired,
    flows: impl Fn(&ServiceId, &RealKey) -> u64,
    untracked: impl Fn(&ServiceId) -> bool,
) -> Impact {
    let none = Impact::default();
    match (&difference.subject, difference.effect) {
        (Subject::Service(id), Effect::Remove) => {
            let Some(service) = old.services.get(id) else { return none };
            let keys = service.all_reals().map(|(address, real)| real.key(*address));
            let breaks = keys.map(|key| flows(id, &key)).sum();
            Impact { breaks, untracked: untracked(id), ..none }
        }
        (Subject::Real(id, address), Effect::Remove) => match (old.services.get(id), new.services.get(id)) {
            (Some(before), Some(after)) => removal(id, *address, before, after, flows, untracked),
            _ => none,
        },
        (Subject::Real(id, address), Effect::Change) => {
            let (Some(before), Some(after)) = (old.services.get(id), new.services.get(id)) else {
                return none;
            };
            let (Some(was), Some(is)) = (before.reals.get(address), after.reals.get(address)) else {
                return none;
            };
            if was.key(*address) != is.key(*address) {
                return removal(id, *address, before, after, flows, untracked);
            }
            let ends = is.admin == Admin::Disabled && was.admin != Admin::Disabled;
            let number = if ends { flows(id, &was.key(*address)) } else { 0 };
            match after.health.on_down {
                OnDown::Reset => Impact { breaks: number, ..none },
                OnDown::Reschedule => Impact { moves: number, ..none },
                // A real that answers keeps its connections.
                OnDown::Auto | OnDown::Keep => Impact { stays: number, ..none },
            }
        }
        _ => none,
    }
}

/// Returns the effect of the removal of a real, or of one of its methods.
fn removal(
    id: &ServiceId,
    address: SocketAddr,
    before: &Service,
    after: &Service,
    flows: impl Fn(&ServiceId, &RealKey) -> u64,
    untracked: impl Fn(&ServiceId) -> bool,
) -> Impact {
    let Some(real) = before.reals.get(&address) else { return Impact::default() };
    let number = flows(id, &real.key(address));
    let untracked = untracked(id);
    let is_udp = matches!(id, ServiceId::Endpoint(endpoint) if endpoint.protocol == Protocol::Udp);
    let none = Impact { untracked, ..Impact::default() };
    match after.on_removal {
        OnRemoval::Drain => Impact { stays: number, ..none },
        OnRemoval::Reschedule => Impact { moves: number, ..none },
        OnRemoval::Reset if is_udp => Impact { moves: number, ..none },
        OnRemoval::Reset => Impact { breaks: number, ..none },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::daemon::change::differences;
    use lb_control::config;

    fn desired(service: &str, reals: &[&str]) -> Desired {
        let head = format!("[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.1:80\"\n{service}\n");
        let reals = reals.iter().map(|real| format!("[[service.real]]\n{real}\n"));
        let text: String = std::iter::once(head).chain(reals).collect();
        config::parse(&text, Path::new("x")).unwrap().desired
    }

    fn words(old: &Desired, new: &Desired) -> Vec<String> {
        let found = differences(old, new);
        found.iter().map(|one| impact(one, old, new, |_, _| 12, |_| false).words()).collect()
    }

    #[test]
    fn the_policy_of_the_service_decides_what_happens_to_connections() {
        let (one, two) = ("address = \"10.0.0.1\"", "address = \"10.0.0.2\"");
        for (policy, said) in [
            ("", " (breaks 12 connections)"),
            ("on-removal = \"reschedule\"", " (moves 12 connections)"),
            ("on-removal = \"drain\"", " (12 connections may end by themselves)"),
        ] {
            assert_eq!(words(&desired(policy, &[one, two]), &desired(policy, &[one])), [said]);
        }
        let both = desired("", &[one, two]);
        assert_eq!(words(&both, &Desired::default()), [" (breaks 24 connections)"]);
        assert_eq!(words(&Desired::default(), &both), ["", "", ""]);
        let heavier = desired("", &[one, "address = \"10.0.0.2\"\nweight = 9"]);
        assert_eq!(words(&both, &heavier), [""]);
        let tunnelled = desired("", &[one, "address = \"10.0.0.2\"\nforward = \"tun\""]);
        assert_eq!(words(&both, &tunnelled), [" (breaks 12 connections)"]);
        let (off, policy) = ("address = \"10.0.0.2\"\nstate = \"disabled\"", "on-down = \"reset\"");
        assert_eq!(
            words(&desired(policy, &[one, two]), &desired(policy, &[one, off])),
            [" (breaks 12 connections)"]
        );
    }
}
