// SPDX-License-Identifier: MIT OR Apache-2.0
//! The plan of `xvs host restore`.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Plan, Record, Step};
use crate::host::{
    HostError,
    boot::{Boot, files::Disk},
    state::{Change, Remembered, Sharers},
};
use lb_model::failure::Failure;

/// A recorded change and its present effect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recorded {
    /// Change.
    pub change: Change,
    /// The reason why undoing changes nothing, if that is the case.
    pub idle: Option<String>,
}

/// Returns the VIPs that remain without `vips`; if `vips` is empty, none remain.
///
/// # Errors
/// If this host is not set up for one of `vips`.
pub fn remaining(known: &BTreeSet<IpAddr>, vips: &[IpAddr]) -> Result<BTreeSet<IpAddr>, Failure> {
    if vips.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut remaining = known.clone();
    for vip in vips {
        if !remaining.remove(vip) {
            let known: Vec<_> = known.iter().map(IpAddr::to_string).collect();
            return Err(Failure::wrong_input(format!("this host is not set up for the VIP {vip}"))
                .hint(format!("it is set up for {}", known.join(", "))));
        }
    }
    Ok(remaining)
}

/// Returns the set-up at the next start for the VIPs that remain.
#[must_use]
pub fn boot_for(remembered: &Remembered, remaining: &BTreeSet<IpAddr>) -> Option<Boot> {
    remembered.boot.clone().and_then(|boot| boot.without_others(remaining))
}

/// Returns the steps that undo the changes of `remembered`, except those for the VIPs that remain, and those
/// that another set-up of this host needs. `recorded` are all changes, in the order in which they were made;
/// `disk` is needed if a set-up at the next start remains.
///
/// # Errors
/// If the files for the next start cannot be changed.
pub fn plan(
    remembered: &Remembered,
    remaining: BTreeSet<IpAddr>,
    recorded: Vec<Recorded>,
    sharers: &Sharers,
    disk: Disk,
) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let boot = boot_for(remembered, &remaining);
    // The files for the next start change first: it must not add an address again that is removed now.
    if let Some(boot) = boot.as_ref().filter(|boot| remembered.boot.as_ref() != Some(boot)) {
        plan.entries.extend(boot.plan(disk).map_err(HostError::from)?);
    }
    let concerned = |change: &Change| match change {
        Change::Address { address, .. } => !remaining.contains(&address.addr()),
        change if change.is_for_boot() => boot.is_none(),
        _ => remaining.is_empty(),
    };
    undo(&mut plan, recorded.into_iter().filter(|one| concerned(&one.change)).collect(), sharers);
    plan.record(Record::Left { vips: remaining, boot });
    Ok(plan)
}

/// Adds the steps that undo `recorded`: first those that hand a change over, then the files for the next start,
/// then all others, the last change first.
pub fn undo(plan: &mut Plan, recorded: Vec<Recorded>, sharers: &Sharers) {
    let mut own = Vec::new();
    for Recorded { change, idle } in recorded {
        match sharers.of(&change) {
            Some(to) => plan.step(Step::HandOver { change, to: to.to_owned() }),
            None => own.push(Step::Undo { change, idle }),
        }
    }
    let is_for_boot = |step: &Step| matches!(step, Step::Undo { change, .. } if change.is_for_boot());
    let (boot, others): (Vec<_>, Vec<_>) = own.into_iter().rev().partition(is_for_boot);
    boot.into_iter().chain(others).for_each(|step| plan.step(step));
}
