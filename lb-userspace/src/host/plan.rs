// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--dry-run`: what setup and restore would do. Changes nothing, not even the state file, and needs no privileges.

use std::{collections::BTreeSet, fs, net::IpAddr, path::Path};

use super::{
    Done, Host, HostError, Outcome, Report,
    boot::Boot,
    decap::{self, Choice, Decapsulation},
    requirement::requirements,
    restore::{describe, remaining, undone_with},
    setup::nothing_in_the_way,
    state::{Change, Remembered, StateFile},
    target::{Method, Target},
};
use crate::{failure::Failure, netlink::NetlinkError};

/// Says what [`super::setup::setup`] would do.
pub async fn setup(
    host: &Host,
    target: &Target,
    etc: Option<&Path>,
    report: Report<'_>,
) -> Result<(), Failure> {
    nothing_in_the_way(host, target).await?;
    let mut decapsulation = None;
    if target.method == Method::Tun {
        decapsulation = decap::find(host, target).await?;
        match &decapsulation {
            Some(_) => {
                let found = decap::finding(target, decapsulation.as_ref()).found;
                report(Done::new("decapsulation", Outcome::Already, found));
            }
            None => decapsulation = Some(would_decapsulate(target, report)),
        }
    }
    let requirements = requirements(target, decapsulation.as_ref());
    for requirement in &requirements {
        let standing = match requirement.look(host).await {
            // Of a device that is not made yet.
            Err(HostError::Sysctl(error)) if !error.is_gone() => return Err(error.into()),
            Err(HostError::Netlink(error)) if !matches!(error, NetlinkError::NoSuchInterface(_)) => {
                return Err(error.into());
            }
            standing => standing,
        };
        match (requirement.would(&standing), standing) {
            (Some((item, detail)), _) => report(Done::new(item, Outcome::Planned, detail)),
            (None, Ok(standing)) => {
                report(Done::new(standing.finding.item, Outcome::Already, standing.finding.found));
            }
            (None, Err(error)) => return Err(error.into()),
        }
    }
    if let Some(etc) = etc {
        for (item, detail) in Boot::new(etc.to_owned()).would() {
            report(Done::new(item, Outcome::Planned, detail));
        }
    }
    Ok(())
}

fn would_decapsulate(target: &Target, report: Report<'_>) -> Decapsulation {
    let program = Decapsulation::Program;
    let device = Decapsulation::Device(decap::DEVICE.to_owned());
    let chosen = match target.decap {
        Choice::Ipip => device,
        Choice::Auto if kernel_seems_to_have_ipip() => device,
        Choice::Auto | Choice::Xdp => program,
    };
    let detail = match &chosen {
        Decapsulation::Device(name) => format!("make the ipip device {name}"),
        Decapsulation::Program => format!("attach the XDP program to {}", target.interface.name),
    };
    report(Done::new("decapsulation", Outcome::Planned, detail));
    chosen
}

/// As far as can be known without trying, which would load a module.
fn kernel_seems_to_have_ipip() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = Path::new("/lib/modules").join(release.trim());
    Path::new("/sys/module/ipip").exists()
        || ["modules.dep", "modules.builtin"].iter().any(|list| {
            fs::read_to_string(modules.join(list)).is_ok_and(|list| list.contains("/net/ipv4/ipip.ko"))
        })
}

/// Says what [`super::restore::restore`] would do.
pub fn restore(vips: &[IpAddr], state: &Path, report: Report<'_>) -> Result<(), Failure> {
    let Some(Remembered { vips: known, changes }) = StateFile::peek(state)? else {
        let detail = format!("nothing is remembered in {}", state.display());
        report(Done::new("set-up", Outcome::Already, detail));
        return Ok(());
    };
    let remaining: BTreeSet<IpAddr> = remaining(&known, vips)?;
    for change in changes.iter().rev().filter(|change| undone_with(change, &remaining)) {
        report(Done::new(describe(change), Outcome::Planned, would(change)));
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
