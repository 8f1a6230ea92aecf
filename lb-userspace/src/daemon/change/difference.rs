// SPDX-License-Identifier: MIT OR Apache-2.0
//! Differences between two configs, and the words for them.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use super::{checks, list};
use lb_model::text::count;
use lb_model::{Desired, ServiceId};

/// Effect of a difference.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Something is added.
    Add,
    /// Something is modified.
    Change,
    /// Something is removed.
    Remove,
}

/// Subject of a difference, as far as connections depend on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// A service.
    Service(ServiceId),
    /// A real of a service.
    Real(ServiceId, SocketAddr),
    /// Something else.
    Other,
}

/// One difference between two sets of services.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// Effect.
    pub effect: Effect,
    /// Subject.
    pub subject: Subject,
    /// Subject in words: `service tcp 10.0.0.100:80`.
    about: String,
    /// Rest of the sentence, after the subject.
    rest: String,
}

impl Difference {
    pub(super) fn new(effect: Effect, about: String, rest: impl Into<String>) -> Self {
        Self { effect, subject: Subject::Other, about, rest: rest.into() }
    }

    fn of_service(self, id: &ServiceId) -> Self {
        Self { subject: Subject::Service(*id), ..self }
    }

    fn of_real(self, id: &ServiceId, address: &SocketAddr) -> Self {
        Self { subject: Subject::Real(*id, *address), ..self }
    }

    /// Returns the line for a change that was made.
    #[must_use]
    pub fn done(&self) -> String {
        let Self { effect, about, rest, .. } = self;
        match effect {
            Effect::Add => format!("added {about}{rest}"),
            Effect::Change => format!("{about} now has {rest}"),
            Effect::Remove => format!("removed {about}{rest}"),
        }
    }

    /// Returns the line for a planned change.
    #[must_use]
    pub fn planned(&self) -> String {
        let Self { effect, about, rest, .. } = self;
        match effect {
            Effect::Add => format!("+ will add {about}{rest}"),
            Effect::Change => format!("~ will change {about}: {rest}"),
            Effect::Remove => format!("- will remove {about}{rest}"),
        }
    }
}

/// Returns the differences between two sets of services, in order.
#[must_use]
pub fn differences(old: &Desired, new: &Desired) -> Vec<Difference> {
    let mut found = Vec::new();
    for (group, members) in &new.groups {
        let about = format!("group {group}");
        match old.groups.get(group) {
            None => found.push(Difference::new(Effect::Add, about, format!(": {}", list(members)))),
            Some(before) if before != members => {
                found.push(Difference::new(Effect::Change, about, list(members)));
            }
            Some(_) => {}
        }
    }
    found.extend(checks::differences(old, new));
    for (id, service) in &new.services {
        if new.services.share(&old.services, id) {
            continue;
        }
        let before = old.services.get(id);
        let about = format!("service {id}");
        match before {
            None => {
                let rest = format!(", {}", service.describe());
                found.push(Difference::new(Effect::Add, about, rest).of_service(id));
            }
            Some(before) if !before.is_alike(service) => {
                let rest = altered(&before.traits(), &service.traits());
                found.push(Difference::new(Effect::Change, about, rest).of_service(id));
            }
            Some(_) => {}
        }
        for (address, real) in &service.reals {
            match before.and_then(|before| before.reals.get(address)) {
                None => {
                    let (about, rest) = (format!("real {address} to {id}"), format!(": {}", real.describe()));
                    found.push(Difference::new(Effect::Add, about, rest).of_real(id, address));
                }
                Some(before) if before != real => {
                    let about = format!("real {address} of {id}");
                    let rest = altered(&before.traits(), &real.traits());
                    found.push(Difference::new(Effect::Change, about, rest).of_real(id, address));
                }
                Some(_) => {}
            }
        }
        for address in before.into_iter().flat_map(|before| before.reals.keys()) {
            if !service.reals.contains_key(address) {
                let about = format!("real {address} from {id}");
                found.push(Difference::new(Effect::Remove, about, "").of_real(id, address));
            }
        }
    }
    for (id, service) in &old.services {
        if !new.services.contains_key(id) {
            let rest = format!(" and its {}", count(service.reals.len(), "real"));
            found.push(Difference::new(Effect::Remove, format!("service {id}"), rest).of_service(id));
        }
    }
    for group in old.groups.keys().filter(|group| !new.groups.contains_key(group)) {
        found.push(Difference::new(Effect::Remove, format!("group {group}"), ""));
    }
    found
}

/// Returns the properties that differ, with their previous values: `weight 2 (was 1), upper none (was 10)`.
pub(super) fn altered(before: &[(&'static str, String)], after: &[(&'static str, String)]) -> String {
    let words = after.iter().zip(before).filter(|(now, was)| now != was);
    words.map(|((name, now), (_, was))| format!("{name} {now} (was {was})")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::types::Change, daemon::change::apply};
    use lb_control::options::{RealOptions, ServiceOptions};

    fn one_service() -> Desired {
        let service = ServiceId::parse("tcp", "192.0.2.100:80").unwrap();
        let options = ServiceOptions::default();
        let mut desired = Desired::default();
        apply(&mut desired, &Change::AddService { service, options, take_over: false }).unwrap();
        let real = "192.0.2.11".parse().unwrap();
        apply(&mut desired, &Change::AddReal { service, real, options: RealOptions::default() }).unwrap();
        desired
    }

    #[test]
    fn a_plan_speaks_of_the_future() {
        let (mut new, old) = (one_service(), Desired::default());
        let planned = |old: &Desired, new: &Desired| -> Vec<String> {
            differences(old, new).iter().map(Difference::planned).collect()
        };
        assert_eq!(
            planned(&old, &new)[1],
            "+ will add real 192.0.2.11:80 to tcp 192.0.2.100:80: forward dr, weight 1"
        );
        assert_eq!(planned(&new, &old), ["- will remove service tcp 192.0.2.100:80 and its 1 real"]);
        let before = new.clone();
        for real in new.services.values_mut().flat_map(|service| service.reals.values_mut()) {
            real.weight = 5;
        }
        let changed = planned(&before, &new);
        assert_eq!(changed, ["~ will change real 192.0.2.11:80 of tcp 192.0.2.100:80: weight 5 (was 1)"]);
    }
}
