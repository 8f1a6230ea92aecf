// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decapsulation of tunnelled packets: by devices of the kernel if it has them, otherwise by the XDP program
//! of xvs.

use std::{collections::BTreeSet, fmt, net::IpAddr, path::Path};

use super::{
    Done, Host, HostError, Outcome, Report,
    check::Finding,
    encapsulation::{Encapsulation, Kind},
    restore::undo,
    state::{Change, StateFile},
    target::Target,
};
use crate::{
    dataplane::{self, decap::DecapError},
    netlink::{Added, Interface, NetlinkError, TunnelDevice},
};

/// How tunnelled packets are to be unwrapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Choice {
    /// What is there already, else devices of the kernel, else the XDP program
    Auto,
    /// Devices of the kernel: ipip, ip6tnl, sit
    #[value(alias = "ipip")]
    Device,
    /// The XDP program of xvs, on the interface
    Xdp,
}

/// Way of decapsulation on this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decapsulation {
    /// By devices of the kernel: inner packets arrive on them.
    Devices(Vec<Device>),
    /// By the XDP program: inner packets arrive on the interface.
    Program,
}

/// A device of the kernel and its purpose.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// Name of the device.
    pub name: String,
    /// Encapsulation that the device removes.
    pub encapsulation: Encapsulation,
}

impl Device {
    /// Returns the device that set-up creates.
    #[must_use]
    pub fn ours(encapsulation: Encapsulation) -> Self {
        Self { name: encapsulation.kind().device().to_owned(), encapsulation }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} device {} ({})", self.encapsulation.kind().as_str(), self.name, self.encapsulation)
    }
}

/// Returns whether set-up creates a device of that name.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    Kind::ALL.iter().any(|kind| kind.device() == name)
}

/// Attaches and detaches the XDP decapsulator: the functions of [`dataplane::decap`], which tests replace.
pub trait XdpDecap: Send + Sync {
    /// Attaches the decapsulator as [`dataplane::decap::attach`] does.
    fn attach(&self, interface: &str, bpffs: &Path, from: &BTreeSet<IpAddr>) -> Result<bool, DecapError>;
    /// Detaches the decapsulator as [`dataplane::decap::detach`] does.
    fn detach(&self, interface: &str, bpffs: &Path) -> Result<bool, DecapError>;
    /// Returns whether the decapsulator is attached, as [`dataplane::decap::is_attached`] does.
    fn is_attached(&self, interface: &str, bpffs: &Path, from: &BTreeSet<IpAddr>)
    -> Result<bool, DecapError>;
}

/// The implementation outside of tests.
#[derive(Clone, Copy, Debug)]
pub struct DataPlane;

impl XdpDecap for DataPlane {
    fn attach(&self, interface: &str, bpffs: &Path, from: &BTreeSet<IpAddr>) -> Result<bool, DecapError> {
        dataplane::decap::attach(interface, bpffs, from)
    }

    fn detach(&self, interface: &str, bpffs: &Path) -> Result<bool, DecapError> {
        dataplane::decap::detach(interface, bpffs)
    }

    fn is_attached(
        &self,
        interface: &str,
        bpffs: &Path,
        from: &BTreeSet<IpAddr>,
    ) -> Result<bool, DecapError> {
        dataplane::decap::is_attached(interface, bpffs, from)
    }
}

/// Result of a search for decapsulation.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Existing decapsulation, which may be incomplete.
    pub decapsulation: Option<Decapsulation>,
    /// Encapsulations that nothing removes.
    pub missing: Vec<Encapsulation>,
}

/// Finds the existing decapsulation, among the ways that `target` allows.
pub async fn find(host: &Host, target: &Target) -> Result<Found, HostError> {
    if target.decap != Choice::Device
        && host.xdp.is_attached(&target.interface.name, &target.bpffs, &target.from)?
    {
        return Ok(Found { decapsulation: Some(Decapsulation::Program), missing: Vec::new() });
    }
    let (mut devices, mut missing) = (Vec::new(), Vec::new());
    let interfaces = if target.decap == Choice::Xdp { Vec::new() } else { host.netlink.interfaces().await? };
    for encapsulation in target.encapsulations() {
        let kind = encapsulation.kind();
        let kernels = encapsulation.has_kernels_device().then(|| kind.kernels_device());
        let names = std::iter::once(kind.device()).chain(kernels);
        let working = |name: &&str| interfaces.iter().any(|one| is_working_device(one, kind, name));
        match names.into_iter().find(working) {
            Some(name) => devices.push(Device { name: name.to_owned(), encapsulation }),
            None => missing.push(encapsulation),
        }
    }
    let decapsulation = (!devices.is_empty()).then_some(Decapsulation::Devices(devices));
    Ok(Found { decapsulation, missing })
}

fn is_working_device(interface: &Interface, kind: Kind, name: &str) -> bool {
    interface.name == name && interface.kind.as_deref() == Some(kind.as_str()) && interface.up
}

/// Describes the result of [`find`] for the operator.
#[must_use]
pub fn finding(target: &Target, found: &Found) -> Finding {
    let kinds: BTreeSet<&str> = target.encapsulations().into_iter().map(|one| one.kind().as_str()).collect();
    let devices = format!("a device of kind {}", Vec::from_iter(kinds).join(" and one of kind "));
    let expected = match target.decap {
        Choice::Auto => format!("{devices}, or the XDP program"),
        Choice::Device => devices,
        Choice::Xdp => "the XDP program".to_owned(),
    };
    let mut parts: Vec<String> = match &found.decapsulation {
        Some(Decapsulation::Devices(devices)) => devices.iter().map(Device::to_string).collect(),
        Some(Decapsulation::Program) => vec![format!("the XDP program on {}", target.interface.name)],
        None => Vec::new(),
    };
    parts.extend(found.missing.iter().map(|missing| format!("nothing for {missing}")));
    Finding {
        item: "decapsulation".to_owned(),
        expected,
        found: parts.join(", "),
        ok: found.missing.is_empty(),
        why: "tunnelled packets must be unwrapped before a service can see them".to_owned(),
    }
}

/// Sets up the missing decapsulation.
pub async fn ensure(
    host: &Host,
    target: &Target,
    state: &mut StateFile,
    report: Report<'_>,
) -> Result<Decapsulation, HostError> {
    let found = find(host, target).await?;
    if found.missing.is_empty()
        && let Some(decapsulation) = &found.decapsulation
    {
        report(Done::new("decapsulation", Outcome::Already, finding(target, &found).found));
        return Ok(decapsulation.clone());
    }
    if target.decap != Choice::Xdp {
        let known = state.changes().to_vec();
        match make_devices(host, target, found, state, report).await {
            Ok(devices) => return Ok(Decapsulation::Devices(devices)),
            Err(HostError::Netlink(error)) if target.decap == Choice::Auto && another_way(&error) => {
                // The program removes every encapsulation: the new devices are not needed beside it.
                let new = state.changes().iter().filter(|change| !known.contains(change)).cloned().collect();
                undo(host, state, new, &mut |_| ()).await?;
                let detail = format!("{error}: using the XDP program");
                report(Done::new("devices of the kernel", Outcome::Skipped, detail));
            }
            Err(error) => return Err(error),
        }
    }
    let interface = target.interface.name.clone();
    let change = Change::Program { interface: interface.clone(), bpffs: target.bpffs.clone() };
    let new = state.record(change.clone())?;
    if let Err(error) = host.xdp.attach(&interface, &target.bpffs, &target.from) {
        if new {
            state.forget(&change)?;
        }
        return Err(error.into());
    }
    report(Done::new("decapsulation", Outcome::Changed, format!("by the XDP program on {interface}")));
    Ok(Decapsulation::Program)
}

/// Returns whether the XDP program can replace a device that the kernel refused.
const fn another_way(error: &NetlinkError) -> bool {
    matches!(error, NetlinkError::Unsupported { .. } | NetlinkError::Refused { .. })
}

/// Creates the missing devices, and reports them when all exist.
async fn make_devices(
    host: &Host,
    target: &Target,
    found: Found,
    state: &mut StateFile,
    report: Report<'_>,
) -> Result<Vec<Device>, HostError> {
    let mut devices = match found.decapsulation {
        Some(Decapsulation::Devices(devices)) => devices,
        Some(Decapsulation::Program) | None => Vec::new(),
    };
    let there = devices.len();
    for encapsulation in found.missing {
        make_device(host, target, encapsulation.kind(), state).await?;
        devices.push(Device::ours(encapsulation));
    }
    for (n, device) in devices.iter().enumerate() {
        let (outcome, by) = if n < there { (Outcome::Already, "") } else { (Outcome::Changed, "by ") };
        report(Done::new("decapsulation", outcome, format!("{by}{device}")));
    }
    Ok(devices)
}

async fn make_device(
    host: &Host,
    target: &Target,
    kind: Kind,
    state: &mut StateFile,
) -> Result<(), HostError> {
    let name = kind.device();
    let change = Change::Device { name: name.to_owned() };
    let there = host.netlink.interface(name).await.is_ok();
    let new = !there && state.record(change.clone())?;
    let device = match kind {
        Kind::Ipip => TunnelDevice::Ipip,
        Kind::Ip6tnl => TunnelDevice::Ip6tnl,
        Kind::Sit => TunnelDevice::Sit(target.rip4),
    };
    match host.netlink.add_tunnel(name, device).await {
        Ok(Added::Now | Added::AlreadyThere) => {}
        Err(error) => {
            if new {
                state.forget(&change)?;
            }
            return Err(error.into());
        }
    }
    let device = host.netlink.interface(name).await?;
    if !device.up {
        if there {
            state.record(Change::Up { interface: name.to_owned() })?;
        }
        host.netlink.set_up(&device, true).await?;
    }
    Ok(())
}

/// Detaches the program that [`ensure`] attached.
pub(super) fn detach(host: &Host, interface: &str, bpffs: &Path) -> Result<Done, HostError> {
    let detail = if host.xdp.detach(interface, bpffs)? { "detached" } else { "was gone already" };
    Ok(Done::new(format!("XDP decapsulator on {interface}"), Outcome::Restored, detail))
}

/// Deletes a device that [`ensure`] created.
pub(super) async fn delete(host: &Host, name: &str) -> Result<Done, HostError> {
    let detail = if host.netlink.delete_interface(name).await? { "deleted" } else { "was gone already" };
    Ok(Done::new(format!("tunnel device {name}"), Outcome::Restored, detail))
}

/// Sets an interface down that was down before [`ensure`].
pub(super) async fn set_down(host: &Host, interface: &str) -> Result<Done, HostError> {
    let detail = match host.netlink.interface(interface).await {
        Ok(device) => host.netlink.set_up(&device, false).await.map(|()| "set down")?,
        Err(NetlinkError::NoSuchInterface(_)) => "is gone",
        Err(error) => return Err(error.into()),
    };
    Ok(Done::new(interface, Outcome::Restored, detail))
}
