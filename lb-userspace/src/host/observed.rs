// SPDX-License-Identifier: MIT OR Apache-2.0
//! A snapshot of this host, as far as set-up depends on it, and the prediction of what steps make of it.

use lb_netlink::sysctl::{Name, Sysctl, SysctlError};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use super::{
    Host, HostError,
    decap::Choice,
    encapsulation::{Encapsulation, Kind, Support},
    plan::Step,
    target::{Method, Target},
    vip::Placement,
};
use lb_netlink::{Address, Interface};

/// The state of this host.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Interfaces.
    pub interfaces: Vec<Interface>,
    /// Addresses of all interfaces.
    pub addresses: Vec<Address>,
    /// Sysctls of the interfaces that matter; those that do not exist are left out.
    pub sysctls: BTreeMap<Sysctl, i32>,
    /// Indices of the interfaces with IPv4 routes to other hosts.
    pub routed: BTreeSet<u32>,
    /// The XDP decapsulator is attached, and accepts the tunnels of the target.
    pub has_program: bool,
    /// Kinds of tunnel devices that the target may need and that are not there.
    pub support: BTreeMap<Kind, Support>,
    /// Errors of the kernel when it was to create such devices.
    pub refused: BTreeMap<Kind, String>,
}

impl Observed {
    /// Takes a snapshot.
    pub async fn of(host: &Host, target: &Target) -> Result<Self, HostError> {
        let interfaces = host.netlink.interfaces().await?;
        let tunnels = Kind::ALL.iter().flat_map(|kind| [kind.device(), kind.kernels_device()]);
        let names = ["all", DEFAULT, "lo", target.interface.name.as_str()].into_iter().chain(tunnels);
        let mut sysctls = BTreeMap::new();
        for (interface, name) in names.flat_map(|one| Name::ALL.map(|name| (one, name))) {
            let sysctl = Sysctl::new(interface, name);
            let value = sysctl.read_if_there()?;
            sysctls.extend(value.map(|value| (sysctl, value)));
        }
        let may_use_program = target.method == Method::Tun && target.decap != Choice::Device;
        let may_make = target.encapsulations().into_iter().map(Encapsulation::kind);
        let may_make = may_make.filter(|kind| interfaces.iter().all(|one| one.name != kind.device()));
        Ok(Self {
            support: may_make.map(|kind| (kind, (host.support)(kind))).collect(),
            interfaces,
            addresses: host.netlink.addresses().await?,
            sysctls,
            routed: host.netlink.route_interfaces(Ipv4Addr::UNSPECIFIED.into()).await?,
            has_program: may_use_program
                && host.xdp.is_attached(&target.interface.name, &target.bpffs, &target.from)?,
            refused: BTreeMap::new(),
        })
    }

    /// Returns the own value of a sysctl's interface.
    pub fn sysctl(&self, sysctl: &Sysctl) -> Result<i32, SysctlError> {
        self.sysctls.get(sysctl).copied().ok_or_else(|| sysctl.is_missing())
    }

    /// Returns the value in force on a sysctl's interface.
    pub fn in_force(&self, sysctl: &Sysctl) -> Result<i32, SysctlError> {
        Ok(self.sysctl(sysctl)?.max(self.sysctl(&sysctl.of_all())?))
    }

    /// Returns the interface called `name`.
    #[must_use]
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// Returns the addresses of the interface called `name`.
    pub fn addresses_of(&self, name: &str) -> impl Iterator<Item = &Address> {
        let index = self.interface(name).map(|interface| interface.index);
        self.addresses.iter().filter(move |address| Some(address.ifindex) == index)
    }

    /// Returns the place of `vip`.
    #[must_use]
    pub fn placement(&self, vip: IpAddr) -> Placement {
        Placement::of(vip, &self.addresses, &self.interfaces)
    }

    /// Predicts the effect of a step.
    pub fn expect(&mut self, step: &Step) {
        match step {
            Step::Sysctl { sysctl, value, .. } => {
                self.sysctls.insert(sysctl.clone(), *value);
            }
            Step::Address { address, interface, host_scope } => {
                if let Some(ifindex) = self.interface(interface).map(|interface| interface.index) {
                    let address =
                        Address { net: *address, ifindex, host_scope: *host_scope, duplicate: false };
                    self.addresses.push(address);
                }
            }
            Step::Device { device, kind, .. } => {
                self.interfaces.push(self.new_tunnel(&device.name, kind.kind()));
                // A new interface inherits these (`inetdev_init` in net/ipv4/devinet.c).
                for name in Name::ALL {
                    let inherited = self.sysctls.get(&Sysctl::new(DEFAULT, name)).copied();
                    let sysctl = Sysctl::new(&device.name, name);
                    self.sysctls.extend(inherited.map(|value| (sysctl, value)));
                }
            }
            Step::Up { interface, .. } => {
                if let Some(found) = self.interfaces.iter_mut().find(|one| one.name == *interface) {
                    found.up = true;
                }
            }
            Step::Program { .. } => self.has_program = true,
            // Nothing that set-up depends on.
            Step::Directory { .. }
            | Step::File { .. }
            | Step::Link { .. }
            | Step::Insert { .. }
            | Step::Delete { .. }
            | Step::HandOver { .. }
            | Step::Undo { .. } => {}
        }
    }

    /// Returns a tunnel device that does not exist yet. No interface has its index: the kernel's are positive
    /// as signed numbers.
    fn new_tunnel(&self, name: &str, kind: &str) -> Interface {
        Interface {
            index: u32::MAX - self.interfaces.len() as u32,
            name: name.to_owned(),
            mac: None,
            mtu: 0,
            up: false,
            running: false,
            noarp: true,
            kind: Some(kind.to_owned()),
            vlan: None,
            parent: None,
            parent_namespace: None,
            controller: None,
            xdp: None,
            xdp_program: None,
        }
    }
}

/// Name of the settings that new interfaces inherit.
const DEFAULT: &str = "default";
