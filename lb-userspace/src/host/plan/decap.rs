// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps that set up decapsulation.

use super::{Plan, Step};
use crate::host::{
    Outcome,
    decap::{
        Choice, Decapsulation, Device,
        found::{Found, find, finding},
    },
    encapsulation::{Encapsulation, Kind, Support},
    observed::Observed,
    target::Target,
};
use lb_model::failure::Failure;
use lb_netlink::TunnelDevice;

/// Plans the missing decapsulation.
///
/// # Errors
/// If `target` allows devices only, and the kernel has none.
pub(super) fn plan(
    target: &Target,
    observed: &mut Observed,
    plan: &mut Plan,
) -> Result<Decapsulation, Failure> {
    let found = find(target, observed);
    if found.missing.is_empty()
        && let Some(decapsulation) = &found.decapsulation
    {
        plan.note("decapsulation", Outcome::Already, finding(target, &found).found);
        return Ok(decapsulation.clone());
    }
    let interface = target.interface.name.clone();
    if target.decap != Choice::Xdp {
        match why_no_devices(observed, &found.missing) {
            None => return Ok(plan_devices(target, observed, found, plan)),
            Some(why) if target.decap == Choice::Auto => {
                plan.note("devices of the kernel", Outcome::Skipped, format!("{why}: using the XDP program"));
            }
            Some(why) => {
                let hint = "`--decap xdp` uses the XDP program of xvs";
                return Err(Failure::failed(why).hint(hint));
            }
        }
    }
    let step = Step::Program { interface, bpffs: target.bpffs.clone(), from: target.from.clone() };
    observed.expect(&step);
    plan.step(step);
    Ok(Decapsulation::Program)
}

/// Returns the reason why one of the missing devices cannot be created, if there is one.
fn why_no_devices(observed: &Observed, missing: &[Encapsulation]) -> Option<String> {
    missing.iter().map(|encapsulation| encapsulation.kind()).find_map(|kind| {
        if let Some(error) = observed.refused.get(&kind) {
            return Some(error.clone());
        }
        let (kind_name, name) = (kind.as_str(), kind.device());
        match observed.interface(name) {
            Some(other) if other.kind.as_deref() != Some(kind_name) => {
                Some(format!("the interface {name} is not of kind {kind_name}"))
            }
            Some(_) => None,
            None => (observed.support.get(&kind) == Some(&Support::Absent))
                .then(|| format!("this kernel cannot make the {kind_name} device {name}")),
        }
    })
}

/// Plans the missing devices.
fn plan_devices(target: &Target, observed: &mut Observed, found: Found, plan: &mut Plan) -> Decapsulation {
    let mut devices = match found.decapsulation {
        Some(Decapsulation::Devices(devices)) => devices,
        Some(Decapsulation::Program) | None => Vec::new(),
    };
    let present = devices.clone();
    for device in found.missing.into_iter().map(Device::ours) {
        let kind = device.encapsulation.kind();
        let is_new = observed.interface(&device.name).is_none();
        let is_uncertain =
            target.decap == Choice::Auto && observed.support.get(&kind) != Some(&Support::Present);
        let make = is_new.then(|| Step::Device {
            device: device.clone(),
            kind: match kind {
                Kind::Ipip => TunnelDevice::Ipip,
                Kind::Ip6tnl => TunnelDevice::Ip6tnl,
                Kind::Sit => TunnelDevice::Sit(target.rip4),
            },
            otherwise: is_uncertain.then(|| format!("attach the XDP program to {}", target.interface.name)),
        });
        let is_down = observed.interface(&device.name).is_none_or(|found| !found.up);
        let up = is_down.then(|| Step::Up { interface: device.name.clone(), is_new });
        let steps: Vec<Step> = make.into_iter().chain(up).collect();
        if steps.is_empty() {
            // One device serves both inner versions.
            plan.note("decapsulation", Outcome::Already, device.to_string());
        }
        for step in steps {
            observed.expect(&step);
            plan.step(step);
        }
        devices.push(device);
    }
    for device in present {
        plan.note("decapsulation", Outcome::Already, device.to_string());
    }
    Decapsulation::Devices(devices)
}
