// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unwrapping tunnelled packets: an ipip device where the kernel has them, else our XDP program.

use std::path::Path;

use super::{
    Done, Host, HostError, Outcome, Report,
    check::Finding,
    state::{Change, StateFile},
    target::Target,
};
use crate::{
    dataplane::{self, decap::DecapError},
    netlink::{Added, Interface, NetlinkError},
};

/// The ipip device that set-up makes.
pub const DEVICE: &str = "xvs-ipip";

/// The one that the kernel makes by itself when its ipip module is loaded; in use where LVS was set up by hand.
const KERNELS_DEVICE: &str = "tunl0";

/// How tunnelled packets are to be unwrapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Choice {
    /// What is there already, else an ipip device, else the XDP program
    Auto,
    /// An ipip device of the kernel
    Ipip,
    /// The XDP program of xvs, on the interface
    Xdp,
}

/// How tunnelled packets are unwrapped on this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decapsulation {
    /// By this ipip device: inner packets arrive on it.
    Device(String),
    /// By the XDP program: inner packets arrive on the interface.
    Program,
}

/// Attaches and detaches the XDP decapsulator; the functions of [`dataplane::decap`], but for tests.
pub trait XdpDecap: Send + Sync {
    /// See [`dataplane::decap::attach`].
    fn attach(&self, interface: &str, bpffs: &Path) -> Result<bool, DecapError>;
    /// See [`dataplane::decap::detach`].
    fn detach(&self, interface: &str, bpffs: &Path) -> Result<bool, DecapError>;
    /// See [`dataplane::decap::is_attached`].
    fn is_attached(&self, interface: &str, bpffs: &Path) -> Result<bool, DecapError>;
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub struct DataPlane;

impl XdpDecap for DataPlane {
    fn attach(&self, interface: &str, bpffs: &Path) -> Result<bool, DecapError> {
        dataplane::decap::attach(interface, bpffs)
    }

    fn detach(&self, interface: &str, bpffs: &Path) -> Result<bool, DecapError> {
        dataplane::decap::detach(interface, bpffs)
    }

    fn is_attached(&self, interface: &str, bpffs: &Path) -> Result<bool, DecapError> {
        dataplane::decap::is_attached(interface, bpffs)
    }
}

/// What unwraps packets now, of what `target` allows.
pub async fn find(host: &Host, target: &Target) -> Result<Option<Decapsulation>, HostError> {
    if target.decap != Choice::Ipip && host.xdp.is_attached(&target.interface.name, &target.bpffs)? {
        return Ok(Some(Decapsulation::Program));
    }
    if target.decap != Choice::Xdp {
        let interfaces = host.netlink.interfaces().await?;
        for name in [DEVICE, KERNELS_DEVICE] {
            if interfaces.iter().any(|interface| is_working_device(interface, name)) {
                return Ok(Some(Decapsulation::Device(name.to_owned())));
            }
        }
    }
    Ok(None)
}

fn is_working_device(interface: &Interface, name: &str) -> bool {
    interface.name == name && interface.kind.as_deref() == Some("ipip") && interface.up
}

/// What [`find`] found, for the operator.
#[must_use]
pub fn finding(target: &Target, found: Option<&Decapsulation>) -> Finding {
    let expected = match target.decap {
        Choice::Auto => "an ipip device, or the XDP program",
        Choice::Ipip => "an ipip device",
        Choice::Xdp => "the XDP program",
    };
    let described = match found {
        Some(Decapsulation::Device(name)) => format!("the ipip device {name}"),
        Some(Decapsulation::Program) => format!("the XDP program on {}", target.interface.name),
        None => "nothing".to_owned(),
    };
    Finding {
        item: "decapsulation".to_owned(),
        expected: expected.to_owned(),
        found: described,
        ok: found.is_some(),
        why: "tunnelled packets must be unwrapped before a service can see them".to_owned(),
    }
}

/// Makes something unwrap packets, if nothing does.
pub async fn ensure(
    host: &Host,
    target: &Target,
    state: &mut StateFile,
    report: Report<'_>,
) -> Result<Decapsulation, HostError> {
    if let Some(found) = find(host, target).await? {
        report(Done::new("decapsulation", Outcome::Already, finding(target, Some(&found)).found));
        return Ok(found);
    }
    if target.decap != Choice::Xdp {
        match make_device(host, state).await {
            Ok(()) => {
                report(Done::new("decapsulation", Outcome::Changed, format!("by the ipip device {DEVICE}")));
                return Ok(Decapsulation::Device(DEVICE.to_owned()));
            }
            Err(HostError::Netlink(error)) if target.decap == Choice::Auto && another_way(&error) => {
                report(Done::new("ipip device", Outcome::Skipped, format!("{error}: using the XDP program")));
            }
            Err(error) => return Err(error),
        }
    }
    let interface = target.interface.name.clone();
    let change = Change::Program { interface: interface.clone(), bpffs: target.bpffs.clone() };
    let new = state.record(change.clone())?;
    if let Err(error) = host.xdp.attach(&interface, &target.bpffs) {
        if new {
            state.forget(&change)?;
        }
        return Err(error.into());
    }
    report(Done::new("decapsulation", Outcome::Changed, format!("by the XDP program on {interface}")));
    Ok(Decapsulation::Program)
}

/// Whether the XDP program can do what the kernel refused.
const fn another_way(error: &NetlinkError) -> bool {
    matches!(error, NetlinkError::Unsupported { .. } | NetlinkError::Refused { .. })
}

async fn make_device(host: &Host, state: &mut StateFile) -> Result<(), HostError> {
    let change = Change::Device { name: DEVICE.to_owned() };
    let there = host.netlink.interface(DEVICE).await.is_ok();
    let new = !there && state.record(change.clone())?;
    match host.netlink.add_ipip(DEVICE).await {
        Ok(Added::Now | Added::AlreadyThere) => {}
        Err(error) => {
            if new {
                state.forget(&change)?;
            }
            return Err(error.into());
        }
    }
    let device = host.netlink.interface(DEVICE).await?;
    if there {
        state.record(Change::Up { interface: DEVICE.to_owned() })?;
    }
    host.netlink.set_up(&device, true).await?;
    Ok(())
}

/// Detaches the program that [`ensure`] attached.
pub(super) fn detach(host: &Host, interface: &str, bpffs: &Path) -> Result<Done, HostError> {
    let detail = if host.xdp.detach(interface, bpffs)? { "detached" } else { "was gone already" };
    Ok(Done::new(format!("XDP decapsulator on {interface}"), Outcome::Restored, detail))
}

/// Deletes the device that [`ensure`] made.
pub(super) async fn delete(host: &Host, name: &str) -> Result<Done, HostError> {
    let detail = if host.netlink.delete_interface(name).await? { "deleted" } else { "was gone already" };
    Ok(Done::new(format!("ipip device {name}"), Outcome::Restored, detail))
}

/// Sets an interface down that [`ensure`] found down.
pub(super) async fn set_down(host: &Host, interface: &str) -> Result<Done, HostError> {
    let detail = match host.netlink.interface(interface).await {
        Ok(device) => host.netlink.set_up(&device, false).await.map(|()| "set down")?,
        Err(NetlinkError::NoSuchInterface(_)) => "is gone",
        Err(error) => return Err(error.into()),
    };
    Ok(Done::new(interface, Outcome::Restored, detail))
}
