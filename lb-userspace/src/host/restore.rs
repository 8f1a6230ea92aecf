// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host restore`: undoes the changes of set-up.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use super::{
    Done, Host, HostError, Outcome, Report, boot, can_configure_the_network, decap, open,
    state::{Change, StateError, StateFile},
    sysctl::Sysctl,
    vip,
};
use crate::failure::Failure;

/// Undoes all changes, or, if `vips` names some VIPs and others remain, only the addresses of those. Changes
/// that another set-up of this host needs stay, and are undone with that one.
///
/// Changes that were undone from outside are skipped. Without recorded changes there is nothing to do.
///
/// # Errors
/// Fails if a change cannot be undone. The others are undone nevertheless; failed ones stay in the state file
/// for another attempt.
pub async fn restore(host: &Host, vips: &[IpAddr], state: &Path, report: Report<'_>) -> Result<(), Failure> {
    if !StateFile::exists(state) {
        let detail = format!("nothing is remembered in {}", state.display());
        report(Done::new("set-up", Outcome::Already, detail));
        return Ok(());
    }
    can_configure_the_network()?;
    let mut state = StateFile::open(state)?;
    let remaining = remaining(state.vips(), vips)?;
    let changes = state.changes().iter().filter(|change| undone_with(change, &remaining)).cloned().collect();
    let boot = state.boot().cloned().and_then(|mut boot| {
        boot.commands.retain(|vip, _| remaining.contains(vip));
        (!boot.commands.is_empty()).then_some(boot)
    });
    // The boot files change before the address is removed: the next start must not add it again.
    if let Some(boot) = boot.as_ref().filter(|boot| state.boot() != Some(boot)) {
        boot.write(&mut state, report)?;
    }
    let changes = leave(&mut state, changes, report)?;
    undo(host, &mut state, changes, report).await.map_err(|error| {
        let failure = Failure::from(error);
        Failure { message: format!("not everything was put back: {}", failure.message), ..failure }
    })?;
    Ok(state.set(remaining, boot)?)
}

/// Undoes the changes for decapsulation, when no VIP needs it any more.
pub(super) async fn stop_unwrapping(host: &Host, state: &Path, report: Report<'_>) -> Result<(), Failure> {
    let mut state = StateFile::open(state)?;
    let is_for_tunnels = |change: &&Change| match change {
        Change::Program { .. } | Change::Device { .. } | Change::Up { .. } => true,
        Change::Address { interface, .. } => decap::is_ours(interface),
        Change::Sysctl { sysctl, .. } => decap::is_ours(&sysctl.interface),
        Change::File { .. } | Change::Link { .. } | Change::Directory { .. } | Change::Rules { .. } => false,
    };
    let changes = state.changes().iter().filter(is_for_tunnels).cloned().collect();
    let changes = leave(&mut state, changes, report)?;
    Ok(undo(host, &mut state, changes, report).await?)
}

/// Returns whether a change must be undone when only the VIPs `remaining` stay.
pub(super) fn undone_with(change: &Change, remaining: &BTreeSet<IpAddr>) -> bool {
    match change {
        Change::Address { address, .. } => !remaining.contains(&address.addr()),
        _ => remaining.is_empty(),
    }
}

/// Returns the VIPs of `known` that remain without `vips`; if `vips` is empty, none remain.
pub(super) fn remaining(known: &BTreeSet<IpAddr>, vips: &[IpAddr]) -> Result<BTreeSet<IpAddr>, Failure> {
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

/// Hands those of `changes` that another set-up of this host needs over to it, and returns the others.
fn leave(state: &mut StateFile, changes: Vec<Change>, report: Report<'_>) -> Result<Vec<Change>, StateError> {
    let mut own = Vec::new();
    for change in changes {
        match state.leave(&change)? {
            Some(heir) => {
                let detail = format!("stays: it is needed by what {} is about", heir.display());
                report(Done::new(describe(&change), Outcome::Already, detail));
            }
            None => own.push(change),
        }
    }
    Ok(own)
}

/// Undoes `changes` in reverse order, and removes each from the state file. Continues after an error and
/// returns the first one.
pub(super) async fn undo(
    host: &Host,
    state: &mut StateFile,
    changes: Vec<Change>,
    report: Report<'_>,
) -> Result<(), HostError> {
    let mut first = Ok(());
    for change in changes.into_iter().rev() {
        let undone = undo_one(host, &change).await;
        match undone.and_then(|done| state.forget(&change).map(|()| done).map_err(HostError::from)) {
            Ok(done) => report(done),
            Err(error) => {
                report(Done::new(describe(&change), Outcome::Skipped, error.to_string()));
                first = first.and(Err(error));
            }
        }
    }
    first
}

pub(super) async fn undo_one(host: &Host, change: &Change) -> Result<Done, HostError> {
    match change {
        Change::Sysctl { sysctl, before } => reset(sysctl, *before),
        Change::Address { address, interface } => vip::remove(host, *address, interface).await,
        Change::Device { name } => decap::delete(host, name).await,
        Change::Up { interface } => decap::set_down(host, interface).await,
        Change::Program { interface, bpffs } => decap::detach(host, interface, bpffs),
        Change::Rules { family, table, chain } => open::close(family, table, chain).await,
        Change::File { path, before } => boot::put_back(path, before.as_deref()),
        Change::Link { path } => boot::unlink(path),
        Change::Directory { path } => boot::remove_directory(path),
    }
}

fn reset(sysctl: &Sysctl, before: i32) -> Result<Done, HostError> {
    let detail = match sysctl.write(before) {
        Ok(()) => before.to_string(),
        Err(error) if error.is_gone() => "is gone, with its interface".to_owned(),
        Err(error) => return Err(error.into()),
    };
    Ok(Done::new(sysctl.to_string(), Outcome::Restored, detail))
}

pub(super) fn describe(change: &Change) -> String {
    match change {
        Change::Sysctl { sysctl, .. } => sysctl.to_string(),
        Change::Address { address, interface } => format!("{address} on {interface}"),
        Change::Device { name } => format!("tunnel device {name}"),
        Change::Up { interface } => interface.clone(),
        Change::Rules { family, table, chain } => format!("rules in {family} {table} {chain}"),
        Change::Program { interface, .. } => format!("XDP decapsulator on {interface}"),
        Change::File { path, .. } | Change::Link { path } | Change::Directory { path } => {
            path.display().to_string()
        }
    }
}
