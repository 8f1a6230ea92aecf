// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host restore`: undoes the changes of set-up.

use std::net::IpAddr;

use super::{
    Done, Host, HostError, Outcome, Report,
    apply::Apply,
    boot::files::Disk,
    can_configure_the_network,
    encapsulation::Kind,
    plan::{self, DryRun, Plan, Stopped, run},
    present::effects,
    state::{Change, Place, Remembered, Sharers, StateFile},
};
use lb_model::failure::Failure;

/// Undoes all changes, or, if `vips` names some VIPs and others remain, only the addresses of those. Changes
/// that another set-up of this host needs stay, and are undone with that one.
///
/// Changes that were undone from outside are skipped. Without recorded changes there is nothing to do.
///
/// # Errors
/// Fails if a change cannot be undone. The others are undone nevertheless; failed ones stay in the state file
/// for another attempt.
pub async fn restore(host: &Host, vips: &[IpAddr], place: &Place, report: Report<'_>) -> Result<(), Failure> {
    if place.peek()?.is_none() {
        report(nothing(place));
        return Ok(());
    }
    can_configure_the_network()?;
    let mut state = place.open()?;
    let plan = prepare(host, vips, &state.remembered(), place).await?;
    carry_out(host, &mut state, &plan, report).await
}

/// Reports what [`restore`] would do. Changes nothing, not even the state file, and needs no privileges.
///
/// # Errors
/// If [`restore`] would refuse the request.
pub async fn dry_run(host: &Host, vips: &[IpAddr], place: &Place, report: Report<'_>) -> Result<(), Failure> {
    let Some(remembered) = place.peek()? else {
        report(nothing(place));
        return Ok(());
    };
    let plan = prepare(host, vips, &remembered, place).await?;
    run(&plan, &mut DryRun, report).await.map_err(|stopped| stopped.error.into())
}

/// Undoes the changes for decapsulation, when no VIP needs it any more.
pub(super) async fn stop_unwrapping(host: &Host, place: &Place, report: Report<'_>) -> Result<(), Failure> {
    let mut state = place.open()?;
    let is_for_tunnels = |change: &&Change| match change {
        Change::Program { .. } | Change::Device { .. } | Change::Up { .. } => true,
        Change::Address { interface, .. } => Kind::of_device(interface).is_some(),
        Change::Sysctl { sysctl, .. } => Kind::of_device(&sysctl.interface).is_some(),
        Change::File { .. } | Change::Link { .. } | Change::Directory { .. } | Change::Rules(_) => false,
    };
    let changes: Vec<Change> = state.changes().iter().filter(is_for_tunnels).cloned().collect();
    let mut plan = Plan::default();
    plan::restore::undo(&mut plan, effects(host, &changes).await, &Sharers::besides(place));
    carry_out(host, &mut state, &plan, report).await
}

fn nothing(place: &Place) -> Done {
    let detail = format!("nothing is remembered in {}", place.path().display());
    Done::new("set-up", Outcome::Already, detail)
}

/// Reads everything that the plan depends on, and makes the plan.
async fn prepare(
    host: &Host,
    vips: &[IpAddr],
    remembered: &Remembered,
    place: &Place,
) -> Result<Plan, Failure> {
    let remaining = plan::restore::remaining(&remembered.vips, vips)?;
    let boot = plan::restore::boot_for(remembered, &remaining);
    let disk = boot.map_or_else(|| Ok(Disk::default()), |boot| boot.disk()).map_err(HostError::from)?;
    let recorded = effects(host, &remembered.changes).await;
    plan::restore::plan(remembered, remaining, recorded, &Sharers::besides(place), disk)
}

async fn carry_out(
    host: &Host,
    state: &mut StateFile,
    plan: &Plan,
    report: Report<'_>,
) -> Result<(), Failure> {
    run(plan, &mut Apply { host, state }, report).await.map_err(|Stopped { step, error }| {
        let failure = Failure::from(error);
        if step.is_some_and(|step| step.is_undoing()) {
            return Failure {
                message: format!("not everything was put back: {}", failure.message),
                ..failure
            };
        }
        failure
    })
}
