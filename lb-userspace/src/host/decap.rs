// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decapsulation of tunnelled packets: by devices of the kernel if it has them, otherwise by the XDP program
//! of xvs.

use std::{collections::BTreeSet, fmt, net::IpAddr, path::Path};

use super::{
    Done, Host, HostError, Outcome,
    check::Finding,
    encapsulation::{Encapsulation, Kind, Support},
    observed::Observed,
    plan::{Plan, Step},
    target::Target,
};
use crate::{
    dataplane::{self, decap::DecapError},
    failure::Failure,
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

/// Attaches and detaches the XDP decapsulator: the functions of [`dataplane::decap`], which tests replace.
pub trait XdpDecap: Send + Sync {
    /// Attaches the decapsulator as [`dataplane::decap::attach`] does.
    fn attach(&self, interface: &str, bpffs: &Path, from: &BTreeSet<IpAddr>) -> Result<bool, DecapError>;
    /// Detaches the decapsulator as [`dataplane::decap::detach`] does.
    fn detach(&self, interface: &str, bpffs: &Path) -> Result<bool, DecapError>;
    /// Returns whether the decapsulator is attached, as [`dataplane::decap::is_attached`] does.
    fn is_attached(&self, interface: &str, bpffs: &Path, from: &BTreeSet<IpAddr>)
    -> Result<bool, DecapError>;
    /// Returns whether [`XdpDecap::detach`] has anything to detach, as [`dataplane::decap::is_pinned`] does.
    fn is_pinned(&self, interface: &str, bpffs: &Path) -> bool;
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

    fn is_pinned(&self, interface: &str, bpffs: &Path) -> bool {
        dataplane::decap::is_pinned(interface, bpffs)
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
#[must_use]
pub fn find(target: &Target, observed: &Observed) -> Found {
    if target.decap != Choice::Device && observed.has_program {
        return Found { decapsulation: Some(Decapsulation::Program), missing: Vec::new() };
    }
    let (mut devices, mut missing) = (Vec::new(), Vec::new());
    let interfaces = if target.decap == Choice::Xdp { &[][..] } else { &observed.interfaces };
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
    Found { decapsulation, missing }
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

/// Plans the missing decapsulation.
///
/// # Errors
/// If `target` allows devices only, and the kernel has none.
pub fn plan(target: &Target, observed: &mut Observed, plan: &mut Plan) -> Result<Decapsulation, Failure> {
    let found = find(target, observed);
    if found.missing.is_empty()
        && let Some(decapsulation) = &found.decapsulation
    {
        plan.note("decapsulation", Outcome::Already, finding(target, &found).found);
        return Ok(decapsulation.clone());
    }
    let interface = target.interface.name.clone();
    if target.decap != Choice::Xdp {
        match why_no_devices(observed, &found.missing) {
            None => return Ok(plan_devices(target, observed, found, plan)),
            Some(why) if target.decap == Choice::Auto => {
                plan.note("devices of the kernel", Outcome::Skipped, format!("{why}: using the XDP program"));
            }
            Some(why) => return Err(Failure::failed(why)),
        }
    }
    let step = Step::Program { interface, bpffs: target.bpffs.clone(), from: target.from.clone() };
    observed.expect(&step);
    plan.step(step);
    Ok(Decapsulation::Program)
}

/// Returns the reason why one of the missing devices cannot be created, if there is one.
fn why_no_devices(observed: &Observed, missing: &[Encapsulation]) -> Option<String> {
    missing.iter().map(|encapsulation| encapsulation.kind()).find_map(|kind| {
        if let Some(error) = observed.refused.get(&kind) {
            return Some(error.clone());
        }
        let (kind_name, name) = (kind.as_str(), kind.device());
        match observed.interface(name) {
            Some(other) if other.kind.as_deref() != Some(kind_name) => {
                Some(format!("the interface {name} is not of kind {kind_name}"))
            }
            Some(_) => None,
            None => (observed.support.get(&kind) == Some(&Support::Absent))
                .then(|| format!("this kernel cannot make the {kind_name} device {name}")),
        }
    })
}

/// Plans the missing devices.
fn plan_devices(target: &Target, observed: &mut Observed, found: Found, plan: &mut Plan) -> Decapsulation {
    let mut devices = match found.decapsulation {
        Some(Decapsulation::Devices(devices)) => devices,
        Some(Decapsulation::Program) | None => Vec::new(),
    };
    let present = devices.clone();
    for device in found.missing.into_iter().map(Device::ours) {
        let kind = device.encapsulation.kind();
        let is_new = observed.interface(&device.name).is_none();
        let is_uncertain =
            target.decap == Choice::Auto && observed.support.get(&kind) != Some(&Support::Present);
        let make = is_new.then(|| Step::Device {
            device: device.clone(),
            kind: match kind {
                Kind::Ipip => TunnelDevice::Ipip,
                Kind::Ip6tnl => TunnelDevice::Ip6tnl,
                Kind::Sit => TunnelDevice::Sit(target.rip4),
            },
            otherwise: is_uncertain.then(|| format!("attach the XDP program to {}", target.interface.name)),
        });
        let is_down = observed.interface(&device.name).is_none_or(|found| !found.up);
        let up = is_down.then(|| Step::Up { interface: device.name.clone(), is_new });
        let steps: Vec<Step> = make.into_iter().chain(up).collect();
        if steps.is_empty() {
            // It is planned already, for the other inner version.
            plan.note("decapsulation", Outcome::Already, device.to_string());
        }
        for step in steps {
            observed.expect(&step);
            plan.step(step);
        }
        devices.push(device);
    }
    for device in present {
        plan.note("decapsulation", Outcome::Already, device.to_string());
    }
    Decapsulation::Devices(devices)
}

/// Returns whether the XDP program can replace a device that the kernel refused.
#[must_use]
pub const fn has_another_way(error: &NetlinkError) -> bool {
    matches!(error, NetlinkError::Unsupported { .. } | NetlinkError::Refused { .. })
}

/// Creates a device.
pub(super) async fn make(host: &Host, device: &Device, kind: TunnelDevice) -> Result<(), HostError> {
    match host.netlink.add_tunnel(&device.name, kind).await? {
        Added::Now | Added::AlreadyThere => Ok(()),
    }
}

/// Sets an interface up.
pub(super) async fn set_up(host: &Host, interface: &str) -> Result<(), HostError> {
    let device = host.netlink.interface(interface).await?;
    Ok(host.netlink.set_up(&device, true).await?)
}

/// Detaches the program that set-up attached.
pub(super) fn detach(host: &Host, interface: &str, bpffs: &Path) -> Result<Done, HostError> {
    let detail = if host.xdp.detach(interface, bpffs)? { "detached" } else { "was gone already" };
    Ok(Done::new(format!("XDP decapsulator on {interface}"), Outcome::Restored, detail))
}

/// Deletes a device that set-up created.
pub(super) async fn delete(host: &Host, name: &str) -> Result<Done, HostError> {
    let detail = if host.netlink.delete_interface(name).await? { "deleted" } else { "was gone already" };
    Ok(Done::new(format!("tunnel device {name}"), Outcome::Restored, detail))
}

/// Sets an interface down that was down before set-up.
pub(super) async fn set_down(host: &Host, interface: &str) -> Result<Done, HostError> {
    let detail = match host.netlink.interface(interface).await {
        Ok(device) => host.netlink.set_up(&device, false).await.map(|()| "set down")?,
        Err(NetlinkError::NoSuchInterface(_)) => "is gone",
        Err(error) => return Err(error.into()),
    };
    Ok(Done::new(interface, Outcome::Restored, detail))
}
