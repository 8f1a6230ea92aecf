// SPDX-License-Identifier: MIT OR Apache-2.0
//! Effect of an operator's change on the services. These functions are pure: the maps are written later, or
//! not at all.
#![forbid(unsafe_code)]

mod checks; //     changes of health checks
mod difference; // differences between two configs

use difference::altered;
pub use difference::{Difference, Effect, Subject, differences};

use std::net::SocketAddr;

use indexmap::IndexMap;

use crate::api::types::Change;
use lb_control::validate;
use lb_model::failure::{ErrorCode, Failure};
use lb_model::text::count;
use lb_model::{Desired, Endpoint, GroupId, OnRemoval, Real, Service, ServiceId};

/// Applies a change to `desired` and returns a line that describes it.
///
/// # Errors
/// If the change names something that does not exist, or adds something that exists; the failure is wrong input.
pub fn apply(desired: &mut Desired, change: &Change) -> Result<String, Failure> {
    match change {
        Change::AddService { service, options, .. } => {
            if desired.services.contains_key(service) {
                return Err(Failure::wrong_input(format!("service {service} exists already"))
                    .hint(format!("change it with `xvs service edit {service}`"))
                    .because(ErrorCode::ServiceExists));
            }
            validate::netmask(service, options.netmask)?;
            let mut new = Service::default();
            options.apply(&mut new);
            let line = format!("added service {service}, {}", new.describe());
            desired.services.insert(*service, new);
            Ok(line)
        }
        Change::EditService { service, options, .. } => {
            validate::netmask(service, options.netmask)?;
            let entry = find(desired, service)?;
            let before = entry.traits();
            options.apply(entry);
            Ok(edited(&format!("service {service}"), &before, &entry.traits()))
        }
        Change::RemoveService { service } => {
            let reals = find(desired, service)?.reals.len();
            desired.services.remove(service);
            Ok(format!("removed service {service} and its {}", count(reals, "real")))
        }
        Change::AddReal { service, real, options } => {
            let address = real.of_service(service);
            let entry = find(desired, service)?;
            if entry.reals.contains_key(&address) {
                return Err(Failure::wrong_input(format!("service {service} has real {address} already"))
                    .hint(format!("change it with `xvs real edit {service} {address}`"))
                    .because(ErrorCode::RealExists));
            }
            let new = options.new_real();
            let line = format!("added real {address} to {service}: {}", new.describe());
            entry.reals.insert(address, new);
            Ok(line)
        }
        Change::EditReal { service, real, options } => {
            let address = real.of_service(service);
            let entry = find_real(desired, service, &address)?;
            let before = entry.traits();
            options.apply(entry);
            Ok(edited(&format!("real {address} of {service}"), &before, &entry.traits()))
        }
        Change::RemoveReal { service, real } => {
            let address = real.of_service(service);
            find_real(desired, service, &address)?;
            find(desired, service)?.reals.shift_remove(&address);
            Ok(format!("removed real {address} from {service}"))
        }
        Change::AddToGroup { group, endpoints, .. } => add_to_group(desired, *group, endpoints),
        Change::RemoveFromGroup { group, endpoints } => remove_from_group(desired, *group, endpoints),
        Change::AddCheck { name, kind, options } => checks::add(desired, name, *kind, options),
        Change::EditCheck { name, options } => checks::edit(desired, name, options),
        Change::RemoveCheck { name } => checks::remove(desired, name),
        Change::ClearServices => {
            let services = count(desired.services.len(), "service");
            desired.services.clear();
            Ok(format!("removed {services}"))
        }
        Change::Clear => {
            let services = count(desired.services.len(), "service");
            *desired = Desired::default();
            Ok(format!("removed {services}, all groups and all checks"))
        }
    }
}

/// Refuses a netmask for a service without persistence: it would have no clients to group.
///
/// # Errors
/// If the service is not persistent; the failure is wrong input.
pub fn netmask_has_use(desired: &Desired, change: &Change) -> Result<(), Failure> {
    let (Change::AddService { service, options, .. } | Change::EditService { service, options, .. }) = change
    else {
        return Ok(());
    };
    let is_persistent = desired.services.get(service).is_some_and(|one| one.persistence.is_some());
    if options.netmask.is_none() || is_persistent {
        return Ok(());
    }
    Err(Failure::wrong_input(format!(
        "--netmask groups the clients of a persistent service, and service {service} is not persistent"
    ))
    .hint("give --persistent as well, such as --persistent 5m"))
}

/// Returns a line about the effect of an edit.
pub(super) fn edited(
    about: &str,
    before: &[(&'static str, String)],
    after: &[(&'static str, String)],
) -> String {
    if before == after {
        return format!("nothing to change: {about} has that already");
    }
    format!("{about} now has {}", altered(before, after))
}

fn add_to_group(desired: &mut Desired, group: GroupId, endpoints: &[Endpoint]) -> Result<String, Failure> {
    let members = desired.groups.entry(group).or_default();
    for endpoint in endpoints {
        if !members.insert(*endpoint) {
            return Err(Failure::wrong_input(format!("group {group} has {endpoint} already"))
                .hint("`xvs group list` lists the groups"));
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
            .hint("`xvs group list` lists the groups"));
    };
    for endpoint in endpoints {
        if !members.remove(endpoint) {
            return Err(Failure::wrong_input(format!("group {group} has no {endpoint}"))
                .hint("`xvs group list` lists the groups"));
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

/// Carries over from `old` what `new` does not specify: the order in which reals were added, and reals that
/// were removed or got another method, and still have connections.
pub fn carry_over(old: &Desired, new: &mut Desired) {
    for id in new.services.unshared(&old.services) {
        let (Some(before), Some(service)) = (old.services.get(&id), new.services.get_mut(&id)) else {
            continue;
        };
        let mut reals: IndexMap<SocketAddr, Real> = before
            .reals
            .keys()
            .filter_map(|address| service.reals.get(address).map(|real| (*address, real.clone())))
            .collect();
        reals.extend(service.reals.iter().map(|(address, real)| (*address, real.clone())));
        service.reals = reals;
        let before = before.all_reals().map(|(address, real)| (real.key(*address), real.clone()));
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
            .hint("`xvs service list` lists the services")
            .because(ErrorCode::NoService)
    })
}

fn find_real<'a>(
    desired: &'a mut Desired,
    service: &ServiceId,
    address: &SocketAddr,
) -> Result<&'a mut Real, Failure> {
    find(desired, service)?.reals.get_mut(address).ok_or_else(|| {
        Failure::wrong_input(format!("service {service} has no real {address}"))
            .hint(format!("`xvs real list {service}` lists its reals"))
            .because(ErrorCode::NoReal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_control::options::{RealOptions, ServiceOptions};

    fn id() -> ServiceId {
        ServiceId::parse("tcp", "192.0.2.100:80").unwrap()
    }

    fn one_service() -> Desired {
        let options = ServiceOptions::default();
        let mut desired = Desired::default();
        apply(&mut desired, &Change::AddService { service: id(), options, take_over: false }).unwrap();
        let real = "192.0.2.11".parse().unwrap();
        apply(&mut desired, &Change::AddReal { service: id(), real, options: RealOptions::default() })
            .unwrap();
        desired
    }

    #[test]
    fn an_edit_says_what_it_changed() {
        let edit = |options| {
            let mut desired = one_service();
            apply(&mut desired, &Change::EditService { service: id(), options, force: false })
        };
        let persistent = ServiceOptions { persistent: Some(300), ..ServiceOptions::default() };
        assert_eq!(
            edit(persistent).unwrap(),
            "service tcp 192.0.2.100:80 now has persistent 300s (was none)"
        );
        let same = edit(ServiceOptions::default()).unwrap();
        assert_eq!(same, "nothing to change: service tcp 192.0.2.100:80 has that already");
        let mut desired = one_service();
        let options = RealOptions { weight: Some(0), ..RealOptions::default() };
        let real = "192.0.2.11".parse().unwrap();
        let line = apply(&mut desired, &Change::EditReal { service: id(), real, options }).unwrap();
        assert_eq!(line, "real 192.0.2.11:80 of tcp 192.0.2.100:80 now has weight 0 (was 1)");
        let line = apply(&mut desired, &Change::RemoveService { service: id() }).unwrap();
        assert_eq!(line, "removed service tcp 192.0.2.100:80 and its 1 real");
    }

    #[test]
    fn an_impossible_or_useless_netmask_is_refused() {
        for (name, netmask, is_possible) in [
            ("192.0.2.100:80", 33, false),
            ("192.0.2.100:80", 127, false),
            ("192.0.2.100:80", 24, true),
            ("192.0.2.100:80", 128, true),
            ("[2001:db8::1]:80", 0, false),
            ("[2001:db8::1]:80", 64, true),
        ] {
            let service = ServiceId::parse("tcp", name).unwrap();
            let options = ServiceOptions { netmask: Some(netmask), ..ServiceOptions::default() };
            let change = Change::AddService { service, options, take_over: false };
            let mut desired = Desired::default();
            assert_eq!(apply(&mut desired, &change).is_ok(), is_possible, "{name} {netmask}");
            assert!(netmask_has_use(&desired, &change).is_err(), "{name} {netmask}");
        }
    }
}
