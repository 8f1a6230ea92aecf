// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host setup`: fulfils all requirements, or leaves the host unchanged.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use super::{
    Done, Host, HostError, Outcome, Report, arp,
    boot::Boot,
    can_configure_the_network, check, decap,
    requirement::requirements,
    restore::{undo, undo_one},
    state::{Change, StateFile},
    target::{Method, Target},
    vip::Placement,
};
use crate::failure::Failure;

/// Sets this host up for `target`, and records the previous state in the file `state`.
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
    state: &Path,
    etc: Option<&Path>,
    report: Report<'_>,
) -> Result<(), Failure> {
    can_configure_the_network()?;
    nothing_in_the_way(host, target).await?;
    let mut state = StateFile::open(state)?;

    let before = (state.vips().clone(), state.changes().to_vec(), state.boot().cloned());
    match apply(host, target, &mut state, etc, report).await {
        Ok(()) => Ok(()),
        Err(error) => {
            let failure = Failure::from(error);
            Err(roll_back(host, &mut state, before, failure, report).await)
        }
    }
}

async fn apply(
    host: &Host,
    target: &Target,
    state: &mut StateFile,
    etc: Option<&Path>,
    report: Report<'_>,
) -> Result<(), HostError> {
    state.add_vips(&target.vips, target.method == Method::Tun)?;
    let mut decapsulation = None;
    if target.method == Method::Tun {
        decapsulation = Some(decap::ensure(host, target, state, report).await?);
    }
    let requirements = requirements(target, decapsulation.as_ref());
    for requirement in &requirements {
        let standing = requirement.look(host).await?;
        let check::Finding { item, found, .. } = standing.finding;
        if standing.settled {
            report(Done::new(item, Outcome::Already, found));
        } else {
            let detail = requirement.mend(host, state).await?;
            report(Done::new(item, Outcome::Changed, detail));
        }
    }
    for check::Finding { item, found, .. } in check::mtu(target) {
        report(Done::new(item, Outcome::Already, found));
    }
    for check::Finding { item, found, why, .. } in
        arp::findings(host, target).await?.into_iter().filter(|finding| !finding.ok)
    {
        report(Done::new(item, Outcome::Warning, format!("{found}: {why}")));
    }
    if let Some(etc) = etc {
        let mut boot = Boot::below(etc, state.boot())?;
        boot.add(target, &requirements, state.changes(), state.path())?;
        state.set(state.vips().clone(), Some(boot.clone()))?;
        boot.write(state, report)?;
    }
    Ok(())
}

/// Undoes the changes since `before`, and adds the result to the failure.
async fn roll_back(
    host: &Host,
    state: &mut StateFile,
    before: (BTreeSet<IpAddr>, Vec<Change>, Option<Boot>),
    failure: Failure,
    report: Report<'_>,
) -> Failure {
    let (vips, known, boot) = before;
    let new: Vec<_> = state.changes().iter().filter(|change| !known.contains(change)).cloned().collect();
    let mut stuck = undo(host, state, new, report).await.err();
    // Values that replaced those of an earlier set-up: the state file has only the values from before that.
    for change in state.take_replaced().iter().rev() {
        match undo_one(host, change).await {
            Ok(done) => report(done),
            Err(error) => drop(stuck.get_or_insert(error)),
        }
    }
    if let Err(error) = state.set(vips, boot) {
        stuck.get_or_insert(error.into());
    }
    match stuck {
        None => failure,
        Some(error) => Failure {
            message: format!(
                "{}; putting back what was changed before that failed too: {error}",
                failure.message
            ),
            ..failure.hint("see to the cause, then run `xvs host restore`")
        },
    }
}

/// Refuses a VIP in the wrong place: set-up adds addresses, but removes none that it did not add.
pub(super) async fn nothing_in_the_way(host: &Host, target: &Target) -> Result<(), Failure> {
    for vip in &target.vips {
        let placement = Placement::find(&host.netlink, *vip).await?;
        if let Placement::Answering { interface, net } | Placement::Swallowing { interface, net } = &placement
        {
            return Err(Failure::failed(format!("{vip} is in the wrong place: {placement}"))
                .hint(format!("`ip address delete {net} dev {interface}`, and see what put it there")));
        }
    }
    Ok(())
}
