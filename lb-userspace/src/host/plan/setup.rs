// SPDX-License-Identifier: MIT OR Apache-2.0
//! The plan of `xvs host setup`.

use ipnet::IpNet;

use super::{Entry, Plan, Record, Step, decap};
use crate::host::{
    HostError, Outcome, arp,
    boot::{Boot, Persist, files::Disk},
    check,
    finding::Finding,
    observed::Observed,
    requirement::requirements,
    state::{Change, Remembered},
    target::{Method, Target},
    vip::Placement,
};
use lb_model::failure::Failure;

/// Set-up at the next start: the one before, and the present files.
#[derive(Clone, Debug)]
pub struct AtBoot {
    /// The circumstances.
    pub persist: Persist,
    /// Set-up at the next start so far.
    pub boot: Boot,
    /// Present files.
    pub disk: Disk,
}

/// Returns the steps that fulfil all requirements of `target` on a host like `observed`, whose state file has
/// the contents `remembered`; with `at_boot`, also those that repeat them at the next start.
///
/// # Errors
/// If a requirement cannot be fulfilled.
pub fn plan(
    target: &Target,
    mut observed: Observed,
    remembered: &Remembered,
    at_boot: Option<AtBoot>,
) -> Result<Plan, Failure> {
    nothing_in_the_way(target, &observed)?;
    let mut plan = Plan::default();
    plan.record(Record::Vips { vips: target.vips.clone(), tunnelled: target.method == Method::Tun });
    let mut decapsulation = None;
    if target.method == Method::Tun {
        decapsulation = Some(decap::plan(target, &mut observed, &mut plan)?);
    }
    let requirements = requirements(target, decapsulation.as_ref());
    for requirement in &requirements {
        let standing = requirement.check(&observed)?;
        if standing.settled {
            plan.note(standing.finding.item, Outcome::Already, standing.finding.found);
        } else {
            let step = requirement.plan(&observed)?;
            observed.expect(&step);
            plan.step(step);
        }
    }
    for Finding { item, found, .. } in check::mtu(target) {
        plan.note(item, Outcome::Already, found);
    }
    for Finding { item, found, why, ok, .. } in arp::findings(target, &observed)? {
        if !ok {
            plan.note(item, Outcome::Warning, format!("{found}: {why}"));
        }
    }
    if let Some(AtBoot { persist, mut boot, disk }) = at_boot {
        let mut changes: Vec<Change> = remembered.changes.clone();
        changes.extend(plan.steps().filter_map(Step::change));
        boot.add(&persist, target, &requirements, &changes, &observed)?;
        let entries = boot.plan(disk).map_err(HostError::from)?;
        if remembered.boot.as_ref() != Some(&boot) {
            plan.record(Record::Boot(boot));
        }
        plan.entries.extend::<Vec<Entry>>(entries);
    }
    Ok(plan)
}

/// Refuses a VIP in the wrong place: set-up adds addresses, but removes none that it did not add.
fn nothing_in_the_way(target: &Target, observed: &Observed) -> Result<(), Failure> {
    for vip in &target.vips {
        let placement = observed.placement(*vip);
        if let Placement::Answering { interface, net } | Placement::Swallowing { interface, net } = &placement
        {
            let net: &IpNet = net;
            return Err(Failure::failed(format!("{vip} is in the wrong place: {placement}")).hint(format!(
                "`ip address delete {net} dev {interface}`, and find out which program added it"
            )));
        }
    }
    Ok(())
}
