// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host setup`: fulfils all requirements, or leaves the host unchanged.

use std::{collections::BTreeMap, path::Path};

use super::{
    Done, Host, HostError, Report,
    apply::Apply,
    boot::{Boot, Persist},
    can_configure_the_network,
    decap::{Choice, has_another_way},
    encapsulation::Kind,
    observed::Observed,
    plan::{self, DryRun, Plan, Step, Stopped, restore::Recorded, run, setup::AtBoot},
    state::{Change, Place, Remembered, Sharers, StateFile, Subject},
    target::Target,
};
use lb_model::failure::Failure;

/// Number of times that other processes may change something while a plan is carried out.
const OFTEN: u32 = 10;

/// Errors of the kernel when it was to create devices.
type Refused = BTreeMap<Kind, String>;

/// Sets this host up for `target`, and records the previous state in a state file.
///
/// Requirements that hold are left alone, so a second run changes nothing. Records of an earlier run stay.
///
/// # Errors
/// Fails before the first change if a check fails; if a later step fails, the changes of this call are undone.
///
/// With `etc`, files there repeat the set-up at the next start.
pub async fn setup(
    host: &Host,
    target: &Target,
    place: &Place,
    etc: Option<&Path>,
    report: Report<'_>,
) -> Result<(), Failure> {
    can_configure_the_network()?;
    // A request that is refused leaves nothing behind, not even the directory of the state file.
    let remembered = place.peek()?.unwrap_or_default();
    prepare(host, target, &remembered, place, etc, &Refused::new()).await?;
    let mut state = place.open()?;
    let (before, known) = (state.subject(), state.changes().to_vec());
    match apply(host, target, (&mut state, place), etc, report).await {
        Ok(()) => Ok(()),
        Err(failure) => Err(roll_back(host, &mut state, (before, &known), failure, report).await),
    }
}

/// Makes plans and carries them out until one is carried out completely.
async fn apply(
    host: &Host,
    target: &Target,
    (state, place): (&mut StateFile, &Place),
    etc: Option<&Path>,
    report: Report<'_>,
) -> Result<(), Failure> {
    let known = state.changes().to_vec();
    let (mut refused, mut overtaken) = (Refused::new(), 0);
    // Another plan repeats the lines about what needs no change.
    let mut said: Vec<Done> = Vec::new();
    let report: Report<'_> = &mut |done| {
        if !said.contains(&done) {
            said.push(done.clone());
            report(done);
        }
    };
    loop {
        let plan = prepare(host, target, &state.remembered(), place, etc, &refused).await?;
        let Err(Stopped { step, error }) = run(&plan, &mut Apply { host, state }, report).await else {
            return Ok(());
        };
        if let Some(kind) = refused_kind(target, step.as_ref(), &error) {
            // The XDP program removes every encapsulation: the new devices are not needed beside it.
            undo_since(host, state, &known, report).await?;
            refused.insert(kind, error.to_string());
        } else if matches!(error, HostError::Overtaken(_)) && overtaken < OFTEN {
            overtaken += 1;
        } else {
            return Err(error.into());
        }
    }
}

/// Reports what [`setup`] would do. Changes nothing, not even the state file, and needs no privileges.
///
/// # Errors
/// If [`setup`] would refuse the request.
pub async fn dry_run(
    host: &Host,
    target: &Target,
    place: &Place,
    etc: Option<&Path>,
    report: Report<'_>,
) -> Result<(), Failure> {
    let remembered = place.peek()?.unwrap_or_default();
    let plan = prepare(host, target, &remembered, place, etc, &Refused::new()).await?;
    run(&plan, &mut DryRun, report).await.map_err(|stopped| stopped.error.into())
}

/// Reads everything that the plan depends on, and makes the plan.
async fn prepare(
    host: &Host,
    target: &Target,
    remembered: &Remembered,
    place: &Place,
    etc: Option<&Path>,
    refused: &Refused,
) -> Result<Plan, Failure> {
    let observed = Observed { refused: refused.clone(), ..Observed::of(host, target).await? };
    let at_boot = etc.map(|etc| at_boot(etc, remembered, place)).transpose()?;
    plan::setup::plan(target, observed, remembered, at_boot)
}

fn at_boot(etc: &Path, remembered: &Remembered, place: &Place) -> Result<AtBoot, HostError> {
    let persist = Persist::now(etc, place.path())?;
    let boot = Boot::below(etc, remembered.boot.as_ref())?;
    let disk = boot.disk()?;
    Ok(AtBoot { persist, boot, disk })
}

/// Returns the kind of device that the kernel refused, if the XDP program can replace it.
fn refused_kind(target: &Target, step: Option<&Step>, error: &HostError) -> Option<Kind> {
    let name = match step? {
        Step::Device { device, .. } => &device.name,
        Step::Up { interface, .. } => interface,
        _ => return None,
    };
    let has_another_way = matches!(error, HostError::Netlink(error) if has_another_way(error));
    (target.decap == Choice::Auto && has_another_way).then(|| Kind::of_device(name)).flatten()
}

/// Undoes the changes that are recorded besides `known`.
async fn undo_since(
    host: &Host,
    state: &mut StateFile,
    known: &[Change],
    report: Report<'_>,
) -> Result<(), HostError> {
    let new = state.changes().iter().filter(|change| !known.contains(change)).cloned();
    let new = new.map(|change| Recorded { change, idle: None }).collect();
    let mut plan = Plan::default();
    plan::restore::undo(&mut plan, new, &Sharers::default());
    run(&plan, &mut Apply { host, state }, report).await.map_err(|stopped| stopped.error)
}

/// Undoes the changes since `before`, and adds the result to the failure.
async fn roll_back(
    host: &Host,
    state: &mut StateFile,
    (before, known): (Subject, &[Change]),
    failure: Failure,
    report: Report<'_>,
) -> Failure {
    let mut stuck = undo_since(host, state, known, report).await.err();
    // Values that replaced those of an earlier set-up: the state file has only the values from before that.
    let replaced = state.take_replaced();
    let undone = Apply { host, state }.undo_unrecorded(&replaced, report).await;
    if let Err(error) = undone {
        stuck.get_or_insert(error);
    }
    if let Err(error) = state.revert(before) {
        stuck.get_or_insert(error.into());
    }
    match stuck {
        None => failure,
        Some(error) => Failure {
            message: format!(
                "{}; putting back what was changed before that failed too: {error}",
                failure.message
            ),
            ..failure.hint("remove the cause, then run `xvs host restore`")
        },
    }
}
