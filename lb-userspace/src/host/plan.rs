// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--dry-run` of setup and restore. Changes nothing, not even the state file, and needs no privileges.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use super::{
    Done, Host, HostError, Outcome, Report,
    boot::Boot,
    check::{self, Finding},
    decap::{self, Choice, Decapsulation, Device, Found},
    encapsulation::Encapsulation,
    requirement::requirements,
    restore::{describe, remaining, undone_with},
    setup::nothing_in_the_way,
    state::{Change, Remembered, StateFile, heir},
    target::{Method, Target},
};
use crate::{failure::Failure, netlink::NetlinkError};

/// Reports what [`super::setup::setup`] would do.
pub async fn setup(
    host: &Host,
    target: &Target,
    state: &Path,
    etc: Option<&Path>,
    report: Report<'_>,
) -> Result<(), Failure> {
    nothing_in_the_way(host, target).await?;
    let remembered = StateFile::peek(state)?;
    let mut decapsulation = None;
    if target.method == Method::Tun {
        let found = decap::find(host, target).await?;
        if found.missing.is_empty() {
            report(Done::new("decapsulation", Outcome::Already, decap::finding(target, &found).found));
            decapsulation = found.decapsulation;
        } else {
            decapsulation = Some(would_decapsulate(target, found, report));
        }
    }
    let (earlier, mut changes) =
        remembered.map_or((None, Vec::new()), |remembered| (remembered.boot, remembered.changes));
    let requirements = requirements(target, decapsulation.as_ref());
    for requirement in &requirements {
        let standing = match requirement.look(host).await {
            // Only a missing device, which setup would create, is not an error.
            Err(HostError::Sysctl(error)) if !error.is_gone() => return Err(error.into()),
            Err(HostError::Netlink(error)) if !matches!(error, NetlinkError::NoSuchInterface(_)) => {
                return Err(error.into());
            }
            standing => standing,
        };
        match (requirement.would(&standing), standing) {
            (Some((item, detail)), _) => {
                changes.extend(requirement.setting().map(|(sysctl, value)| Change::Sysctl {
                    sysctl: sysctl.clone(),
                    before: sysctl.read().unwrap_or(value),
                }));
                report(Done::new(item, Outcome::Planned, detail));
            }
            (None, Ok(standing)) => {
                report(Done::new(standing.finding.item, Outcome::Already, standing.finding.found));
            }
            (None, Err(error)) => return Err(error.into()),
        }
    }
    for Finding { item, found, .. } in check::mtu(target) {
        report(Done::new(item, Outcome::Already, found));
    }
    if let Some(etc) = etc {
        let mut boot = Boot::below(etc, earlier.as_ref()).map_err(HostError::from)?;
        boot.add(target, &requirements, &changes, state)?;
        boot.would(report).map_err(HostError::from)?;
    }
    Ok(())
}

fn would_decapsulate(target: &Target, found: Found, report: Report<'_>) -> Decapsulation {
    let seems_to_be_there = |one: &Encapsulation| one.kind().seems_to_be_there();
    let by_devices = match target.decap {
        Choice::Device => true,
        Choice::Auto => found.missing.iter().all(seems_to_be_there),
        Choice::Xdp => false,
    };
    if !by_devices {
        let detail = format!("attach the XDP program to {}", target.interface.name);
        report(Done::new("decapsulation", Outcome::Planned, detail));
        return Decapsulation::Program;
    }
    let mut devices = match found.decapsulation {
        Some(Decapsulation::Devices(devices)) => devices,
        Some(Decapsulation::Program) | None => Vec::new(),
    };
    for device in found.missing.into_iter().map(Device::ours) {
        report(Done::new("decapsulation", Outcome::Planned, format!("make {device}")));
        devices.push(device);
    }
    Decapsulation::Devices(devices)
}

/// Reports what [`super::restore::restore`] would do.
pub fn restore(vips: &[IpAddr], state: &Path, report: Report<'_>) -> Result<(), Failure> {
    let Some(Remembered { vips: known, changes, boot }) = StateFile::peek(state)? else {
        let detail = format!("nothing is remembered in {}", state.display());
        report(Done::new("set-up", Outcome::Already, detail));
        return Ok(());
    };
    let remaining: BTreeSet<IpAddr> = remaining(&known, vips)?;
    for change in changes.iter().rev().filter(|change| undone_with(change, &remaining)) {
        let (outcome, detail) = match heir(state, change) {
            Some(heir) => {
                (Outcome::Already, format!("stays: it is needed by what {} is about", heir.display()))
            }
            None => (Outcome::Planned, would(change)),
        };
        report(Done::new(describe(change), outcome, detail));
    }
    if let Some(mut boot) = boot.filter(|_| !remaining.is_empty()) {
        boot.commands.retain(|vip, _| remaining.contains(vip));
        if !boot.commands.is_empty() {
            boot.would(report).map_err(HostError::from)?;
        }
    }
    Ok(())
}

fn would(change: &Change) -> String {
    match change {
        Change::Sysctl { before, .. } => format!("set back to {before}"),
        Change::Up { .. } => "set down".to_owned(),
        Change::Program { .. } => "detach".to_owned(),
        Change::File { before: Some(_), .. } => "put back as it was".to_owned(),
        Change::Address { .. }
        | Change::Device { .. }
        | Change::File { .. }
        | Change::Link { .. }
        | Change::Rules { .. }
        | Change::Directory { .. } => "remove".to_owned(),
    }
}
