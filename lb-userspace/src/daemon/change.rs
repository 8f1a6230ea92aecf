// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an operator's change does to the services. Pure: the maps follow later, or not at all.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use indexmap::IndexMap;

use crate::{
    api::types::Change,
    control::model::{Desired, Endpoint, GroupId, OnRemoval, Real, Service, ServiceId},
    failure::{Cause, Failure},
};

/// Applies a change to `desired` and says what it did.
///
/// # Errors
/// Wrong input, if the change names something that is not there, or adds something that is.
pub fn apply(desired: &mut Desired, change: &Change) -> Result<String, Failure> {
    match change {
        Change::AddService { service, options, .. } => {
            if desired.services.contains_key(service) {
                return Err(Failure::wrong_input(format!("service {service} is there already"))
                    .hint(format!("change it with `xvs service edit {service}`"))
                    .because(Cause::ServiceExists));
            }
            let mut new = Service::default();
            options.apply(&mut new);
            let line = format!("added service {service}, {}", new.describe());
            desired.services.insert(*service, new);
            Ok(line)
        }
        Change::EditService { service, options } => {
            let entry = find(desired, service)?;
            options.apply(entry);
            Ok(format!("service {service} now has {}", entry.describe()))
        }
        Change::RemoveService { service } => {
            let reals = find(desired, service)?.reals.len();
            desired.services.remove(service);
            Ok(format!("removed service {service} and its {reals} reals"))
        }
        Change::AddReal { service, real, options } => {
            let address = real.of_service(service);
            let entry = find(desired, service)?;
            if entry.reals.contains_key(&address) {
                return Err(Failure::wrong_input(format!("service {service} has real {address} already"))
                    .hint(format!("change it with `xvs real edit {service} {address}`"))
                    .because(Cause::RealExists));
            }
            let new = options.new_real();
            entry.reals.insert(address, new);
            Ok(format!("added real {address} to {service}: {}", new.describe()))
        }
        Change::EditReal { service, real, options } => {
            let address = real.of_service(service);
            let entry = find_real(desired, service, &address)?;
            options.apply(entry);
            Ok(format!("real {address} of {service} now has {}", entry.describe()))
        }
        Change::RemoveReal { service, real } => {
            let address = real.of_service(service);
            find_real(desired, service, &address)?;
            find(desired, service)?.reals.shift_remove(&address);
            Ok(format!("removed real {address} from {service}"))
        }
        Change::AddToGroup { group, endpoints, .. } => add_to_group(desired, *group, endpoints),
        Change::RemoveFromGroup { group, endpoints } => remove_from_group(desired, *group, endpoints),
        Change::ClearServices => {
            let count = desired.services.len();
            desired.services.clear();
            Ok(format!("removed all {count} services"))
        }
        Change::Clear => {
            let count = desired.services.len();
            *desired = Desired::default();
            Ok(format!("removed all {count} services, and all groups"))
        }
    }
}

fn add_to_group(desired: &mut Desired, group: GroupId, endpoints: &[Endpoint]) -> Result<String, Failure> {
    let members = desired.groups.entry(group).or_default();
    for endpoint in endpoints {
        if !members.insert(*endpoint) {
            return Err(Failure::wrong_input(format!("group {group} has {endpoint} already"))
                .hint("`xvs group list` shows what there is"));
        }
    }
    Ok(format!("group {group} now has {}", list(&*members)))
}

fn remove_from_group(
    desired: &mut Desired,
    group: GroupId,
    endpoints: &[Endpoint],
) -> Result<String, Failure> {
    let Some(members) = desired.groups.get_mut(&group) else {
        return Err(Failure::wrong_input(format!("there is no group {group}"))
            .hint("`xvs group list` shows what there is"));
    };
    for endpoint in endpoints {
        if !members.remove(endpoint) {
            return Err(Failure::wrong_input(format!("group {group} has no {endpoint}"))
                .hint("`xvs group list` shows what there is"));
        }
    }
    if endpoints.is_empty() || members.is_empty() {
        desired.groups.remove(&group);
        return Ok(format!("removed group {group}"));
    }
    Ok(format!("group {group} now has {}", list(&*members)))
}

fn list<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> String {
    let words: Vec<String> = endpoints.into_iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// Carries over from `old` what the operator did not say anew: the order in which reals were added, and reals that
/// were removed, or have another method now, and still have connections.
pub fn carry_over(old: &Desired, new: &mut Desired) {
    for (id, service) in &mut new.services {
        let Some(before) = old.services.get(id) else { continue };
        let mut reals: IndexMap<SocketAddr, Real> = before
            .reals
            .keys()
            .filter_map(|address| service.reals.get(address).map(|real| (*address, *real)))
            .collect();
        reals.extend(service.reals.iter().map(|(address, real)| (*address, *real)));
        service.reals = reals;
        let before = before.all_reals().map(|(address, real)| (real.key(*address), *real));
        service.leaving = before.filter(|(key, _)| !service.has_real(key)).collect();
        if service.on_removal == OnRemoval::Reschedule {
            let reals = &service.reals;
            service.leaving.retain(|key, _| reals.contains_key(&key.address));
        }
    }
}

fn find<'a>(desired: &'a mut Desired, service: &ServiceId) -> Result<&'a mut Service, Failure> {
    desired.services.get_mut(service).ok_or_else(|| {
        Failure::wrong_input(format!("there is no service {service}"))
            .hint("`xvs service list` shows what there is")
            .because(Cause::NoService)
    })
}

fn find_real<'a>(
    desired: &'a mut Desired,
    service: &ServiceId,
    address: &SocketAddr,
) -> Result<&'a mut Real, Failure> {
    find(desired, service)?.reals.get_mut(address).ok_or_else(|| {
        Failure::wrong_input(format!("service {service} has no real {address}"))
            .hint(format!("`xvs real list {service}` shows what there is"))
            .because(Cause::NoReal)
    })
}

/// What changed between two sets of services, a line each.
#[must_use]
pub fn describe(old: &Desired, new: &Desired) -> Vec<String> {
    let mut lines = Vec::new();
    for (group, members) in &new.groups {
        if old.groups.get(group) != Some(members) {
            lines.push(format!("group {group} now has {}", list(members)));
        }
    }
    for (id, service) in &new.services {
        let before = old.services.get(id);
        match before {
            None => lines.push(format!("added service {id}, {}", service.describe())),
            Some(before) if !before.is_alike(service) => {
                lines.push(format!("service {id} now has {}", service.describe()));
            }
            Some(_) => {}
        }
        for (address, real) in &service.reals {
            match before.and_then(|before| before.reals.get(address)) {
                None => lines.push(format!("added real {address} to {id}: {}", real.describe())),
                Some(before) if before != real => {
                    lines.push(format!("real {address} of {id} now has {}", real.describe()));
                }
                Some(_) => {}
            }
        }
        for address in before.into_iter().flat_map(|before| before.reals.keys()) {
            if !service.reals.contains_key(address) {
                lines.push(format!("removed real {address} from {id}"));
            }
        }
    }
    for (id, service) in &old.services {
        if !new.services.contains_key(id) {
            lines.push(format!("removed service {id} and its {} reals", service.reals.len()));
        }
    }
    for group in old.groups.keys().filter(|group| !new.groups.contains_key(group)) {
        lines.push(format!("removed group {group}"));
    }
    lines
}
