// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decapsulation of tunnelled packets: by devices of the kernel if it has them, otherwise by the XDP program
//! of xvs.

pub mod found; // search for existing decapsulation

use std::{collections::BTreeSet, fmt, net::IpAddr, path::Path};

use super::{Done, Host, HostError, Outcome, encapsulation::Encapsulation};
use lb_dataplane::decap::DecapError;
use lb_netlink::{Added, NetlinkError, TunnelDevice};

/// The means of decapsulation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Choice {
    /// Existing decapsulation, otherwise devices of the kernel, otherwise the XDP program
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

/// Attaches and detaches the XDP decapsulator: the functions of [`lb_dataplane::decap`], which tests replace.
pub trait XdpDecap: Send + Sync {
    /// Attaches the decapsulator as [`lb_dataplane::decap::attach`] does.
    fn attach(&self, interface: &str, bpffs: &Path, from: &BTreeSet<IpAddr>) -> Result<bool, DecapError>;
    /// Detaches the decapsulator as [`lb_dataplane::decap::detach`] does.
    fn detach(&self, interface: &str, bpffs: &Path) -> Result<bool, DecapError>;
    /// Returns whether the decapsulator is attached, as [`lb_dataplane::decap::is_attached`] does.
    fn is_attached(&self, interface: &str, bpffs: &Path, from: &BTreeSet<IpAddr>)
    -> Result<bool, DecapError>;
    /// Returns whether [`XdpDecap::detach`] has anything to detach, as [`lb_dataplane::decap::is_pinned`] does.
    fn is_pinned(&self, interface: &str, bpffs: &Path) -> bool;
}

/// The implementation outside of tests.
#[derive(Clone, Copy, Debug)]
pub struct DataPlane;

impl XdpDecap for DataPlane {
    fn attach(&self, interface: &str, bpffs: &Path, from: &BTreeSet<IpAddr>) -> Result<bool, DecapError> {
        lb_dataplane::decap::attach(interface, bpffs, from)
    }

    fn detach(&self, interface: &str, bpffs: &Path) -> Result<bool, DecapError> {
        lb_dataplane::decap::detach(interface, bpffs)
    }

    fn is_attached(
        &self,
        interface: &str,
        bpffs: &Path,
        from: &BTreeSet<IpAddr>,
    ) -> Result<bool, DecapError> {
        lb_dataplane::decap::is_attached(interface, bpffs, from)
    }

    fn is_pinned(&self, interface: &str, bpffs: &Path) -> bool {
        lb_dataplane::decap::is_pinned(interface, bpffs)
    }
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
