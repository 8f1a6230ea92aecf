// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an operator's change does to the services. Pure: the maps follow later, or not at all.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use crate::{
    api::types::Change,
    control::model::{Desired, Real, Service, ServiceId},
    failure::Failure,
};

/// Applies a change to `desired` and says what it did.
///
/// # Errors
/// Wrong input, if the change names something that is not there, or adds something that is.
pub fn apply(desired: &mut Desired, change: &Change) -> Result<String, Failure> {
    match change {
        Change::AddService { service, scheduler, tracking } => {
            if desired.services.contains_key(service) {
                return Err(Failure::wrong_input(format!("service {service} is there already"))
                    .hint(format!("change it with `xvs service edit {service}`")));
            }
            desired.services.insert(
                *service,
                Service { scheduler: *scheduler, tracking: *tracking, ..Service::default() },
            );
            Ok(format!(
                "added service {service}, scheduler {}, tracking {}",
                scheduler.as_str(),
                tracking.as_str()
            ))
        }
        Change::EditService { service, scheduler, tracking } => {
            let entry = find(desired, service)?;
            entry.scheduler = scheduler.unwrap_or(entry.scheduler);
            entry.tracking = tracking.unwrap_or(entry.tracking);
            let (scheduler, tracking) = (entry.scheduler.as_str(), entry.tracking.as_str());
            Ok(format!("service {service} now has scheduler {scheduler}, tracking {tracking}"))
        }
        Change::RemoveService { service } => {
            let reals = find(desired, service)?.reals.len();
            desired.services.remove(service);
            Ok(format!("removed service {service} and its {reals} reals"))
        }
        Change::AddReal { service, real, forward, weight } => {
            let address = real.of_service(service);
            let entry = find(desired, service)?;
            if entry.reals.contains_key(&address) {
                return Err(Failure::wrong_input(format!("service {service} has real {address} already"))
                    .hint(format!("change it with `xvs real edit {service} {address}`")));
            }
            entry.reals.insert(address, Real { forward: *forward, weight: *weight });
            Ok(format!("added real {address} to {service}: forward {}, weight {weight}", forward.as_str()))
        }
        Change::EditReal { service, real, forward, weight } => {
            let address = real.of_service(service);
            let entry = find_real(desired, service, &address)?;
            entry.forward = forward.unwrap_or(entry.forward);
            entry.weight = weight.unwrap_or(entry.weight);
            let (forward, weight) = (entry.forward.as_str(), entry.weight);
            Ok(format!("real {address} of {service} now has forward {forward}, weight {weight}"))
        }
        Change::RemoveReal { service, real } => {
            let address = real.of_service(service);
            find_real(desired, service, &address)?;
            find(desired, service)?.reals.remove(&address);
            Ok(format!("removed real {address} from {service}"))
        }
    }
}

fn find<'a>(desired: &'a mut Desired, service: &ServiceId) -> Result<&'a mut Service, Failure> {
    desired.services.get_mut(service).ok_or_else(|| {
        Failure::wrong_input(format!("there is no service {service}"))
            .hint("`xvs service list` shows what there is")
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
    })
}

/// What changed between two sets of services, a line each.
#[must_use]
pub fn describe(old: &Desired, new: &Desired) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, service) in &new.services {
        let before = old.services.get(id);
        let (scheduler, tracking) = (service.scheduler.as_str(), service.tracking.as_str());
        match before {
            None => lines.push(format!("added service {id}, scheduler {scheduler}, tracking {tracking}")),
            Some(before) if (before.scheduler, before.tracking) != (service.scheduler, service.tracking) => {
                lines.push(format!("service {id} now has scheduler {scheduler}, tracking {tracking}"));
            }
            Some(_) => {}
        }
        for (address, real) in &service.reals {
            let (forward, weight) = (real.forward.as_str(), real.weight);
            match before.and_then(|before| before.reals.get(address)) {
                None => {
                    lines.push(format!("added real {address} to {id}: forward {forward}, weight {weight}"));
                }
                Some(before) if before != real => {
                    lines.push(format!("real {address} of {id} now has forward {forward}, weight {weight}"));
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
    lines
}
